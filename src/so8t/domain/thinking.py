"""What of a model's reply may be shown: the answer, checked whole, or nothing.

The one gate of the project. `extract` takes the strict fourfold form of /think:

    <think-task>...</think-task><think-safety>...</think-safety>
    <think-policy>...</think-policy><final>the answer</final>

and gives what stands in `<final>`, or the reason why nothing does. `redact` is the same gate for
whatever leaves the benchmark, where most answers have no tags at all. Both fail closed: what
cannot be told apart from thinking is not shown. Neither can see thinking that carries no mark.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from so8t.domain.tag_disguise import has_tag
from so8t.domain.thinking_format import PARTS

#: Characters of a whole reply, and of the answer in it.
LONGEST_REPLY = 1_000_000
LONGEST_FINAL = 64_000

_TAG = re.compile(rf"<(/?)(think|{'|'.join(PARTS)})>")
# What models of other makes write; only `redact` knows them, to hide them.
_ANY_THINKING = re.compile(
    r"<\s*(/?)\s*(think(?:ing)?(?:[-_](?:task|safety|policy))?|thoughts?|reasoning|reflection)"
    r"(?![a-z0-9])[^<>]*>",
    re.IGNORECASE,
)
_ANY_FINAL = re.compile(r"<\s*/?\s*final\s*>", re.IGNORECASE)


class Reason(StrEnum):
    """Why nothing of a reply is shown."""

    UNFINISHED = "unfinished"
    TOO_LONG = "too_long"
    NOT_TEXT = "not_text"
    NO_FINAL = "no_final"
    REPEATED = "repeated"
    NOT_CLOSED = "not_closed"
    UNBALANCED = "unbalanced"
    AFTER_FINAL = "after_final"
    TAG_INSIDE = "tag_inside"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Final:
    """The answer, as it may be shown."""

    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing may be shown."""

    reason: Reason


Outcome = Final | Refused


def extract(reply: str, *, ended: bool) -> Outcome:
    """Return the answer of a whole reply in the strict form, else why there is none.

    The answer is shown only if the reply ended normally (`ended`: not cut at a limit, not broken
    off); exactly one `<final>` and one `</final>` stand in it, in this order, and nothing but
    white space after them; each thinking tag stands at most once, closed, not nested, and before
    `<final>`; and no other part of the reply holds anything that could be taken for a tag of ours
    (`so8t.domain.tag_disguise`). It is trimmed and never empty.

    Pure; time is linear in the length of the reply.
    """
    tags: list[re.Match[str]] = []
    wrong = _unfit(reply, ended=ended)
    if wrong is None:
        tags = list(_TAG.finditer(reply))
        wrong = _finals(tags) or _nesting(tags)
    if wrong is not None:
        return Refused(wrong)
    before, after = tags[:-1], tags[-1]
    body = reply[before[-1].end() : after.start()]
    wrong = _unfit_body(body, _between(reply, before), reply[after.end() :])
    return Final(body.strip()) if wrong is None else Refused(wrong)


def part(reply: str, name: str) -> str | None:
    """Return what stands in the thinking part `name`; None unless it is there once, closed."""
    pieces = reply.split(f"<{name}>")
    if len(pieces) != 2:  # noqa: PLR2004 - before and after
        return None
    inside, closed, _ = pieces[1].partition(f"</{name}>")
    return inside if closed else None


def thinking_of(reply: str, outcome: Outcome) -> str:
    """Return what of a reply is thinking: all before an answer, the whole of a refused one."""
    return reply.partition("<final>")[0] if isinstance(outcome, Final) else reply


def redact(text: str, mark: str) -> str:
    """Return what of a benchmark's answer may be shown; `mark` stands for what may not.

    A text without anything like a tag of ours is shown as it is. One with `<final>` goes through
    `extract`. One that only has thinking parts, each closed and not nested, shows what comes after
    the last of them; the first may lack its opening (templates that put it into the prompt).
    Of all others nothing is shown but the mark.
    """
    if not has_tag(text):
        return text
    if _ANY_FINAL.search(text):
        outcome = extract(text, ended=True)
        return mark + outcome.text if isinstance(outcome, Final) else mark
    rest = _after_thinking(text)
    return mark if rest is None or has_tag(rest) else mark + rest


def _unfit(reply: str, *, ended: bool) -> Reason | None:
    if not ended:
        return Reason.UNFINISHED
    if len(reply) > LONGEST_REPLY:
        return Reason.TOO_LONG
    try:
        reply.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair can neither be sent nor kept.
        return Reason.NOT_TEXT
    return None


def _finals(tags: list[re.Match[str]]) -> Reason | None:
    """Say what is wrong with the number of final tags; None if nothing is."""
    closing = [bool(tag[1]) for tag in tags if tag[2] == "final"]
    if False not in closing:
        return Reason.NO_FINAL
    if closing.count(False) > 1 or closing.count(True) > 1:
        return Reason.REPEATED
    return None if True in closing else Reason.NOT_CLOSED


def _nesting(tags: list[re.Match[str]]) -> Reason | None:
    """Say what is wrong with the order of the tags; None if each closes before the next opens."""
    inside: str | None = None
    seen: set[str] = set()
    for tag in tags:
        closing, name = bool(tag[1]), tag[2]
        if "final" in seen and inside is None:
            return Reason.AFTER_FINAL
        if closing != (inside is not None) or (closing and name != inside):
            return Reason.UNBALANCED
        if not closing and name in seen:
            return Reason.REPEATED
        seen.add(name)
        inside = None if closing else name
    return None


def _between(reply: str, tags: list[re.Match[str]]) -> str:
    """Return what stands before, in and between these tags, kept apart by what no tag can hold."""
    ends = [0, *(tag.end() for tag in tags)]
    starts = [tag.start() for tag in tags]
    return "\n<>\n".join(reply[a:b] for a, b in zip(ends, starts, strict=False))


def _unfit_body(body: str, before: str, after: str) -> Reason | None:
    if after.strip():
        return Reason.AFTER_FINAL
    if len(body) > LONGEST_FINAL:
        return Reason.TOO_LONG
    # A sloppy tag before it counts too: `<think > ... <final>` may still be thinking.
    if has_tag(body) or has_tag(before, names=False):
        return Reason.TAG_INSIDE
    # Signs that are drawn as nothing are no answer.
    if not any(sign.isprintable() and not sign.isspace() for sign in body):
        return Reason.EMPTY
    return None


def _after_thinking(text: str) -> str | None:
    """Return what follows well-formed thinking parts; None where they are not."""
    tags = list(_ANY_THINKING.finditer(text))
    inside: str | None = None
    for number, tag in enumerate(tags):
        closing, name = bool(tag[1]), tag[2].lower()
        if closing and name != inside and (number or inside):
            return None
        if not closing and inside is not None:
            return None
        inside = None if closing else name
    return text[tags[-1].end() :] if tags and inside is None else None
