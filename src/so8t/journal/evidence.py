"""From rows to evidence: the paired scores of the completed prefix, and what they say.

Nothing here is kept: every look recomputes from the journal, so a resumed run, a report and
`verify` see the same numbers bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm, Status
from so8t.domain.plan import NOISE_FLOOR, completed_prefix
from so8t.errors import JournalError
from so8t.journal.columns import STATUSES, Labels, Pairs, Places, read_places
from so8t.journal.items import Items, by_item, every_answer, in_step, leave_out_unequal
from so8t.verdict.classical import mcnemar_exact, sign_e_value
from so8t.verdict.decide import Verdict
from so8t.verdict.missing import UNBALANCED_BELOW, Censoring, Pool, judge_groups, judge_pairs
from so8t.verdict.multiple import e_bh
from so8t.verdict.pairs import pair_columns
from so8t.verdict.sensitivity import Sensitivity as Cases
from so8t.verdict.sensitivity import truncated_cases, valid_only
from so8t.verdict.settings import Outcome, Scope, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.journal.columns import AnswerColumns
    from so8t.journal.store import Journal
    from so8t.verdict.checks import Ints


@dataclass(frozen=True, slots=True)
class Coverage:
    """What became of one arm's questions, in the whole plan; repeats are counted one by one.

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
class Group:
    """The paired result of some of the questions: all, one category, one task.

    Means are over the pairs that count; `missing` pairs are dropped and counted here. `verdict`
    is this group's alone; `claim` is what may be said of it among all groups of its kind, with a
    family-wise error rate of alpha (closed Holm).
    """

    name: str
    verdict: Verdict
    claim: Outcome
    pairs: int
    missing: int
    mean_a: float | None
    mean_b: float | None


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The verdict under other readings of what is not plainly right or wrong.

    Each is the outcome when the named answers are counted the way that is best or worst for B;
    `well_formed_only` is the outcome over the pairs that both answered in the form asked for.
    `differences` are B - A under the same readings, None where no pair is left. `flips` names the
    best and worst readings whose outcome differs from the primary one.
    """

    outcomes: dict[str, str]
    differences: dict[str, float | None]
    flips: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the journal says about the question of the run.

    `items` are all questions with each arm, `pairs` those that count: of the completed prefix.
    `censoring` holds what hits one arm clearly more than the other, the worst first.
    """

    overall: Verdict
    group: Group
    categories: tuple[Group, ...]
    tasks: tuple[Group, ...]
    coverage: dict[Arm, Coverage]
    noise_floor: dict[Arm, NoiseFloor]
    sensitivity: Sensitivity
    censoring: tuple[Censoring, ...]
    items: Items = field(compare=False)
    pairs: Pairs
    planned: int
    average: str
    repeats: int

    @property
    def unequal(self) -> int:
        """Pairs left out because their halves were answered under different conditions."""
        return int((~self.pairs.comparable).sum())


def freeze(
    journal: Journal,
    *,
    binary: bool,
    look_every: int,
    macro_blocks: int = 0,
    repeated: int = 1,
) -> None:
    """Record what the statistics depend on besides the config. Once, before the first question.

    `macro_blocks` is how many blocks of one item of each task begin the order; 0 is a micro
    average, in which every item weighs alike. A question that is `repeated` has the mean of its
    answers for a score, which is not binary.
    """
    journal.event(
        EventKind.PLAN_FROZEN,
        binary=binary and repeated == 1,
        look_every=look_every,
        macro_blocks=macro_blocks,
        repeats=repeated,
        samples=journal.sample_count(),
    )


def settings_of(journal: Journal) -> Settings:
    """Return the verdict's frozen settings, read from the journal alone."""
    asked, _ = _asked(journal)
    frozen = journal.events(EventKind.PLAN_FROZEN)
    return Settings(
        alpha=asked["alpha"],
        margin=asked["margin"],
        scope=Scope(asked["scope"]),
        look_every=frozen[0].data["look_every"],
        binary=frozen[0].data["binary"],
        replanned=_replanned(journal),
    )


def _replanned(journal: Journal) -> bool:
    """Whether models, answers or the rules of the end were changed once there were answers."""
    if journal.events(EventKind.ANSWERS_REDONE):
        return True
    changed = [
        event.seq
        for event in journal.events(EventKind.CONFIG_CHANGED)
        if any(key.startswith("verdict.") for key in event.data["changed"])
    ]
    return bool(changed) and journal.has_answers_between(0, changed[-1])


