"""Grader `exact`: the answer is the reference, give or take how it is typed."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field

from so8t.domain.sample import Score
from so8t.errors import DataError
from so8t.tasks.graders.spec import GraderSpec, require_reference
from so8t.tasks.graders.text import (
    bare_box,
    boxed,
    collapse,
    fold_kana,
    labelled,
    layers,
    nfkc,
    normalize,
)

_SHOWN = 80
# A note in brackets behind an answer: 「東京(日本の首都)です」.
_NOTE = re.compile(
    r"(?<=[\u3040-\u9fff\u30fcA-Za-z0-9」])[（(][^()（）\n]{1,120}[)）](?=(?:です|でした|である|だ)?[。.]?\s*$)"
)
_WRAPPING = "*_`\"'「」『』()[] "


class Exact(GraderSpec):
    """Equal after NFKC, case folding, collapsed white space and without what wraps an answer.

    That is full stops at the end, quotes, 「」, 『』 and Markdown emphasis around it, and a closing
    `!` or `?`; of a reply also round brackets around and です, でした, だ behind it. A reference
    keeps its own です.

    With `labelled` the answer may stand behind a label ("the answer is ...", "答えは...",
    `#### ...`) or in a box; what follows the last label, up to the end of its line, is compared.
    """

    rules: ClassVar[int] = 3

    type: Literal["exact"] = "exact"
    aliases: list[str] = Field(default=[], description="other right answers")
    kana: bool = Field(default=False, description="katakana and hiragana are equal")
    labelled: bool = Field(
        default=False, description="take what follows the last 'the answer is', '答えは' or '####'"
    )

    def check(self, reference: str | None) -> None:
        """Refuse a reference or alias that nothing is left of after levelling."""
        for text in (require_reference(self.name, reference), *self.aliases):
            if not normalize(text):
                raise DataError(f"grader 'exact' compares with {text!r}, of which nothing is left")

    def score(self, reference: str | None, answer: str) -> Score:
        """Score 1 for an answer equal to the reference or an alias, else 0."""
        rights = {
            form
            for text in (reference or "", *self.aliases)
            for form in self._forms(text, reply=False)
        }
        candidates = [answer, *(_behind_labels(answer) if self.labelled else ())]
        for candidate in candidates:
            if not rights.isdisjoint(self._forms(candidate, reply=True)):
                return Score.number(1.0, _shown(candidate))
        return Score.number(0.0, _shown(candidates[-1]))

    def _forms(self, text: str, *, reply: bool) -> list[str]:
        """Give the forms that a text is compared in."""
        forms = layers(text, reply=reply)
        return [fold_kana(form) for form in forms] if self.kana else forms


def _behind_labels(answer: str) -> list[str]:
    """Give what the last label or box points at, bare and as it stands; empty without one."""
    inside = boxed(answer)
    if inside is not None:
        inside = bare_box(inside)
    else:
        text = nfkc(answer)
        ends = labelled(text)
        if not ends:
            return []
        inside = text[ends[-1] :].strip().split("\n", maxsplit=1)[0]
    bare = _NOTE.sub("", inside.strip()).rstrip(".。 ").strip(_WRAPPING)
    for copula in ("でした", "です", "である", "だ"):
        bare = bare.removesuffix(copula)
    return [inside, bare.strip(_WRAPPING)]


def _shown(text: str) -> str:
    """Shorten a text for the reason."""
    text = collapse(text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
