"""A grader: whether an answer has a polite word in it."""

from typing import ClassVar, Literal

from pydantic import Field

from so8t.domain.sample import Score
from so8t.tasks.graders.spec import GraderSpec


class Polite(GraderSpec):
    """Right where the answer has one of the polite words."""

    rules: ClassVar[int] = 1

    type: Literal["polite"] = "polite"
    words: list[str] = Field(default=["please"], min_length=1, description="any of these will do")

    def check(self, reference: str | None) -> None:
        """Any reference will do: it is not looked at."""

    def score(self, reference: str | None, answer: str) -> Score:
        """Look for the words, whatever the case."""
        found = next((word for word in self.words if word in answer.lower()), None)
        return Score.number(float(found is not None), found or "no polite word")
