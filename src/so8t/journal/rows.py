"""What goes into the journal and what comes out, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from so8t.domain.exchange import Arm, EngineReply, Status
from so8t.domain.plan import Phase
from so8t.domain.sample import Grade, Score


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The run itself. `config` is what was asked for, as plain data."""

    run_id: str
    name: str
    created: str
    version: str
    config: dict[str, Any]
    config_digest: str


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """One step of a phase's attempt: started, done (with its result) or failed (with why)."""

    phase: Phase
    attempt: int
    state: str
    at: datetime
    inputs: str
    result: dict[str, Any]
    seq: int


@dataclass(frozen=True, slots=True)
class AnswerTotal:
    """Answers of one kind together; `reused` ones cost this run nothing.

    Times are in seconds; tokens and seconds are what the engine told, None where it never did.
    """

    arm: Arm
    repeat: int
    status: Status
    reused: bool
    count: int
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float | None
    newest: int


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Something that happened beside the answers: an interruption, an adjustment, a choice."""

    seq: int
    at: datetime
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class GradedReply:
    """An engine's reply to one sample, with its grade (None for a failed reply).

    `reused_from` is the id of the run that asked it, None where this one did. `in_flight` is how
    many answers were allowed at the same time when it was asked, None where nobody said.
    """

    arm: Arm
    position: int
    repeat: int
    reply: EngineReply
    settings: str
    score: Score | None
    grader: str | None
    reused_from: str | None = None
    in_flight: int | None = None


@dataclass(frozen=True, slots=True)
class RowPlace:
    """Where a sample belongs; questions of one cluster share a passage."""

    task: str
    category: str
    cluster: str | None


@dataclass(frozen=True, slots=True)
class SampleHead:
    """A sample without what is asked: its id, task, category, language, and its cluster if any."""

    id: str
    task: str
    category: str
    language: str
    cluster: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a question stands with one arm: the newest answer's status, and its score if any."""

    position: int
    status: Status
    grade: Grade | None
    value: float | None
    valid: bool = True
    settings: str = ""

    @property
    def counted(self) -> float | None:
        """The score that counts: None (missing) for a failure or an undecided grader.

        A truncated answer has the score of what it settled before it was cut off; one that settled
        nothing is not correct, whatever it might have said: the token budget is part of the test.
        """
        if self.status is Status.FAILED:
            return None
        return 0.0 if self.unsettled else self.value

    @property
    def unsettled(self) -> bool:
        """Whether the answer was cut off while its end could still have changed it."""
        return self.status is Status.TRUNCATED and not (self.valid and self.grade is Grade.SCORED)


@dataclass(frozen=True, slots=True)
class AnswerFigures:
    """All that is known of an answer but its text.

    `reason` is the engine's, `score_reason` the grader's. Tokens and seconds are None where the
    engine did not tell. `reused` answers were given in an earlier run.
    """

    standing: Standing
    reason: str | None
    score_reason: str | None
    completion_tokens: int | None
    seconds: float | None
    reused: bool


@dataclass(frozen=True, slots=True)
class ItemStanding:
    """How a question stands with one arm over all its repeats: the question is the unit.

    Attributes:
        score: mean of the scores that are there, None without any.
        status: failed when all are, else truncated when any is.
        cut: share of the scored answers that were truncated before they had settled anything (they
            count 0 in `score`).
        valid: whether all were in the form asked for.
        settings: digests of the settings that they were given under.
        comparable: whether the other arm answered under the same conditions; without that the
            score is None.

    """

    score: float | None
    status: Status
    cut: float
    valid: bool
    settings: tuple[str, ...]
    comparable: bool = True


@dataclass(frozen=True, slots=True)
class Pair:
    """One question as both arms answered it; a score is None where it is missing.

    `cut_a` and `cut_b` are the shares of its answers that were truncated. Halves that were given
    under different conditions are not `comparable`: both scores are then missing.
    """

    position: int
    category: str
    task: str
    cluster: str | None
    score_a: float | None
    score_b: float | None
    status_a: Status
    status_b: Status
    valid_a: bool
    valid_b: bool
    cut_a: float
    cut_b: float
    comparable: bool


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """An answer as it stands: the newest for its arm, position and repeat, with its score."""

    seq: int
    at: datetime
    arm: Arm
    position: int
    repeat: int
    reply: EngineReply
    settings: str
    score: Score | None
    grader: str | None
    attempts: int
    reused_from: str | None = None

    @property
    def standing(self) -> Standing:
        """How the question stands with this arm."""
        grade = self.score.grade if self.score else None
        value = self.score.value if self.score else None
        valid = self.score is None or self.score.valid
        return Standing(self.position, self.reply.status, grade, value, valid, self.settings)
