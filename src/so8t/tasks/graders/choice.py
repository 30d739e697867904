"""Grader `choice`: the one option that a reply names, by its label or by its text."""

from __future__ import annotations

from string import ascii_uppercase
from typing import ClassVar, Literal

from pydantic import Field

from so8t.domain.sample import Sample, Score
from so8t.errors import DataError
from so8t.tasks.graders.choosing import recognise, stated
from so8t.tasks.graders.spec import GraderSpec, require_reference
from so8t.tasks.graders.text import normalize


class Choice(GraderSpec):
    """One option out of several, named by its label (A, B, ...) or by its text.

    The reference is a label or an option's text. A reply that names no option, or several
    without saying which of them it settles on, is in the wrong format: it scores 0.
    """

    rules: ClassVar[int] = 2

    type: Literal["choice"] = "choice"
    options: list[str] = Field(min_length=2, max_length=26, description="texts of the options")
    labels: list[str] | None = Field(
        default=None, description="names of the options; A, B, C, ... when left out"
    )
    equal: bool = Field(
        default=False,
        description="options may have equal texts, as published sets do; only labels name those",
    )

    def check(self, reference: str | None) -> None:
        """Refuse equal options, labels that do not fit and a reference outside the options."""
        text = require_reference(self.name, reference)
        levelled = [normalize(option) for option in self.options]
        for option, plain in zip(self.options, levelled, strict=True):
            if not plain:
                raise DataError(f"grader 'choice' has an option without text: {option!r}")
            if levelled.count(plain) > 1 and not self.equal:
                raise DataError(f"grader 'choice' has the option {option!r} twice")
        if self.labels is not None:
            plain_labels = [normalize(label) for label in self.labels]
            if len(self.labels) != len(self.options):
                raise DataError(
                    f"grader 'choice' has {len(self.labels)} labels for {len(self.options)} options"
                )
            if not all(plain_labels) or len(set(plain_labels)) != len(plain_labels):
                raise DataError("grader 'choice' has an empty label, or one twice")
        index = self.index_of(text)
        if index is None:
            raise DataError(
                f"grader 'choice': the reference {text!r} is none of the options",
                hint=f"write a label ({', '.join(self.names())}) or the text of one option",
            )

    def names(self) -> list[str]:
        """Give the label of each option."""
        return self.labels or list(ascii_uppercase[: len(self.options)])

    def index_of(self, reference: str) -> int | None:
        """Position of the option that a reference means, by its text first, then by its label.

        A text that is also the label of another option (options B, A) means the option.
        """
        plain = normalize(reference)
        for texts in (self.options, self.names()):
            levelled = [normalize(text) for text in texts]
            if levelled.count(plain) == 1:
                return levelled.index(plain)
        return None

    def score(self, reference: str | None, answer: str) -> Score:
        """Score 1 for the right option; 0 for another, none, or several."""
        right = self.index_of(reference or "")
        if right is None:
            return Score.unscored(f"the reference {reference!r} is none of the options")
        chosen = recognise(answer, tuple(self.options), tuple(self.names()))
        if isinstance(chosen, str):
            return Score.invalid(chosen)
        return self._chose(chosen, right)

    def score_cut(self, sample: Sample, answer: str) -> Score | None:
        """A reply that stated its choice before it was cut off has chosen."""
        right = self.index_of(sample.reference or "")
        chosen = stated(answer, tuple(self.options), tuple(self.names()))
        return None if right is None or chosen is None else self._chose(chosen, right)

    def _chose(self, chosen: int, right: int) -> Score:
        return Score.number(
            float(chosen == right), f"chose {self.names()[chosen]}: {self.options[chosen]}"[:120]
        )
