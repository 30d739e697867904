"""Grader `exact`: the answer is the reference, give or take how it is typed."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from so8t.domain.sample import Score
from so8t.errors import DataError
from so8t.tasks.graders.spec import GraderSpec, require_reference
from so8t.tasks.graders.text import boxed, collapse, labelled, nfkc, normalize

_SHOWN = 80
_WRAPPING = "*_`\"'「」『』()[] "


class Exact(GraderSpec):
    """Equal after NFKC, case folding, collapsed white space and without full stops at the end.

    With `labelled` the answer may stand behind a label ("the answer is ...", "答えは...",
    `#### ...`) or in a box; what follows the last label, up to the end of its line, is compared.
    """

    rules: ClassVar[int] = 1

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
        rights = {normalize(text, kana=self.kana) for text in (reference or "", *self.aliases)}
        candidates = [answer, *(_behind_labels(answer) if self.labelled else ())]
        for candidate in candidates:
            if normalize(candidate, kana=self.kana) in rights:
                return Score.number(1.0, _shown(candidate))
        return Score.number(0.0, _shown(candidates[-1]))


def _behind_labels(answer: str) -> list[str]:
    """Give what the last label or box points at, bare and as it stands; empty without one."""
    inside = boxed(answer)
    if inside is None:
        text = nfkc(answer)
        ends = labelled(text)
        if not ends:
            return []
        inside = text[ends[-1] :].strip().split("\n", maxsplit=1)[0]
    bare = inside.strip().rstrip(".。 ").strip(_WRAPPING)
    for copula in ("でした", "です", "である", "だ"):
        bare = bare.removesuffix(copula)
    return [inside, bare.strip(_WRAPPING)]


def _shown(text: str) -> str:
    """Shorten a text for the reason."""
    text = collapse(text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
