"""Conversations to train on: read strictly, split by content, encoded, sampled, padded.

Everything here is deterministic and free of torch. The same files give the same split and the
same batches on every machine.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from so8t.domain.thinking_format import FourfoldAnswer, ThinkingFormatError, has_tags, parse
from so8t.errors import DataError, ModelError
from so8t.system.jsonl import json_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

IGNORED = -100
"""The label of a token that is no part of an assistant's answer."""

_ROLES = ("system", "user", "assistant")
_SHAPES = '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", ...}]} or {"instruction": "...", "output": "..."} or {"prompt": "...", "thinking": {"task": "...", "safety": "...", "policy": "..."}, "final": "..."}'  # noqa: E501 - one example, one line
_KINDS = ("messages", "instruction", "prompt")
_PARTS = "think-task, think-safety, think-policy and final, each once, in this order, each closed"
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_WHOLE_PAIRS = "write characters beyond U+FFFF whole, or as both of their \\u escapes"
_THOUGHTS = ("task", "safety", "policy")
# Two batches by length halve the padding; more would make batches of one kind of text each.
_POOL_BATCHES = 2


@dataclass(frozen=True)
class Conversation:
    """One conversation and where it was read.

    Attributes:
        messages: (role, content) in order; the last one is the assistant's.
        file, line: for messages about it; line counts from 1.
        digest: SHA-256 (hex) of the messages alone.

    """

    messages: tuple[tuple[str, str], ...]
    file: str
    line: int
    digest: str

    @property
    def thinks(self) -> bool:
        """Whether an answer is in the fourfold thinking format."""
        return any(role == "assistant" and has_tags(text) for role, text in self.messages)


@dataclass(frozen=True)
class Example:
    """A conversation as token ids, with equally many labels; IGNORED outside of the answers."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def answer_tokens(self) -> int:
        """How many tokens the loss is taken over."""
        return sum(label != IGNORED for label in self.labels)


@dataclass(frozen=True)
class Batch:
    """Examples padded on the right to the longest: three lists of (examples, width)."""

    ids: list[list[int]]
    labels: list[list[int]]
    mask: list[list[int]]


def read_conversations(paths: Sequence[Path]) -> list[Conversation]:
    """Read JSONL files: chat, instruction, or fourfold thinking rows, also mixed.

    An answer with any tag of the thinking format must be wholly in that format. Raises DataError
    with file and line.
    """
    conversations = [one for path in paths for one in _read(path)]
    if not conversations:
        raise DataError(
            "There is nothing to train on.",
            file=", ".join(map(str, paths)),
            hint=f"one JSON object a line: {_SHAPES}",
        )
    return conversations


def split_held_out(
    conversations: Sequence[Conversation], share: float
) -> tuple[list[Conversation], list[Conversation]]:
    """Split into (training, held out) by the digest of the content.

    The same conversation is on the same side in every file, order and run, and a conversation
    that occurs twice is never on both. Raises DataError when either side stays empty.
    """
    limit = int(share * (1 << 64))
    held_out = [one for one in conversations if int(one.digest[:16], 16) < limit]
    training = [one for one in conversations if int(one.digest[:16], 16) >= limit]
    if not training or not held_out:
        side = "training" if not training else "the held-out split"
        files = sorted({one.file for one in conversations})
        raise DataError(
            f"{len(conversations)} conversations leave nothing for {side} at held_out = {share:g}.",
            file=", ".join(files),
            hint="add conversations, or change `held_out`",
        )
    return training, held_out


def encode(conversation: Conversation, tokenizer: Any, max_length: int) -> Example:
    """Encode with the model's own chat template; labels on the assistant's answers only.

    An answer is what the template adds for it, up to its end-of-turn token. It is encoded apart
    from what stands before it, as it is when the model generates. Raises DataError when the
    result is longer than `max_length` tokens, ModelError when the template cannot be used.
    """
    ids: list[int] = []
    labels: list[int] = []
    done = ""
    for index, (role, _) in enumerate(conversation.messages):
        if role != "assistant":
            continue
        before = _render(conversation, tokenizer, index, prompt=True)
        after = _render(conversation, tokenizer, index + 1, prompt=False)
        if not (before.startswith(done) and after.startswith(before)):
            raise ModelError(
                "The model's chat template changes what it wrote before when a turn is added, "
                f"so the answer of {conversation.file}:{conversation.line} cannot be marked.",
                hint="split the conversation into single turns",
            )
        question = _ids(tokenizer, before[len(done) :])
        answer = _ids(tokenizer, after[len(before) :])
        end = _end_of_turn(answer, tokenizer)
        ids += question + answer
        labels += [IGNORED] * len(question) + answer[:end] + [IGNORED] * (len(answer) - end)
        done = after
    while labels[-1] == IGNORED:  # what follows the last end of turn teaches nothing
        del ids[-1], labels[-1]
    if len(ids) > max_length:
        raise DataError(
            f"The conversation has {len(ids)} tokens; max_length is {max_length}.",
            file=conversation.file,
            line=conversation.line,
            hint="shorten or remove it, or raise `max_length`",
        )
    return Example(tuple(ids), tuple(labels))


def sample_batches(lengths: Sequence[int], batch_size: int, seed: int) -> Iterator[list[int]]:
    """Yield without end the indices of batches, epoch after epoch, in an order set by `seed`.

    Within an epoch each index comes once. Examples of like length meet in a batch, so that little
    is padded; which ones, and in what order, differs from epoch to epoch. The last batch of an
    epoch may be smaller.
    """
    if not lengths:
        raise ValueError("no examples to sample from")
    epoch = 0
    while True:
        rng = random.Random(f"{seed}/{epoch}")
        order = list(range(len(lengths)))
        rng.shuffle(order)
        for pool in _slices(order, batch_size * _POOL_BATCHES):
            pool.sort(key=lambda index: lengths[index])  # stable, so the shuffle breaks ties
            batches = list(_slices(pool, batch_size))
            rng.shuffle(batches)
            yield from batches
        epoch += 1


def batches_in_order(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Return batches that cover each index once, by length; for measuring, not for training."""
    return list(_slices(sorted(range(len(lengths)), key=lambda index: lengths[index]), batch_size))


