"""Exact log likelihood of continuations: how text becomes tokens, and two ways to the numbers.

Tokens are split as lm-evaluation-harness splits them (lm_eval/api/model.py, `_encode_pair`,
`loglikelihood` and `loglikelihood_rolling`, version 0.4.13), so that the numbers are comparable
with its own. One difference is on purpose: what does not fit the context is refused there by
cutting its beginning, and here by saying so.

Runs in the child process of the embedded engine, and imports no native code itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from so8t.engines.llama_native import NativeModel, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    Tokens = list[int]
    Pair = tuple[Tokens, Tokens]
    #: Sum of the log probabilities, number of tokens, whether each token is the likeliest.
    Likelihood = tuple[float, int, bool]

# llama.cpp lets every token of a batch attend to all its cells (masked), in steps of so many. So a
# batch that goes past a step costs more for each of its tokens: a 1M-parameter model took 1.4 times
# as long in batches of 1024 as in batches of 256 (two threads), one of 100M 1.3 times (one).
CELLS = 256
# What a text saves by sharing its beginning outweighs the step where it is at least this part.
_WORTH = 8


class Tokenizer(Protocol):
    """What splitting text needs."""

    @property
    def end_token(self) -> int | None:
        """The token that ends a text (EOS), None where that is not known."""

    def token_text(self, token: int) -> str:
        """Return how the vocabulary writes a token."""

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Turn text into tokens; `special` adds what the model puts around a text (BOS)."""


class TooLongError(Exception):
    """A context with its continuation has more tokens than the model's context."""

    def __init__(self, tokens: int) -> None:
        super().__init__(f"{tokens} tokens")
        self.tokens = tokens


class Splitter:
    """Turns contexts and continuations into tokens."""

    def __init__(self, tokenizer: Tokenizer, limit: int) -> None:
        """`limit` is the most tokens that a context and its continuation may have together."""
        self._tokenizer = tokenizer
        self._limit = limit
        self._prefix_token = _prefix(tokenizer)
        # Without a token of its own before a text nothing is to be kept from being doubled.
        known = self._prefix_token is not None
        self._prefix_text = tokenizer.token_text(self._prefix) if known else ""

    def pairs(self, context: str | None, text: str) -> list[Pair]:
        """Split a continuation from its context; without one (None) roll over the whole text.

        Rolling gives several pairs, whose sums are to be added. Raises TooLongError, and
        ValueError for a continuation without a token.
        """
        if context is None:
            return self._rolling(text)
        if context:
            pair = self._behind(context, text)
        else:
            tokens = self._tokenizer.tokenize(text, special=False)
            own = bool(tokens) and tokens[0] == self._prefix
            pair = (tokens[:1], tokens[1:]) if own else ([self._prefix], tokens)
        if not pair[1]:
            raise ValueError(f"the continuation {text!r} has no token of its own")
        if not pair[0]:
            raise ValueError(f"the context {context!r} has no token")
        length = len(pair[0]) + len(pair[1]) - 1
        if length > self._limit:
            raise TooLongError(length)
        return [pair]

    @property
    def _prefix(self) -> int:
        if self._prefix_token is None:
            raise ValueError("which token stands before a text without a context is not known")
        return self._prefix_token

    def _encode(self, text: str) -> Tokens:
        return self._tokenizer.tokenize(text, special=not text.startswith(self._prefix_text))

    def _behind(self, context: str, text: str) -> Pair:
        spaces = len(context) - len(context.rstrip())
        if spaces:
            context, text = context[:-spaces], context[-spaces:] + text
        whole = self._encode(context + text)
        before = self._encode(context)
        # As lm-eval does, whatever the tokenizer merges across the border.
        return whole[: len(before)], whole[len(before) :]

    def _rolling(self, text: str) -> list[Pair]:
        """Windows that predict each token once, with all before it that there is room for."""
        tokens = self._encode(text)
        if not tokens:
            raise ValueError("the text has no token")
        first = min(self._limit, len(tokens))
        pairs: list[Pair] = [([self._prefix], tokens[:first])]
        done = first
        while done < len(tokens):
            count = min(len(tokens) - done, self._limit)
            end = done + count
            before = tokens[end - self._limit - 1 : end - 1]
            pairs.append((before[: len(before) - (count - 1)], tokens[end - count : end]))
            done = end
        return pairs


def _prefix(tokenizer: Tokenizer) -> int | None:
    """Return the token before a text without a context: BOS if texts begin with it, else EOS.

    A GGUF may name a BOS that the tokenizer never had (from the model's config), so that only one
    that is really used counts.
    """
    begun, plain = (tokenizer.tokenize("a", special=special) for special in (True, False))
    return begun[0] if begun[:1] != plain[:1] else tokenizer.end_token


