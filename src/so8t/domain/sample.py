"""A question with its grader, and what a grader can say of an answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from so8t.domain.canonical import digest_of
from so8t.domain.exchange import Form, Message


class Origin(StrEnum):
    """Which of the two kinds of benchmark of the design document a question belongs to."""

    HF = "hf"
    SUITE = "suite"


@dataclass(frozen=True, slots=True)
class Sample:
    """One question.

    Attributes:
        id: unique in a run, `task/name`.
        task: the suite or benchmark that it comes from.
        origin: an HF benchmark or an LLM suite.
        category: what is reported together (mathematics, logic, safety, japanese, ...).
        language: ISO 639-1 code of the question.
        messages: the conversation to be answered.
        grader: {"type": name, ...options}, see `so8t.tasks.graders`.
        reference: the right answer, None where the grader needs none.
        max_tokens: token budget of the answer, None for the run's default.
        cluster: questions that share a passage share this name; None stands alone.
        form: what is asked for instead of a chat answer; None for a chat answer.

    """

    id: str
    task: str
    origin: Origin
    category: str
    language: str
    messages: tuple[Message, ...]
    grader: dict[str, Any] = field(default_factory=dict)
    reference: str | None = None
    max_tokens: int | None = None
    cluster: str | None = None
    form: Form | None = None

    @property
    def digest(self) -> str:
        """Digest of all that the question and its grading depend on."""
        return digest_of(
            {
                "messages": [[message.role, message.content] for message in self.messages],
                "grader": self.grader,
                "reference": self.reference,
                "max_tokens": self.max_tokens,
                **({} if self.form is None else {"form": asdict(self.form)}),
            }
        )


#: Why a truncated answer is wrong: its end could still have changed what it says.
CUT_OFF = "cut off at the token limit before the answer was settled"


class Grade(StrEnum):
    """What a grader said."""

    SCORED = "scored"
    UNSCORED = "unscored"


@dataclass(frozen=True, slots=True)
class Score:
    """A grader's word on one answer: a number in [0, 1], or unscored with the reason.

    A missing score is the absence of a row, not a value of this class.
    """

    grade: Grade
    value: float | None = None
    reason: str | None = None
    valid: bool = True

    @classmethod
    def number(cls, value: float, reason: str | None = None) -> Score:
        """Give a score in [0, 1]; `reason` says what was recognised, for a person to check."""
        return cls(Grade.SCORED, value, reason)

    @classmethod
    def invalid(cls, reason: str) -> Score:
        """Give 0 for an answer that is not in the form that was asked for: wrong, not missing.

        It is marked, since the result among well-formed answers is shown beside the verdict.
        """
        return cls(Grade.SCORED, 0.0, reason, valid=False)

    @classmethod
    def unscored(cls, reason: str) -> Score:
        """Say that the grader could not decide, and why. This is not zero."""
        return cls(Grade.UNSCORED, None, reason)
