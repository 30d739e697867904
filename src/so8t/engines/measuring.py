"""The child's side of measuring: takes what waits, and measures it together."""

from __future__ import annotations

import queue
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from so8t.domain.measured import Likelihood, write_likelihoods
from so8t.engines.likelihood import (
    CELLS,
    GrammarScorer,
    NativeScorer,
    Splitter,
    Tokenizer,
    TooLongError,
)
from so8t.engines.llama_native import NativeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from so8t.engines.likelihood import Pair, Scorer

    Reply = Callable[[dict[str, Any]], None]
    Waiting = tuple[dict[str, Any], Reply]

# Batches' worth of tokens taken from the queue at once: enough that a long common beginning
# (few-shot examples) is shared, and few enough that answers come and are committed soon.
_BATCHES = 4


class Server(Tokenizer, Protocol):
    """What the slower way needs of the server that is loaded already."""

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Ask the completion endpoint."""


class Measuring:
    """One queue of measuring requests, answered in batches of as many as fit."""

    def __init__(self, load: dict[str, Any], server: Server, limit: int) -> None:
        """`load` is the message that the model was loaded with, `limit` its context in tokens."""
        self._load = load
        self._server = server
        self._limit = limit
        self._waiting: queue.SimpleQueue[Waiting] = queue.SimpleQueue()
        self._scorer: Scorer | None = None
        self._splitter: Splitter | None = None

    def put(self, message: dict[str, Any], reply: Reply) -> None:
        """Add a request; returns at once."""
        self._waiting.put((message, reply))

    def work(self, *_: object) -> None:
        """Answer for ever. Any error here ends the process."""
        while True:
            self._answer(self._waiting.get())

    def _answer(self, first: Waiting) -> None:
        """Answer a request, together with those behind it that fit into the same batch."""
        scorer, splitter = self._loaded()
        started = time.perf_counter()
        taken: list[tuple[Waiting, list[list[Pair]]]] = []
        tokens, before = 0, list[int]()
        waiting: Waiting | None = first
        while waiting is not None:
            split = _split(splitter, waiting)
            if split is not None:
                taken.append((waiting, split))
                # What it begins with in common with the one before is computed once for both.
                context = split[0][0][0]
                tokens += _size(split) - _shared(before, context)
                before = context
            waiting = self._more() if tokens < _BATCHES * CELLS else None
        if not taken:
            return
        every = [pair for _, split in taken for pairs in split for pair in pairs]
        found = iter(scorer.score(every))
        seconds = (time.perf_counter() - started) / len(taken)
        for (message, reply), split in taken:
            results: list[Likelihood] = []
            for pairs in split:
                parts = [next(found) for _ in pairs]
                results.append(
                    Likelihood(
                        sum(part[0] for part in parts),
                        sum(part[1] for part in parts),
                        all(part[2] for part in parts),
                    )
                )
            reply(
                {
                    "op": "answered",
                    "ticket": message["ticket"],
                    "status": "completed",
                    "text": write_likelihoods(results, scorer.name),
                    "prompt_tokens": _size(split),
                    "completion_tokens": 0,
                    "seconds": seconds,
                }
            )

    def _more(self) -> Waiting | None:
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None

    def _loaded(self) -> tuple[Scorer, Splitter]:
        """Load what measuring needs, when the first request has come."""
        if self._scorer is None or self._splitter is None:
            self._scorer = self._choose()
            self._splitter = Splitter(self._scorer.tokenizer, self._limit - self._scorer.spare)
        return self._scorer, self._splitter

    def _choose(self) -> Scorer:
        if self._load.get("batch_likelihood", True):
            import xllamacpp  # noqa: PLC0415 - loaded already, by the server

            native = sys.modules["xllamacpp.xllamacpp"].__file__ or xllamacpp.__file__
            try:
                return NativeScorer(
                    Path(native),
                    Path(self._load["path"]),
                    limit=self._limit,
                    threads=self._load["threads"],
                    gpu_layers=self._load["gpu_layers"],
                )
            except NativeUnavailableError as error:
                print(f"measuring token by token: {error}", file=sys.stderr)  # noqa: T201 - the log
        return GrammarScorer(self._server, self._server.complete)


def _split(splitter: Splitter, waiting: Waiting) -> list[list[Pair]] | None:
    """Turn a request into tokens; None where it was refused, which the asker is told."""
    message, reply = waiting
    refusal: dict[str, Any]
    try:
        return [splitter.pairs(context, text) for context, text in message["continuations"]]
    except TooLongError as error:
        refusal = {"reason": "context", "prompt_tokens": error.tokens}
    except ValueError as error:
        refusal = {"reason": f"request: {error}"}
    reply({"op": "answered", "ticket": message["ticket"], "status": "failed", **refusal})
    return None


def _shared(before: list[int], context: list[int]) -> int:
    """Return how many tokens two contexts begin with in common."""
    pairs = enumerate(zip(before, context, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(before), len(context)))


def _size(split: list[list[Pair]]) -> int:
    """Tokens to be computed, with a context that several continuations share counted once."""
    contexts = {tuple(pair[0]) for pairs in split for pair in pairs}
    behind = sum(len(pair[1]) - 1 for pairs in split for pair in pairs)
    return sum(map(len, contexts)) + behind
