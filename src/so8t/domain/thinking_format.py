"""The fourfold thinking format as training data: task, safety and policy before the answer.

    <think-task>...</think-task><think-safety>...</think-safety>
    <think-policy>...</think-policy><final>...</final>

All on one line where it is written by us; white space between the parts is accepted. The eight
tags are single tokens of a model that was trained on this format.
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from typing import Final

PARTS: Final = ("think-task", "think-safety", "think-policy", "final")
TAGS: Final = tuple(tag for part in PARTS for tag in (f"<{part}>", f"</{part}>"))

_TAG: Final = re.compile("|".join(map(re.escape, TAGS)))


class ThinkingFormatError(ValueError):
    """A text that has tags of the format and is not in it; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class FourfoldAnswer:
    """An answer in four parts, without white space around them.

    Attributes:
        task: what is asked.
        safety: whether answering can do harm.
        policy: which rule applies.
        final: the answer itself, the only part that a person sees.

    """

    task: str
    safety: str
    policy: str
    final: str

    def text(self) -> str:
        """Write the answer as a model does, with its tags."""
        parts = zip(PARTS, astuple(self), strict=True)
        return "".join(f"<{part}>{text}</{part}>" for part, text in parts)


def has_tags(text: str) -> bool:
    """Whether any of the eight tags is in a text."""
    return _TAG.search(text) is not None


def parse(text: str) -> FourfoldAnswer:
    """Read an answer: each part once, in order, closed, with text in it, and nothing outside.

    Raises ThinkingFormatError, naming the part.
    """
    found = list(_TAG.finditer(text))
    tags = [match.group() for match in found]
    for part in PARTS:
        _check_counts(part, tags.count(f"<{part}>"), tags.count(f"</{part}>"))
    if tags != list(TAGS):
        raise ThinkingFormatError(f"the parts are not in the order {', '.join(PARTS)}")
    edges = [0, *(match.end() for match in found)], [*(m.start() for m in found), len(text)]
    pieces = [text[begin:end].strip() for begin, end in zip(*edges, strict=True)]
    for outside in pieces[::2]:
        if outside:
            raise ThinkingFormatError(f"{outside[:30]!r} stands outside of the parts")
    for part, inside in zip(PARTS, pieces[1::2], strict=True):
        if not inside:
            raise ThinkingFormatError(f"the part <{part}> is empty")
    return FourfoldAnswer(*pieces[1::2])


def _check_counts(part: str, opened: int, closed: int) -> None:
    """Raise ThinkingFormatError unless a part is opened once and closed once."""
    if not opened and not closed:
        raise ThinkingFormatError(f"the part <{part}> is missing")
    if opened > 1 or closed > 1:
        raise ThinkingFormatError(f"the part <{part}> is there more than once")
    if not closed:
        raise ThinkingFormatError(f"the part <{part}> is not closed")
    if not opened:
        raise ThinkingFormatError(f"the part <{part}> is closed, but not opened")
