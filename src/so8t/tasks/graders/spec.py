"""The base of every grader: options that are checked once, and a pure rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from so8t.errors import DataError

if TYPE_CHECKING:
    from so8t.domain.sample import Sample, Score


class GraderSpec(BaseModel, ABC):
    """A grader's options, as they stand in a suite, with its rule.

    A subclass has a field `type` with its name and a `rules` number. Raise the number whenever
    the rule changes what any reply scores: it is part of the digest, so that scores made by
    different rules are never mixed.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    rules: ClassVar[int] = 1
    # Whether every score is 0 or 1: the exact test for pairs needs to know before the first answer.
    binary: ClassVar[bool] = True

    def check(self, reference: str | None) -> None:
        """Check options and reference together.

        Raises:
            DataError: with what is wrong and how to mend it.

        """
        require_reference(self.name, reference)

    @abstractmethod
    def score(self, reference: str | None, answer: str) -> Score:
        """Grade an answer: what `answer_of` left of the reply, never empty."""

    def score_sample(self, sample: Sample, answer: str) -> Score:
        """Grade an answer with the whole question at hand; most graders need its reference only."""
        return self.score(sample.reference, answer)

    def score_cut(self, sample: Sample, answer: str) -> Score | None:  # noqa: ARG002 - for others
        """Grade an answer that the token budget cut off; None where its end could change it.

        Only a kind of grader knows what is settled before the end. By default nothing is.
        """
        return None

    @property
    def name(self) -> str:
        """The grader's name, the value of `type`."""
        return str(getattr(self, "type"))  # noqa: B009 - the field is declared by each subclass

    def identity(self) -> dict[str, Any]:
        """Everything that the scores depend on besides the reference and the reply."""
        return {"options": self.model_dump(mode="json"), "rules": self.rules}


def require_reference(name: str, reference: str | None) -> str:
    """Return the reference.

    Raises:
        DataError: there is none, or nothing but white space.

    """
    if reference is None or not reference.strip():
        what = "no reference" if reference is None else "an empty reference"
        raise DataError(
            f"grader {name!r} needs the right answer, and there is {what}",
            hint='add "reference": "..." with the right answer',
        )
    return reference