def _asked(journal: Journal) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the config's verdict section, and what it calls exploratory."""
    run = journal.run
    if run is None or not journal.events(EventKind.PLAN_FROZEN):
        raise JournalError(f"{journal.path} holds no frozen plan; nothing can be judged yet.")
    asked: dict[str, Any] = run.config["verdict"]
    return asked, frozenset(asked["exploratory"])


def gather(journal: Journal) -> Evidence:
    """Recompute everything from the rows of the journal."""
    settings = settings_of(journal)
    asked, exploratory = _asked(journal)
    places = read_places(journal.places())
    repeated = repeats_of(journal)
    every = {arm: every_answer(journal, arm, repeated) for arm in Arm}
    items = {arm: by_item(found) for arm, found in every.items()}
    leave_out_unequal(journal, items)
    blocks = journal.events(EventKind.PLAN_FROZEN)[0].data["macro_blocks"]
    tasks = len(places.task.names)
    counted = np.arange(blocks * tasks if blocks else len(places))
    pairs = _completed(np.arange(len(places)), places, items)
    overall = _Members(
        "overall",
        pairs.until(counted.size),
        planned=counted.size,
        cluster_sizes=[tasks] * blocks if blocks else places.cluster_sizes(counted),
    )
    primary, cases = overall.decide(settings)
    return Evidence(
        overall=primary,
        group=overall.group(primary, primary.outcome),
        categories=_groups(places.category, places, items, settings, exploratory),
        tasks=_groups(places.task, places, items, settings, exploratory),
        coverage={arm: _coverage(every[arm]) for arm in Arm},
        noise_floor={arm: _noise(journal, arm) for arm in Arm},
        sensitivity=_sensitivity(overall, settings, primary, cases),
        censoring=_censoring(overall.pairs),
        items=items,
        pairs=pairs,
        planned=len(places),
        average=asked["average"],
        repeats=repeated,
    )


def repeats_of(journal: Journal) -> int:
    """How often each arm answers each question; frozen with the plan."""
    frozen = journal.events(EventKind.PLAN_FROZEN)
    return int(frozen[0].data.get("repeats", 1)) if frozen else 1


def _completed(positions: Ints, places: Places, items: Items) -> Pairs:
    """Return the pairs of the longest unbroken prefix of `positions` that both arms answered."""
    a, b = items[Arm.A], items[Arm.B]
    prefix = completed_prefix((a.answered & b.answered)[positions].tolist())
    return Pairs(positions[:prefix], a, b, places)


class _Members:
    """Some of the questions: the pairs of their completed prefix, and how many are planned.

    `cluster_sizes` are those of all of them along the frozen order, dropped pairs included.
    """

    def __init__(
        self, name: str, pairs: Pairs, *, planned: int, cluster_sizes: list[int] | None
    ) -> None:
        self.name = name
        self.pairs = pairs
        self.planned = planned
        self.cluster_sizes = cluster_sizes
        self.scores = pair_columns(pairs.score_a, pairs.score_b)

    def decide(self, settings: Settings) -> tuple[Verdict, Cases]:
        return judge_pairs(self.scores, self.planned, settings, cluster_sizes=self.cluster_sizes)

    @property
    def pool(self) -> Pool:
        return Pool(self.scores, self.planned, self.cluster_sizes)

    def group(self, verdict: Verdict, claim: Outcome) -> Group:
        scores = self.scores
        known = scores.complete
        return Group(
            name=self.name,
            verdict=verdict,
            claim=claim,
            pairs=int(known.sum()),
            missing=scores.dropped,
            mean_a=float(scores.scores_a[known].mean()) if known.any() else None,
            mean_b=float(scores.scores_b[known].mean()) if known.any() else None,
        )


def _groups(
    labels: Labels,
    places: Places,
    items: Items,
    settings: Settings,
    exploratory: frozenset[str],
) -> tuple[Group, ...]:
    """Judge each category or task along its own prefix.

    What may be claimed of them is found together: by closed Holm, or for those that are only
    looked through by e-BH over the signs of their differences.
    """
    alone = replace(settings, look_every=1)
    members = [
        _Members(
            name,
            _completed(its, places, items),
            planned=its.size,
            cluster_sizes=places.cluster_sizes(its),
        )
        for name, its in labels.positions().items()
    ]
    confirmed = {one.name: one.pool for one in members if one.name not in exploratory}
    found = judge_groups(confirmed, alone)
    listed = _listed([one for one in members if one.name in exploratory])
    return tuple(
        one.group(found[one.name].alone, found[one.name].outcome)
        if one.name in found
        else one.group(one.decide(alone)[0], listed[one.name])
        for one in members
    )


