"""The toy models: what comes next is known, one character is one token.

`cyc` continues the alphabet (z gives a), counts after digits (9 gives the end token) and says `a`
after all else; `rep` always says `q`. They are those of the recordings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

START, END = "<|im_start|>", "<|im_end|>"
TRAINED_CONTEXT = 2048
_SPECIAL = {START: 259, END: 260}
_MOST_REPEATS = 31
"""Equal pieces after which the server ends an answer without `done: true`."""


def tokens(text: str) -> list[int]:
    """Return the token numbers of a text: bytes, and the two marks of chatml."""
    found: list[int] = []
    while text:
        mark = next((mark for mark in _SPECIAL if text.startswith(mark)), None)
        if mark is not None:
            found.append(_SPECIAL[mark])
            text = text[len(mark) :]
        else:
            found.extend(text[0].encode())
            text = text[1:]
    return found


def chatml(messages: list[dict[str, Any]]) -> str:
    """Render a conversation, ending with the start of the answer."""
    turns = (f"{START}{m.get('role', '')}\n{m.get('content', '')}{END}\n" for m in messages)
    return "".join(turns) + f"{START}assistant\n"


def continuation(kind: str, prompt: str) -> Iterator[str | None]:
    """Yield what the model says after a prompt, without end; None is the end token."""
    last = prompt[-1:]
    while True:
        said = _next(kind, last)
        yield said
        if said is None:
            return
        last = said


def _next(kind: str, last: str) -> str | None:
    if kind == "rep":
        return "q"
    if last.isascii() and last.isdigit():
        return None if last == "9" else str(int(last) + 1)
    if last.isascii() and last.islower():
        return chr((ord(last) - ord("a") + 1) % 26 + ord("a"))
    return "a"


@dataclass(frozen=True, slots=True)
class Said:
    """One whole answer: its pieces, how it ended, and how many tokens were made.

    `reason` is None where the server ends without `done: true`.
    """

    pieces: tuple[str, ...]
    reason: str | None
    made: int


def say(kind: str, prompt: str, *, limit: int, room: int, stops: tuple[str, ...] = ()) -> Said:
    """Let a model answer: at most `limit` tokens (below 1: no limit), at most `room` in all."""
    most = room if limit < 1 else min(limit, room)
    text = ""
    made = 0
    run = 0
    for piece in continuation(kind, prompt):
        if piece is None:
            return Said(tuple(text), "stop", made + 1)
        made += 1
        run = run + 1 if text.endswith(piece) else 1
        text += piece
        stop = next((stop for stop in stops if stop in text), None)
        if stop is not None:
            return Said(tuple(text[: text.index(stop)]), "stop", made)
        if run >= _MOST_REPEATS:
            return Said(tuple(text), None, made)
        if made >= most:
            break
    return Said(tuple(text), "length", made)
