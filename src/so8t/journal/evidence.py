"""From rows to evidence: the paired scores of the completed prefix, and what they say.

Nothing here is kept: every look recomputes from the journal, so a resumed run, a report and
`verify` see the same numbers bit for bit.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from so8t.domain.exchange import Arm, Status
from so8t.domain.plan import completed_prefix
from so8t.domain.sample import Grade
from so8t.errors import JournalError
from so8t.verdict.decide import Verdict, decide
from so8t.verdict.settings import Scope, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from so8t.domain.sample import Sample
    from so8t.journal.rows import AnswerRecord
    from so8t.journal.store import Journal

#: The event that freezes what the statistics depend on, before the first question.
FROZEN = "plan_frozen"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What became of one arm's questions, in the whole plan.

    `answered` counts completed and truncated answers; `unscored` are answered, but the grader
    could not decide; `open` were not asked (yet).
    """

    total: int
    answered: int
    truncated: int
    failed: int
    unscored: int

    @property
    def open(self) -> int:
        """Questions that were not asked."""
        return self.total - self.answered - self.failed


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """One arm against itself: the same questions asked twice under the same settings."""

    pairs: int
    text_flips: int
    score_flips: int


@dataclass(frozen=True, slots=True)
class Pair:
    """One question as both arms answered it; a score is None where it is missing."""

    position: int
    category: str
    task: str
    cluster: str | None
    score_a: float | None
    score_b: float | None
    status_a: Status
    status_b: Status


@dataclass(frozen=True, slots=True)
class Group:
    """The paired result of some of the questions: all, one category, one task.

    Means are over the pairs that count; `missing` pairs are dropped and counted here.
    """

    name: str
    verdict: Verdict
    pairs: int
    missing: int
    mean_a: float | None
    mean_b: float | None


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The verdict under other readings of what is not plainly right or wrong.

    Each is the outcome when the named answers are counted the way that is best or worst for B.
    `flips` names the readings whose outcome differs from the primary one.
    """

    outcomes: dict[str, str]
    flips: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the journal says about the question of the run."""

    overall: Verdict
    group: Group
    categories: tuple[Group, ...]
    tasks: tuple[Group, ...]
    coverage: dict[Arm, Coverage]
    noise_floor: dict[Arm, NoiseFloor]
    sensitivity: Sensitivity
    pairs: tuple[Pair, ...]
    planned: int


def freeze(journal: Journal, *, binary: bool, look_every: int) -> None:
    """Record what the statistics depend on besides the config. Once, before the first question."""
    journal.event(FROZEN, binary=binary, look_every=look_every, samples=journal.sample_count())


def settings_of(journal: Journal) -> Settings:
    """Return the verdict's frozen settings, read from the journal alone."""
    run, frozen = journal.run, journal.events(FROZEN)
    if run is None or not frozen:
        raise JournalError(f"{journal.path} holds no frozen plan; nothing can be judged yet.")
    asked: dict[str, Any] = run.config["verdict"]
    return Settings(
        alpha=asked["alpha"],
        margin=asked["margin"],
        scope=Scope(asked["scope"]),
        look_every=frozen[0].data["look_every"],
        binary=frozen[0].data["binary"],
    )


def gather(journal: Journal) -> Evidence:
    """Recompute everything from the rows of the journal."""
    settings = settings_of(journal)
    planned = journal.sample_count()
    answers = {arm: {a.position: a for a in journal.answers(arm)} for arm in Arm}
    both = [p in answers[Arm.A] and p in answers[Arm.B] for p in range(planned)]
    prefix = completed_prefix(both)
    samples = list(journal.samples())
    pairs = tuple(_pair(position, samples[position], answers) for position in range(prefix))
    clusters = [sample.cluster for sample in samples]
    group = _group("overall", pairs, planned, settings, clusters=clusters)
    return Evidence(
        overall=group.verdict,
        group=group,
        categories=_groups(pairs, samples, "category", settings),
        tasks=_groups(pairs, samples, "task", settings),
        coverage={arm: _coverage(answers[arm].values(), planned) for arm in Arm},
        noise_floor={arm: _noise(journal, arm, answers[arm]) for arm in Arm},
        sensitivity=_sensitivity(pairs, planned, settings, group.verdict, clusters),
        pairs=pairs,
        planned=planned,
    )


def _pair(position: int, sample: Sample, answers: dict[Arm, dict[int, AnswerRecord]]) -> Pair:
    a, b = answers[Arm.A][position], answers[Arm.B][position]
    return Pair(
        position,
        sample.category,
        sample.task,
        sample.cluster,
        score_of(a),
        score_of(b),
        a.reply.status,
        b.reply.status,
    )


def score_of(answer: AnswerRecord) -> float | None:
    """Return the score that counts: None (missing) for a failure or an undecided grader.

    A truncated answer is not correct, whatever it says: the token budget is part of the test.
    """
    if answer.reply.status is Status.FAILED:
        return None
    if answer.reply.status is Status.TRUNCATED:
        return 0.0
    return answer.score.value if answer.score is not None else None


def as_scored(pair: Pair) -> tuple[float | None, float | None]:
    """Read a pair as it was scored."""
    return pair.score_a, pair.score_b