def _listed(members: Sequence[_Members]) -> dict[str, Outcome]:
    """List exploratory groups at a false discovery rate of 10 %, under any dependence."""
    signs = [_signs(one) for one in members]
    listed = e_bh([sign_e_value(b, a) for b, a in signs]).tolist() if members else []
    return {
        one.name: (Outcome.B_BETTER if b > a else Outcome.A_BETTER) if found else Outcome.UNDECIDED
        for one, (b, a), found in zip(members, signs, listed, strict=True)
    }


def _signs(one: _Members) -> tuple[int, int]:
    differences = one.scores.differences
    return int((differences > 0).sum()), int((differences < 0).sum())


def _sensitivity(
    overall: _Members, settings: Settings, primary: Verdict, missing: Cases
) -> Sensitivity:
    """Judge again with missing and with truncated answers read in other ways.

    `primary` is the verdict as it stands, `missing` its cases. The plausible reading of the missing
    takes them at their arm's mean: what it says is what the complete pairs say.
    """
    outcomes: dict[str, Outcome] = {}
    differences: dict[str, float | None] = {}
    pairs, scores = overall.pairs, overall.scores
    cut_a, cut_b = pairs.cut_a, pairs.cut_b
    asked: dict[str, Any] = {"cluster_sizes": overall.cluster_sizes, "with_interval": False}
    readings: dict[str, Cases] = {}
    if scores.dropped:
        readings["missing"] = missing
    if cut_a.any() or cut_b.any():
        readings["truncated"] = truncated_cases(
            scores, cut_a, cut_b, overall.planned, settings, primary=missing.primary, **asked
        )
    for name, cases in readings.items():
        for way, verdict in (("best", cases.best), ("worst", cases.worst)):
            outcomes[f"{name}_{way}_for_b"] = verdict.outcome
            differences[f"{name}_{way}_for_b"] = verdict.difference
    if scores.dropped:
        outcomes["missing_plausible"] = missing.primary.outcome
        differences["missing_plausible"] = missing.plausible
    flips = tuple(name for name, outcome in outcomes.items() if outcome is not primary.outcome)
    well_formed = pairs.valid_a, pairs.valid_b
    if not all(valid.all() for valid in well_formed):
        # Another question ("when both answer as asked, who is right?"), so it flips nothing.
        valid = valid_only(scores, *well_formed, overall.planned, settings, **asked)
        outcomes["well_formed_only"] = valid.outcome
        differences["well_formed_only"] = valid.difference
    return Sensitivity(
        {reading: outcome.value for reading, outcome in outcomes.items()}, differences, flips
    )


def _censoring(pairs: Pairs) -> tuple[Censoring, ...]:
    """Find what cuts off or loses the answers of one arm more often than those of the other."""
    hit = {
        "truncated": (pairs.cut_a > 0.0, pairs.cut_b > 0.0),
        "failed": (pairs.failed_a, pairs.failed_b),
        "unscored": tuple(
            np.isnan(score) & ~failed & pairs.comparable
            for score, failed in ((pairs.score_a, pairs.failed_a), (pairs.score_b, pairs.failed_b))
        ),
    }
    found = []
    for kind, (a, b) in hit.items():
        p_value = mcnemar_exact(int((b & ~a).sum()), int((a & ~b).sum()))
        if p_value < UNBALANCED_BELOW:
            found.append(Censoring(kind, int(a.sum()), int(b.sum()), p_value))
    return tuple(sorted(found, key=lambda one: one.p_value))


def _coverage(every: Sequence[AnswerColumns]) -> Coverage:
    counts = sum(np.bincount(answers.state, minlength=len(STATUSES)) for answers in every)
    status = dict(zip(STATUSES, np.asarray(counts).tolist(), strict=True))
    return Coverage(
        total=sum(status.values()),
        answered=status[Status.COMPLETED] + status[Status.TRUNCATED],
        truncated=status[Status.TRUNCATED],
        failed=status[Status.FAILED],
        unscored=sum(answers.unscored for answers in every),
    )


def _noise(journal: Journal, arm: Arm) -> NoiseFloor:
    pairs = text_flips = score_flips = 0
    for two, one in in_step(journal.answers(arm, repeat=NOISE_FLOOR), journal.answers(arm)):
        if Status.FAILED not in (one.reply.status, two.reply.status):
            pairs += 1
            text_flips += one.reply.text != two.reply.text
            score_flips += one.standing.counted != two.standing.counted
    return NoiseFloor(pairs=pairs, text_flips=text_flips, score_flips=score_flips)
