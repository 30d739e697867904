"""The toy models: what comes next is known, one byte is one token.

`cyc` continues the alphabet (z gives a), counts after digits (9 gives the end token) and says `a`
after all else; `rep` always says `q`; `utf` says characters of several bytes. They are those of
the recordings. `abc`, in none of them, answers one of the letters A to D and ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, repeat
from typing import TYPE_CHECKING, Any

from fake_ollama.odds import constrained, picked

if TYPE_CHECKING:
    from collections.abc import Iterator

START, END = "<|im_start|>", "<|im_end|>"
TRAINED_CONTEXT = 2048
_SPECIAL = {START: 259, END: 260}
_UTF = "😀é\x85x"
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
    if kind == "abc":
        yield picked(prompt)[0]
        yield None
        return
    if kind == "utf":
        yield from cycle(_UTF)
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


def _under(wanted: dict[str, Any] | str, kind: str, prompt: str) -> Iterator[str | None]:
    text, whole = constrained(wanted, next(continuation(kind, prompt)) or "")
    yield from text
    yield from [None] if whole else repeat(" ")


def say(
    kind: str,
    prompt: str,
    *,
    limit: int,
    room: int,
    stops: tuple[str, ...] = (),
    wanted: dict[str, Any] | str | None = None,
) -> Said:
    """Let a model answer: at most `limit` tokens (below 1: no limit), at most `room` in all.

    `wanted` is a JSON schema, or `json`, that the answer is constrained to.
    """
    most = room if limit < 1 else min(limit, room)
    text = ""
    made = 0
    run = 0
    said = _under(wanted, kind, prompt) if wanted else continuation(kind, prompt)
    for piece in said:
        if piece is None:
            return Said(tuple(text), "stop", made + 1)
        made += len(piece.encode())
        if made > most:
            # The bytes of a character that is not whole are kept back.
            return Said(tuple(text), "length", most)
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