def pad(examples: Sequence[Example], pad_id: int) -> Batch:
    """Pad on the right to the longest example."""
    width = max(len(example.ids) for example in examples)
    gaps = [width - len(example.ids) for example in examples]
    rows = list(zip(examples, gaps, strict=True))
    return Batch(
        ids=[[*example.ids, *[pad_id] * gap] for example, gap in rows],
        labels=[[*example.labels, *[IGNORED] * gap] for example, gap in rows],
        mask=[[1] * len(example.ids) + [0] * gap for example, gap in rows],
    )


def _read(path: Path) -> Iterator[Conversation]:
    file = str(path)
    for line, row in json_lines(path, shape=_SHAPES, missing="check `finetune.data` in the config"):
        messages = _messages(row, file, line)
        content = json.dumps(messages, ensure_ascii=False).encode()
        yield Conversation(messages, file, line, hashlib.sha256(content).hexdigest())


def _messages(row: Any, file: str, line: int) -> tuple[tuple[str, str], ...]:
    """Check one row and return its (role, content) pairs."""
    try:
        return _pairs(row)
    except _RowError as error:
        raise DataError(error.message, file=file, line=line, hint=error.hint) from None


def _pairs(row: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(row, dict) or sum(kind in row for kind in _KINDS) != 1:
        raise _RowError("The line is neither a conversation nor an instruction nor a prompt.")
    if "instruction" in row:
        pairs = _of_instruction(row)
    else:
        pairs = _of_thinking(row) if "prompt" in row else _of_chat(row["messages"])
    if pairs[-1][0] != "assistant":
        raise _RowError("The last message is not the assistant's.", "end with the answer")
    if any(first[0] == second[0] == "assistant" for first, second in pairwise(pairs)):
        raise _RowError("Two messages of the assistant follow each other.", "join them")
    for role, text in pairs:
        if role == "assistant" and has_tags(text):
            try:
                parse(text)
            except ThinkingFormatError as error:
                raise _RowError(f"The answer thinks in parts, but {error}.", _PARTS) from error
    return pairs


class _RowError(Exception):
    """What is wrong with a row, before its place is known."""

    def __init__(self, message: str, hint: str = f"one JSON object a line: {_SHAPES}") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def _of_instruction(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    instruction, given, output = row["instruction"], row.get("input") or "", row.get("output")
    if not all(isinstance(part, str) for part in (instruction, given, output)):
        raise _RowError("`instruction`, `input` and `output` must be text.")
    user = "\n\n".join(part for part in (instruction, given) if part)
    pairs = (("user", user), ("assistant", output))
    return _of_chat([{"role": role, "content": content} for role, content in pairs])


def _of_thinking(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Make the conversation of a row with a prompt, its thinking and the final answer."""
    thinking = row.get("thinking")
    if not isinstance(thinking, dict) or set(thinking) != set(_THOUGHTS):
        raise _RowError("`thinking` must have `task`, `safety` and `policy` and nothing else.")
    texts = {**thinking, "final": row.get("final")}
    for name, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise _RowError(f"`{name}` has no text.", "remove the line, or fill it in")
        if has_tags(text):
            raise _RowError(f"`{name}` has tags of the thinking format in it.", "remove them")
    answer = FourfoldAnswer(**{name: text.strip() for name, text in texts.items()}).text()
    messages = [
        {"role": "user", "content": row["prompt"]},
        {"role": "assistant", "content": answer},
    ]
    if "system" in row:
        messages.insert(0, {"role": "system", "content": row["system"]})
    return _of_chat(messages)


def _of_chat(messages: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(messages, list) or not messages:
        raise _RowError("`messages` must be a list with at least one message.")
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise _RowError(f"Message {number} must have `role` and `content` and nothing else.")
        if message["role"] not in _ROLES:
            roles = f"roles are {', '.join(_ROLES)}"
            raise _RowError(f"Message {number} has the role {message['role']!r}.", roles)
        if not isinstance(message["content"], str) or not message["content"].strip():
            raise _RowError(f"Message {number} has no text.", "remove the line, or fill it in")
        if _HALF_PAIR.search(message["content"]):
            raise _RowError(f"Message {number} has half of a surrogate pair in it.", _WHOLE_PAIRS)
    return tuple((message["role"], message["content"]) for message in messages)


def _render(conversation: Conversation, tokenizer: Any, count: int, *, prompt: bool) -> str:
    messages = [
        {"role": role, "content": content} for role, content in conversation.messages[:count]
    ]
    try:
        text: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=prompt
        )
    except TemplateError as error:
        raise DataError(
            f"The model's chat template refuses the conversation: {error}.",
            file=conversation.file,
            line=conversation.line,
            hint="many templates want user and assistant in turn, and some know no system role",
        ) from error
    return text


def _ids(tokenizer: Any, text: str) -> list[int]:
    # The template writes the special tokens itself, a beginning-of-text token included.
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _end_of_turn(answer: list[int], tokenizer: Any) -> int:
    """Return the length of `answer` up to its last special token, or all of it without one."""
    special = set(tokenizer.all_special_ids)
    ends = [index + 1 for index, token in enumerate(answer) if token in special]
    return ends[-1] if ends else len(answer)


def _slices(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
