"""Graders `token_f1` and `char_f1`: how much of the reference the answer shares."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from so8t.domain.sample import Score
from so8t.errors import DataError
from so8t.tasks.graders.spec import GraderSpec, require_reference
from so8t.tasks.graders.text import fold

if TYPE_CHECKING:
    from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


class _Overlap(GraderSpec):
    """What both share: the best F1 over the reference and its aliases."""

    binary: ClassVar[bool] = False

    aliases: list[str] = Field(default=[], description="other right answers")

    def check(self, reference: str | None) -> None:
        """Refuse a reference or alias that nothing is left of after levelling."""
        for text in (require_reference(self.name, reference), *self.aliases):
            if not self.pieces(text):
                raise DataError(
                    f"grader {self.name!r} compares with {text!r}, of which nothing is left"
                )

    def pieces(self, text: str) -> list[str]:
        """Cut a text into what is counted."""
        raise NotImplementedError

    def score(self, reference: str | None, answer: str) -> Score:
        """Score the best F1, in [0, 1]."""
        given = self.pieces(answer)
        rights = [self.pieces(text) for text in (reference or "", *self.aliases)]
        if not any(rights):
            return Score.unscored(f"the reference {reference!r} has nothing to compare with")
        best = max(f1(given, right) for right in rights if right)
        return Score.number(best, f"F1 {best:.3f}")


class TokenF1(_Overlap):
    """F1 of words, levelled as SQuAD does: case, punctuation and a, an, the do not count."""

    rules: ClassVar[int] = 1

    type: Literal["token_f1"] = "token_f1"

    def pieces(self, text: str) -> list[str]:
        """Words without punctuation and articles."""
        return _ARTICLES.sub(" ", _without_punctuation(fold(text))).split()


class CharF1(_Overlap):
    """F1 of characters, for Japanese: white space and punctuation do not count."""

    rules: ClassVar[int] = 1

    type: Literal["char_f1"] = "char_f1"

    def pieces(self, text: str) -> list[str]:
        """Characters that are letters, digits or symbols."""
        return [char for char in _without_punctuation(fold(text)) if not char.isspace()]


def f1(given: Sequence[str], right: Sequence[str]) -> float:
    """Harmonic mean of precision and recall of two bags of pieces; 0 where they share nothing."""
    shared = (Counter(given) & Counter(right)).total()
    return 2 * shared / (len(given) + len(right)) if shared else 0.0


def _without_punctuation(text: str) -> str:
    """Leave out every character of a Unicode punctuation class."""
    return "".join(char for char in text if not unicodedata.category(char).startswith("P"))
