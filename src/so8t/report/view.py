"""What a report shows, as plain data. `query` fills it; nothing here reads or decides anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from so8t.domain.answer_shares import AnswerShares
from so8t.domain.exchange import Arm, Status
from so8t.domain.plan import Phase
from so8t.journal.chain import Head
from so8t.journal.evidence import Evidence
from so8t.journal.rows import RunRecord

if TYPE_CHECKING:
    from so8t.verdict.checks import Floats


class RunState(StrEnum):
    """Where a run stands, as its journal tells; each has sentences of its own.

    not_begun: nothing was asked. running: the newest session has not said that it ended. stopped:
    it has, before the benchmark was done. deadline: the benchmark was ended by its deadline, with
    questions left. complete: all was asked that was worth asking.
    """

    NOT_BEGUN = "not_begun"
    RUNNING = "running"
    STOPPED = "stopped"
    DEADLINE = "deadline"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Standing:
    """The one state that a page is built from: `pairs` of `planned` have answers from both."""

    state: RunState
    pairs: int
    planned: int


@dataclass(frozen=True, slots=True)
class PhaseView:
    """A phase of the run: its newest attempt. Times are None for what has not happened."""

    phase: Phase
    state: str
    attempts: int
    started: datetime | None
    finished: datetime | None
    seconds: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class ModelView:
    """One arm's model: where it came from, what it is, what was done to it.

    `source`, `conversion`, `training`, `facts` and `load` are what the phases recorded; they are
    empty or None where a phase is not done or recorded nothing.
    """

    arm: Arm
    label: str
    file: str | None
    digest: str | None
    size: int | None
    quantization: str | None
    source: dict[str, Any]
    conversion: dict[str, Any] | None
    training: dict[str, Any] | None
    facts: dict[str, Any]
    load: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EngineView:
    """Who answered, under which load profile, and how that profile was chosen."""

    engine: str
    version: str
    detail: str
    profile: dict[str, Any]
    calibration: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one arm's answers took, in seconds; None where no engine told.

    `known` of `answers` carry a time. `tokens_per_second` is of one answer in flight, not of all
    slots together.
    """

    answers: int
    known: int
    p50: float | None
    p95: float | None
    tokens_per_second: float | None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something that happened on the way."""

    at: datetime
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer that is not a plain one: failed, unscored or cut, and why."""

    position: int
    sample: str
    arm: Arm
    kind: str
    reason: str | None
    prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class OptionView:
    """A text that a model was to weigh, and its natural log likelihood; None where it is unknown.

    `right` is known of questions whose task names the right option.
    """

    text: str
    logprob: float | None
    chosen: bool
    right: bool


@dataclass(frozen=True, slots=True)
class AnswerView:
    """One answer as it is shown. `score` is the one that counts, None where it is missing.

    `reused` answers were given in an earlier run under the same settings. An answer that weighs
    given texts has `options` in place of a text.
    """

    status: Status
    text: str
    score: float | None
    reason: str | None
    seconds: float | None
    attempts: int
    reused: bool
    options: tuple[OptionView, ...] = ()
    prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class SampleView:
    """One question with both answers.

    `side` is "b" or "a" where that one scored higher, "same" for equal scores, "missing" where a
    score is missing.
    """

    position: int
    id: str
    task: str
    category: str
    language: str
    grader: str
    messages: tuple[tuple[str, str], ...]
    reference: str | None
    a: AnswerView
    b: AnswerView
    side: str


@dataclass(frozen=True, slots=True)
class SideBySide:
    """The questions that are embedded, those that differ first, and how many were left out."""

    shown: tuple[SampleView, ...]
    differing: int
    differing_left_out: int
    left_out: int


@dataclass(frozen=True, slots=True)
class CourseView:
    """The course of the evidence, thinned for a drawing.

    Attributes:
        kind: "net_wins" or "log10_wealth", see `so8t.verdict.decide.Course`.
        items: items at each point.
        for_b, for_a: the statistic of either side.
        boundary: where a side wins; None where no result could.
        total: N.

    """

    kind: str
    items: tuple[int, ...]
    for_b: tuple[float, ...]
    for_a: tuple[float, ...]
    boundary: tuple[float | None, ...]
    total: int


@dataclass(frozen=True, slots=True)
class ResourcePoint:
    """What the machine had to do around one moment, `at` in seconds since the epoch.

    `figures` are the known ones by name, shares of 0 to 1 (`so8t.resources.readings.METRICS`).
    """

    at: float
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class View:
    """Everything that a report shows.

    `state` is "complete", "partial" or "empty" (nothing frozen yet); `standing` tells more.
    `evidence` is None as long as no plan is frozen.
    """

    run: RunRecord
    state: str
    standing: Standing
    label_a: str
    label_b: str
    evidence: Evidence | None
    course: CourseView | None
    phases: tuple[PhaseView, ...]
    models: dict[Arm, ModelView]
    engine: EngineView | None
    settings: dict[str, dict[str, Any]]
    latency: dict[Arm, Latency]
    occurrences: tuple[Occurrence, ...]
    sessions: int
    problems: tuple[Problem, ...]
    problems_left_out: int
    side_by_side: SideBySide
    head: Head
    last_written: datetime | None
    resources: tuple[ResourcePoint, ...] = ()
    # Task -> "metric,filter" -> arm -> what lm-eval's aggregation says; then the choice methods
    # compared, by arm.
    hf_scores: dict[str, dict[str, dict[str, float | None]]] = field(default_factory=dict)
    # Answers that ended inside their thinking, some of them truncated; they count as not correct.
    cut_in_thinking: dict[Arm, int] = field(default_factory=lambda: dict.fromkeys(Arm, 0))
    choice_methods: tuple[dict[str, Any], ...] = ()
    # What each arm's answers to each task are like, task by task, A before B.
    answer_shares: tuple[AnswerShares, ...] = ()

    @property
    def partial(self) -> bool:
        """Whether the run has not reached its end."""
        return self.state != "complete"

    @property
    def training(self) -> dict[str, Any] | None:
        """What fine-tuning measured, None where B was not made here."""
        return next((model.training for model in self.models.values() if model.training), None)


def used_scores(evidence: Evidence) -> tuple[Floats, Floats]:
    """Scores of A and B of the pairs that the verdict rests on: the known ones up to its look."""
    a, b = evidence.pairs.score_a, evidence.pairs.score_b
    known = np.flatnonzero(~(np.isnan(a) | np.isnan(b)))[: evidence.overall.items_used]
    return a[known], b[known]


def used_means(evidence: Evidence) -> tuple[float, float] | None:
    """Mean scores of A and B over the pairs that the verdict rests on, None without any."""
    scores = used_scores(evidence)
    if not scores[0].size:
        return None
    a, b = (sum(arm.tolist()) / arm.size for arm in scores)
    return a, b
