"""How thinking and answer are told apart, and what of a model's reply may be shown.

`split_reply` reads whatever marks models write: for grading, for every engine, it says what is the
answer, what is thinking, and whether the reply ended inside its thinking.

`extract` is the one gate of the project: it shows the answer, checked whole, or nothing. It takes
the strict fourfold form of /think:

    <think-task>...</think-task><think-safety>...</think-safety>
    <think-policy>...</think-policy><final>the answer</final>

and gives what stands in `<final>`, or the reason why nothing does. `redact` is the same gate for
whatever leaves the benchmark, where most answers have no tags at all. Both fail closed: what
cannot be told apart from thinking is not shown. Neither can see thinking that carries no mark.
"""

from __future__ import annotations

import re
from collections import deque
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


# <think>, <thinking>, <think-task>, <think-safety>, <thought>, <reasoning>, <reflection>; the marks
# of Seed-OSS, Magistral, Kimi, OpenThinker. A kind of mark ends what its own kind began.
_MARK = re.compile(
    r"""
      <(?P<tag>/?)(?:think(?:ing)?(?:[-_][a-z0-9]+)*|thoughts?|reasoning|reflection)\s*/?>
    | <(?P<seed>/?)seed:think>
    | <(?P<analysis>/?)analysis>
    | \[(?P<bracket>/?)THINK\]
    | ◁(?P<triangle>/?)think▷
    | <\|(?P<token>begin|end)_of_thought\|>
    """,
    re.IGNORECASE | re.VERBOSE,
)
_FINAL_MARK = re.compile(r"<(/?)final\s*>|<\|(begin|end)_of_solution\|>", re.IGNORECASE)
# The harmony format of gpt-oss, for servers that hand it on unparsed.
_HARMONY = re.compile(r"<\|(start|channel|message|end|return|call)\|>")
_FINAL_CHANNEL, _THINKING_CHANNEL = "final", "analysis"
_OPENED_CHANNEL = re.compile(r"<\|channel\|>\s*analysis\s*<\|message\|>\s*$")

#: Marks that are control tokens in some vocabularies: an engine that leaves such tokens out of its
#: text must be told to render these, or thinking and answer run into each other.
CONTROL_MARKS = (
    "<think>",
    "</think>",
    "[THINK]",
    "[/THINK]",
    "<seed:think>",
    "</seed:think>",
    "◁think▷",
    "◁/think▷",
    "<|begin_of_thought|>",
    "<|end_of_thought|>",
    "<|begin_of_solution|>",
    "<|end_of_solution|>",
    "<|start|>",
    "<|channel|>",
    "<|message|>",
    "<|end|>",
)

#: Why a reply that ended inside its thinking is not graded as an answer. It is 0 and counted apart.
CUT_IN_THINKING = "cut in thinking"


@dataclass(frozen=True, slots=True)
class ReplyParts:
    """A reply told apart.

    Attributes:
        answer: what is graded; the reply itself, white space and all, where it has no marks.
        thinking: what is not, without its marks.
        cut: the reply ended inside its thinking and has no answer. The token budget may have ended
            it, or the model itself.

    """

    answer: str
    thinking: str = ""
    cut: bool = False


def split_reply(text: str) -> ReplyParts:
    """Tell a reply's answer from its thinking, by the marks of any model.

    A closing mark without an opening one (templates that put `<think>` into the prompt) ends
    thinking that began with the reply. An opening mark that is never closed begins thinking that
    lasts to the end. Thinking does not nest; the first closing mark ends it, which is what the
    models themselves do. Of harmony channels the last message of `final` is the answer; of
    `<final>` parts the last one. Pure; time is linear in the length of the reply.
    """
    channels = _split_channels(text)
    outer = channels or ReplyParts(text)
    inner = _split_marks(outer.answer)
    answer = _final_part(inner.answer)
    if answer != text:
        answer = answer.lstrip()
    thinking = "\n".join(part for part in (outer.thinking, inner.thinking) if part)
    return ReplyParts(answer, thinking, (outer.cut or inner.cut) and not answer.strip())


def opened_by(prompt: str) -> str:
    """Return the mark that a rendered prompt leaves open, so that the reply begins as thinking.

    Empty where it leaves none. Put before the reply it makes the reply whole again: without it an
    end of text inside such thinking could not be told from an answer.
    """
    last = next(iter(deque(_MARK.finditer(prompt), maxlen=1)), None)
    if last is not None and not prompt[last.end() :].strip():
        closing = last[last.lastgroup or 0].casefold() in ("/", "end")
        return "" if closing else last[0]
    channel = _OPENED_CHANNEL.search(prompt)
    return "" if channel is None else channel[0].strip()


def join_reply(thinking: str, answer: str) -> str:
    """Write a reply whose thinking an engine kept apart the way models themselves write it.

    Without an answer nothing shows that the thinking was ended, and it is left open.
    """
    if not thinking:
        return answer
    return f"<think>{thinking}</think>{answer}" if answer.strip() else f"<think>{thinking}"


def _split_marks(text: str) -> ReplyParts:
    kept: list[str] = []
    thoughts: list[str] = []
    inside: str | None = None
    last = 0
    for mark in _MARK.finditer(text):
        kind = mark.lastgroup
        closing = mark[kind or 0].casefold() in ("/", "end")
        if inside is not None and (kind != inside or not closing):
            continue
        piece = text[last : mark.start()]
        if closing and inside is None:
            thoughts += [*kept, piece]
            kept.clear()
        else:
            (thoughts if closing else kept).append(piece)
        inside = None if closing else kind
        last = mark.end()
    (kept if inside is None else thoughts).append(text[last:])
    return ReplyParts("".join(kept), "".join(thoughts), inside is not None)


def _split_channels(text: str) -> ReplyParts | None:
    """Tell a harmony reply's final message from its other channels; None for other replies.

    A reply with channels and none of them final was cut while thinking, or called a tool: what
    stands outside its messages is all that is left of it.
    """
    outside: list[str] = []
    thoughts: list[str] = []
    final: str | None = None
    channel = ""
    seen = False
    last, state = 0, ""
    for mark in (*_HARMONY.finditer(text), None):
        piece = text[last : mark.start() if mark else len(text)]
        name = mark[1] if mark else ""
        if state == "message":
            if channel == _FINAL_CHANNEL:
                final = piece
            else:
                thoughts.append(piece)
        # the prompt may have ended with <|channel|>
        elif (state == "channel" and mark) or (state == "" and name == "message"):
            channel, seen = (piece.split(maxsplit=1) or [""])[0], True
        elif state == "" and mark:
            outside.append(piece)
        last, state = mark.end() if mark else last, name
    if not seen:
        return None
    cut = final is None and channel == _THINKING_CHANNEL
    return ReplyParts("".join(outside) if final is None else final, "\n".join(thoughts), cut)


def _final_part(text: str) -> str:
    """Return what stands in the last `<final>` (or solution), or the text itself."""
    start: int | None = None
    end = len(text)
    for tag in _FINAL_MARK.finditer(text):
        if tag[1] != "/" and (tag[2] or "").casefold() != "end":
            start, end = tag.end(), len(text)
        elif start is not None and end == len(text):
            end = tag.start()
    return text if start is None else text[start:end]


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
