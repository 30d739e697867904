"""Coverage-guided fuzzing of the gate before every answer.

    python tests/lab/fuzz_thinking.py -max_total_time=300

Replies are put together from tags, disguises and free bytes. Whatever comes out of the gate must
hold no tag, must be a piece of the one `<final>`, and must not hold the marker that stands between
thinking tags only. Needs atheris (Linux).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import atheris

with atheris.instrument_imports(include=["so8t.domain"]):
    from so8t.domain.fourfold import Label, rule
    from so8t.domain.tag_disguise import has_tag
    from so8t.domain.thinking import Final, extract, redact

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKER = "zqx-7f3a-qzx"
_NAMES = ("think", "think-task", "think-safety", "think-policy", "final")
_PIECES = (
    *(f"<{name}>" for name in _NAMES),
    *(f"</{name}>" for name in _NAMES),
    f"<think>{MARKER}</think>",
    f"<think-policy>{MARKER}</think-policy>",
    "<think-safety>ALLOW</think-safety>",
    "&lt;", "&gt;", "&amp;", "&#60;", "%3c", "\\u003c", "<", ">", "/", "think", "final", "\u200b",
    "＜", "＞", "‹", "›", "т", "і", "ƒ", "\u0336", "\u202e", " ", "\n", "[", "]", "|", "ALLOW", "x",
)  # fmt: skip


def one_input(data: bytes) -> None:
    """Put a reply together and check what leaves."""
    source = atheris.FuzzedDataProvider(data)
    pieces = []
    while source.remaining_bytes() and len(pieces) < 64:
        choice = source.ConsumeIntInRange(0, len(_PIECES))
        pieces.append(_PIECES[choice] if choice < len(_PIECES) else source.ConsumeUnicode(4))
    reply = "".join(pieces)
    wrong = [name for name, broken in _broken(reply) if broken]
    if wrong:
        raise AssertionError(f"{wrong}: {reply!a}")


def _broken(reply: str) -> Iterator[tuple[str, bool]]:
    outcome = extract(reply, ended=True)
    if isinstance(outcome, Final):
        yield "a tag leaves", has_tag(outcome.text)
        yield "thinking leaves", MARKER in outcome.text
        inside = reply.partition("<final>")[2].rpartition("</final>")[0]
        yield "not what was in final", outcome.text != inside.strip() or not outcome.text
    yield "a cut reply leaves", isinstance(extract(reply, ended=False), Final)
    ruling = rule(reply, ended=True)
    yield "neither answer nor reason", (ruling.final is None) == (ruling.reason is None)
    yield "answered with REFUSE", ruling.final is not None and ruling.label is Label.REFUSE
    shown = redact(reply, "")
    yield "redact shows a tag", has_tag(shown)
    yield "redact shows thinking", MARKER in shown


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