class Scorer(Protocol):
    """A way to the numbers."""

    name: str
    # Tokens of the model's context that this way cannot use.
    spare: int

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that belongs to the model."""

    def score(self, pairs: Sequence[Pair]) -> list[Likelihood]:
        """Measure continuations behind contexts, both in tokens, in the order given."""


class NativeScorer:
    """Many sequences in one batch through llama.cpp's C interface."""

    name = "batch"
    spare = 0

    def __init__(
        self, library: Path, model: Path, *, limit: int, threads: int | None, gpu_layers: int
    ) -> None:
        """Load the model a second time (its pages are shared). Raises NativeUnavailableError."""
        self._model = NativeModel(
            library, model, cells=_step(limit) + CELLS, threads=threads, gpu_layers=gpu_layers
        )

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that belongs to the model."""
        return self._model

    def score(self, pairs: Sequence[Pair]) -> list[Likelihood]:
        """Measure in as few batches as hold them; what begins alike is computed once in each.

        The results do not depend on the order, but in their last bits on what shares a batch.
        """
        found: list[Likelihood] = []
        for tree, ranges in batches(pairs, self._model.cells, self._model.sequences):
            found += self._batch(tree, ranges)
        return found

    def _batch(self, tree: Tree, ranges: list[tuple[int, int]]) -> list[Likelihood]:
        values = self._model.log_probabilities(tree)
        return [
            (
                sum(value for value, _ in values[start:stop]),
                stop - start,
                all(best for _, best in values[start:stop]),
            )
            for start, stop in ranges
        ]


def batches(
    pairs: Iterable[Pair], cells: int, sequences: int
) -> Iterator[tuple[Tree, list[tuple[int, int]]]]:
    """Put contexts and continuations into batches of at most so many cells and sequences, in order.

    Yields a tree of the batch's tokens, and for each of its pairs the range of what it asks. One
    pair alone is a batch, whatever its size.
    """
    tree, ranges, room = Tree(), list[tuple[int, int]](), 0
    for context, continuation in pairs:
        before = (len(tree.tokens), tree.ends, len(tree.asked))
        span = tree.add(context, continuation)
        size = len(tree.tokens)
        shared = len(context) + len(continuation) - 1 - (size - before[0])
        over = size > cells or tree.ends > sequences
        if ranges and (over or (size > room and shared * _WORTH < size)):
            tree.cut(*before)
            yield tree, ranges
            tree, ranges = Tree(), []
            span = tree.add(context, continuation)
        room = _step(len(tree.tokens))
        ranges.append(span)
    if ranges:
        yield tree, ranges


def _step(tokens: int) -> int:
    """Return the cells that so many tokens take."""
    return -(-tokens // CELLS) * CELLS


class GrammarScorer:
    """One token after another through the server: for wheels that export no C interface.

    A grammar over token ids forces exactly the continuation, and the server reports the log
    probability of each token before sampling.
    """

    name = "grammar"
    spare = 2  # the server ends an answer before its slot is full

    def __init__(
        self,
        tokenizer: Tokenizer,
        complete: Callable[[dict[str, Any]], Any],
        *,
        slot: int | None = 0,
    ) -> None:
        """`complete` puts a body to the server's completion endpoint and returns its answer.

        `slot`: the one whose cache keeps the shared context; None leaves slot and cache to others.
        """
        self._tokenizer = tokenizer
        self._complete = complete
        self._where: dict[str, Any] = (
            {"cache_prompt": False} if slot is None else {"id_slot": slot, "cache_prompt": True}
        )

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that belongs to the model."""
        return self._tokenizer

    def score(self, pairs: Sequence[Pair]) -> list[Likelihood]:
        """Measure one pair after another; the shared context comes from the server's cache."""
        return [self._one(context, continuation) for context, continuation in pairs]

    def _one(self, context: Tokens, continuation: Tokens) -> Likelihood:
        answer = self._complete(
            {
                "prompt": context,
                "n_predict": len(continuation),
                "grammar": "root ::= " + " ".join(f"<[{token}]>" for token in continuation),
                "n_probs": 1,
                "post_sampling_probs": False,
                "temperature": 0.0,
                **self._where,
                "ignore_eos": False,
                "return_tokens": True,
            }
        )
        steps = answer["completion_probabilities"]
        if [step["id"] for step in steps] != continuation:
            raise RuntimeError(f"the grammar forced {len(steps)} of {len(continuation)} tokens")
        return (
            sum(float(step["logprob"]) for step in steps),
            len(steps),
            all(step["top_logprobs"][0]["id"] == step["id"] for step in steps),
        )
