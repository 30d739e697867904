"""What /think answers to one reply: the answer with its safety label, or a refusal."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum

from so8t.domain.thinking import Final, Refused, extract, part, thinking_of

#: Characters that `<final>` may share in one piece with the safety or policy part.
LONGEST_COPY = 40
_NO_DRAFT = ("think-safety", "think-policy")
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"\b(?:ALLOW|ESCALATE|REFUSE)\b")
_LINE = re.compile(r"(?:label\s*:\s*)?(\**)(ALLOW|ESCALATE|REFUSE)\1\.?", re.IGNORECASE)


class Label(StrEnum):
    """The model's own word on a request."""

    ALLOW = "ALLOW"
    ESCALATE = "ESCALATE"
    REFUSE = "REFUSE"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What leaves: `final` (None for a refusal, with its `reason`) and the label.

    `thinking` never leaves; it is here for the keyed hash of the audit log.
    """

    label: Label
    final: str | None
    reason: str | None
    thinking: str = field(repr=False)


def safety_label(said: str | None) -> Label | None:
    """Read the label from a safety part: its last line, alone; None where that is not clear.

    A part that names two different labels is not clear, whatever its last line says.
    """
    if said is None:
        return None
    lines = [line.strip() for line in unicodedata.normalize("NFKC", said).strip().splitlines()]
    found = _LINE.fullmatch(lines[-1]) if lines else None
    if found is None:
        return None
    label = Label(found[2].upper())
    return label if set(_WORD.findall("\n".join(lines))) <= {label.value} else None


def rule(reply: str, *, ended: bool, separate: str = "", query: str = "") -> Ruling:
    """Judge one whole reply.

    Args:
        reply: the text as the engine gave it, whole.
        ended: whether it ended normally.
        separate: what the engine itself recognised as thinking and kept apart. The safety part is
            taken from there if the reply has none; the reply is checked all the same.
        query: what was asked; an answer may quote it although the thinking did so before.

    The answer leaves with ALLOW or ESCALATE. With REFUSE the model's own words stay inside, as
    they do where there is no clear label: that counts as REFUSE.

    """
    outcome = extract(reply, ended=ended)
    thinking = "\n".join(text for text in (separate, thinking_of(reply, outcome)) if text)
    if isinstance(outcome, Refused):
        return Ruling(Label.REFUSE, None, outcome.reason.value, thinking)
    inside, apart = part(reply, "think-safety"), part(separate, "think-safety")
    label = safety_label(apart if inside is None else inside)
    if label is None or (inside is not None and apart is not None):
        return Ruling(Label.REFUSE, None, "no_label", thinking)
    if label is Label.REFUSE:
        return Ruling(label, None, "label", thinking)
    if _copied(outcome, reply, separate, query):
        return Ruling(Label.REFUSE, None, "copied", thinking)
    return Ruling(label, outcome.text, None, thinking)


def _copied(outcome: Final, reply: str, separate: str, query: str) -> bool:
    """Whether the answer repeats a long piece of a part that drafts nothing."""
    hidden = [part(text, name) for text in (reply, separate) for name in _NO_DRAFT]
    secret = {piece for text in hidden if text for piece in _pieces(text)}
    if not secret:
        return False
    return not secret.isdisjoint(_pieces(outcome.text) - _pieces(query))


def _pieces(text: str) -> set[str]:
    """Return all pieces of LONGEST_COPY characters, without white space and case."""
    plain = _SPACE.sub("", unicodedata.normalize("NFKC", text).casefold())
    return {plain[at : at + LONGEST_COPY] for at in range(len(plain) - LONGEST_COPY + 1)}