def _truncated(pair: Pair, if_a: float, if_b: float) -> tuple[float | None, float | None]:
    return (
        if_a if pair.status_a is Status.TRUNCATED else pair.score_a,
        if_b if pair.status_b is Status.TRUNCATED else pair.score_b,
    )


def _missing(pair: Pair, if_a: float, if_b: float) -> tuple[float | None, float | None]:
    return (
        if_a if pair.score_a is None else pair.score_a,
        if_b if pair.score_b is None else pair.score_b,
    )


_READINGS: dict[str, Callable[[Pair], tuple[float | None, float | None]]] = {
    "truncated_best_for_b": lambda pair: _truncated(pair, 0.0, 1.0),
    "truncated_worst_for_b": lambda pair: _truncated(pair, 1.0, 0.0),
    "missing_best_for_b": lambda pair: _missing(pair, 0.0, 1.0),
    "missing_worst_for_b": lambda pair: _missing(pair, 1.0, 0.0),
}


def _group(
    name: str,
    pairs: Iterable[Pair],
    planned: int,
    settings: Settings,
    *,
    clusters: Sequence[str | None] = (),
    read: Callable[[Pair], tuple[float | None, float | None]] = as_scored,
) -> Group:
    """Judge some of the pairs. `clusters` are those of all planned samples in their order."""
    seen = [(pair, *read(pair)) for pair in pairs]
    known = [(pair, a, b) for pair, a, b in seen if a is not None and b is not None]
    missing = len(seen) - len(known)
    scores_a = np.array([a for _, a, _ in known], dtype=float)
    scores_b = np.array([b for _, _, b in known], dtype=float)
    binary = settings.binary is not False
    verdict = decide(
        scores_b - scores_a,
        planned,
        settings,
        dropped=missing,
        cluster_sizes=_cluster_sizes(
            clusters, {index for index, (_, a, b) in enumerate(seen) if a is None or b is None}
        ),
        scores_a=scores_a if binary else None,
    )
    return Group(
        name=name,
        verdict=verdict,
        pairs=len(known),
        missing=missing,
        mean_a=float(scores_a.mean()) if known else None,
        mean_b=float(scores_b.mean()) if known else None,
    )


def _cluster_sizes(clusters: Sequence[str | None], dropped: set[int]) -> list[int] | None:
    """Sizes of the clusters in the frozen order, dropped items left out; None without clusters."""
    if not any(clusters):
        return None
    sizes: list[int] = []
    previous: str | None = None
    for position, cluster in enumerate(clusters):
        if position in dropped:
            continue
        if cluster is None or cluster != previous:
            sizes.append(0)
        sizes[-1] += 1
        previous = cluster
    return sizes


def _groups(
    pairs: tuple[Pair, ...], samples: Sequence[Sample], column: str, settings: Settings
) -> tuple[Group, ...]:
    """Judge each category or task by itself, with looks at each of its items."""
    alone = replace(settings, look_every=1)
    clusters: dict[str, list[str | None]] = defaultdict(list)
    for sample in samples:
        clusters[getattr(sample, column)].append(sample.cluster)
    return tuple(
        _group(
            name,
            (pair for pair in pairs if getattr(pair, column) == name),
            len(clusters[name]),
            alone,
            clusters=clusters[name],
        )
        for name in sorted(clusters)
    )


def _sensitivity(
    pairs: tuple[Pair, ...],
    planned: int,
    settings: Settings,
    primary: Verdict,
    clusters: Sequence[str | None],
) -> Sensitivity:
    """Judge again with truncated and with missing answers read the best and the worst way for B."""
    outcomes: dict[str, str] = {}
    for name, read in _READINGS.items():
        if any(read(pair) != as_scored(pair) for pair in pairs):
            found = _group(name, pairs, planned, settings, clusters=clusters, read=read)
            outcomes[name] = found.verdict.outcome.value
    flips = tuple(name for name, outcome in outcomes.items() if outcome != primary.outcome.value)
    return Sensitivity(outcomes, flips)


def _coverage(answers: Iterable[AnswerRecord], total: int) -> Coverage:
    found = list(answers)
    status = Counter(answer.reply.status for answer in found)
    unscored = sum(a.score is not None and a.score.grade is Grade.UNSCORED for a in found)
    return Coverage(
        total=total,
        answered=status[Status.COMPLETED] + status[Status.TRUNCATED],
        truncated=status[Status.TRUNCATED],
        failed=status[Status.FAILED],
        unscored=unscored,
    )


def _noise(journal: Journal, arm: Arm, first: dict[int, AnswerRecord]) -> NoiseFloor:
    twice = [
        (first[again.position], again)
        for again in journal.answers(arm, repeat=1)
        if again.position in first and again.reply.status is not Status.FAILED
    ]
    twice = [pair for pair in twice if pair[0].reply.status is not Status.FAILED]
    return NoiseFloor(
        pairs=len(twice),
        text_flips=sum(one.reply.text != two.reply.text for one, two in twice),
        score_flips=sum(score_of(one) != score_of(two) for one, two in twice),
    )
