"""Would the verdict stand if what is not known had gone against it?

Each function changes the scores in one named way, decides again by the same frozen rules, and says
whether the outcome flips. What missing scores could turn is not claimed: `withstand`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from so8t.errors import VerdictInputError
from so8t.verdict.classical import mcnemar_exact
from so8t.verdict.decide import Verdict, decide, decide_finished
from so8t.verdict.multiple import Task, TaskVerdict, decide_tasks
from so8t.verdict.pairs import Paired
from so8t.verdict.settings import Ending, Outcome, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from so8t.verdict.checks import Floats

# Above this share of missing scores, or when the arms miss unequally, the worst case must hold too.
MISSING_ALLOWED = 0.01
UNBALANCED_BELOW = 0.05


_FINAL = (Outcome.B_BETTER, Outcome.A_BETTER, Outcome.EQUIVALENT)


class Decider(Protocol):
    """How paired scores are decided on: `decide_pairs` or `finish_pairs`."""

    def __call__(
        self,
        pairs: Paired,
        n_total: int,
        settings: Settings,
        *,
        cluster_sizes: Sequence[int] | None = None,
        with_interval: bool = True,
    ) -> Verdict: ...


@dataclass(frozen=True, slots=True)
class Missing:
    """How much is missing, and whether that is enough to ask for the worst case.

    Attributes:
        share: pairs with a score missing over all pairs.
        only_a: pairs in which only A's score is missing.
        only_b: pairs in which only B's score is missing.
        balance_p: exact two-sided p-value that the arms miss alike.
        matters: share above 1 %, or balance_p below 0.05.

    """

    share: float
    only_a: int
    only_b: int
    balance_p: float
    matters: bool


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """One verdict beside the same with the unknown turned for B and against B.

    Attributes:
        primary: the verdict as it stands.
        best: with the unknown turned in favour of B.
        worst: with the unknown turned against B.
        plausible: the difference with each missing score at its arm's mean over the scores that
            are there; None without any, or where the unknown is not a missing score.

    """

    primary: Verdict
    best: Verdict
    worst: Verdict
    plausible: float | None = None

    @property
    def flips(self) -> bool:
        """Whether the outcome depends on what is not known."""
        return {self.best.outcome, self.worst.outcome} != {self.primary.outcome}

    @property
    def reversed(self) -> bool:
        """Whether a proven direction would even turn round."""
        turned = {Outcome.B_BETTER: Outcome.A_BETTER, Outcome.A_BETTER: Outcome.B_BETTER}
        against = turned.get(self.primary.outcome)
        return against is not None and against in {self.best.outcome, self.worst.outcome}


def missing_summary(pairs: Paired) -> Missing:
    """Count what is missing and test whether both arms miss alike (exact sign test)."""
    lost_a, lost_b = np.isnan(pairs.scores_a), np.isnan(pairs.scores_b)
    only_a, only_b = int(np.sum(lost_a & ~lost_b)), int(np.sum(lost_b & ~lost_a))
    share = pairs.dropped / pairs.scores_a.size if pairs.scores_a.size else 0.0
    balance = mcnemar_exact(only_a, only_b)
    matters = share > MISSING_ALLOWED or balance < UNBALANCED_BELOW
    return Missing(share, only_a, only_b, balance, matters)


def worst_case_p(b_only: int, a_only: int, missing: int) -> float:
    """Exact McNemar p-value with every missing pair counted against the arm that leads.

    Args:
        b_only: items that only B has right.
        a_only: items that only A has right.
        missing: pairs of which nothing is known.

    Raises:
        VerdictInputError: a count is negative or not whole.

    """
    if b_only >= a_only:
        return mcnemar_exact(b_only, a_only + missing)
    return mcnemar_exact(b_only + missing, a_only)


def missing_cases(
    pairs: Paired,
    n_total: int,
    settings: Settings,
    *,
    cluster_sizes: Sequence[int] | None = None,
    primary: Verdict | None = None,
    with_interval: bool = True,
    decided_by: Decider | None = None,
) -> Sensitivity:
    """Decide again with every missing score at its end of [0, 1], for B and against B.

    A score that is there keeps its value: where only A's is missing, B's still counts.

    Args:
        pairs: the completed prefix in the frozen order, with NaN where a score is missing.
        n_total: N, as frozen.
        settings: the frozen rules.
        cluster_sizes: items of every cluster of the run, missing ones included.
        primary: the verdict on `pairs` as they are, where it is known already.
        with_interval: False skips the intervals, where only outcomes are asked for.
        decided_by: default `decide_pairs`.

    Raises:
        VerdictInputError: as `decide`.

    """
    lost_a, lost_b = np.isnan(pairs.scores_a), np.isnan(pairs.scores_b)

    def case(a_gets: float, b_gets: float) -> Paired:
        a = np.where(lost_a, a_gets, pairs.scores_a)
        b = np.where(lost_b, b_gets, pairs.scores_b)
        return Paired(a, b)

    return _both_ways(
        pairs,
        n_total,
        settings,
        cluster_sizes,
        primary,
        case=case if lost_a.any() or lost_b.any() else None,
        with_interval=with_interval,
        decided_by=decided_by or decide_pairs,
        plausible=plausible_difference(pairs),
    )


def plausible_difference(pairs: Paired) -> float | None:
    """Return the mean difference with each missing score at the mean of its arm's known ones."""
    lost_a, lost_b = np.isnan(pairs.scores_a), np.isnan(pairs.scores_b)
    if lost_a.all() or lost_b.all():
        return None
    a = np.where(lost_a, pairs.scores_a[~lost_a].mean(), pairs.scores_a)
    b = np.where(lost_b, pairs.scores_b[~lost_b].mean(), pairs.scores_b)
    return float((b - a).mean())


def withstand(verdict: Verdict, cases: Sensitivity) -> Verdict:
    """Keep of a verdict what holds whatever the missing scores would have been.

    A claim stands where it is proven with every missing score turned for B as well as against B.
    One that does not is withdrawn: the outcome becomes the strongest that stands, mostly undecided,
    and the interval is stretched over both cases. It asks for no model of why scores are missing,
    so that the error rate alpha holds under any.

    Args:
        verdict: on the complete pairs.
        cases: the same with the missing scores turned, with intervals where `verdict` has one.

    """
    either = [dict(case.claims) for case in (cases.best, cases.worst)]
    claims = tuple(
        (claim, min(verdict.items_used, max(at, *(found[claim] for found in either))))
        for claim, at in verdict.claims
        if all(claim in found for found in either)
    )
    standing = [claim for claim in claims if claim[0] in _FINAL] or list(claims)
    outcome, decided_at = standing[0] if standing else (Outcome.UNDECIDED, None)
    if outcome is verdict.outcome:
        return replace(verdict, decided_at=decided_at)
    ending = verdict.ending
    if ending is Ending.DECIDED and outcome not in _FINAL:
        complete = verdict.items_used + verdict.items_dropped == verdict.items_total
        ending = Ending.EXHAUSTED if complete else Ending.ONGOING
    return replace(
        verdict,
        outcome=outcome,
        ending=ending,
        decided_at=decided_at,
        interval=_stretched(verdict, cases),
        margin_interval=verdict.margin_interval if standing else None,
        adjusted=None,
        missing_could_turn=True,
    )


def judge_pairs(
    pairs: Paired,
    n_total: int,
    settings: Settings,
    *,
    cluster_sizes: Sequence[int] | None = None,
    decided_by: Decider | None = None,
) -> tuple[Verdict, Sensitivity]:
    """Decide, and keep what withstands the missing scores; with the cases that it withstood.

    Arguments and errors as `missing_cases`; the cases tell outcomes, without intervals.
    """
    decided = decided_by or decide_pairs
    primary = decided(pairs, n_total, settings, cluster_sizes=cluster_sizes)
    cases = missing_cases(
        pairs,
        n_total,
        settings,
        cluster_sizes=cluster_sizes,
        primary=primary,
        with_interval=False,
        decided_by=decided,
    )
    verdict = withstand(primary, cases)
    if verdict.missing_could_turn:
        # Intervals are the dear half, and only what is withdrawn shows those of the cases.
        shown = missing_cases(
            pairs,
            n_total,
            settings,
            cluster_sizes=cluster_sizes,
            primary=primary,
            decided_by=decided,
        )
        verdict = withstand(primary, shown)
    return verdict, cases


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the items: their pairs along the frozen order, how many are planned, clusters.

    `cluster_sizes` are those of all planned ones, missing ones included; None without clusters.
    """

    pairs: Paired
    n_total: int
    cluster_sizes: Sequence[int] | None = None

    def task(self, instead: tuple[float, float] | None = None) -> Task:
        """Return what is decided on; `instead` stands for the missing scores of A and of B."""
        pairs = self.pairs
        if instead is not None:
            pairs = Paired(
                np.where(np.isnan(pairs.scores_a), instead[0], pairs.scores_a),
                np.where(np.isnan(pairs.scores_b), instead[1], pairs.scores_b),
            )
        left = self.cluster_sizes
        if left is not None:
            left = without_lost(left, ~pairs.complete)
        return Task(pairs.differences, self.n_total, pairs.dropped, left, pairs.complete_a)


def judge_groups(
    groups: Mapping[str, Group], settings: Settings, *, finished: bool = False
) -> dict[str, TaskVerdict]:
    """Decide the direction of each group as `decide_tasks`, and keep what withstands the missing.

    A direction is claimed only where it is claimed among all groups with every missing score of
    all of them turned for B as well as against B.

    Args:
        groups: name to its pairs.
        settings: the frozen rules.
        finished: the groups are complete and looked at once.

    Raises:
        VerdictInputError: as `decide`.

    """
    found = decide_tasks(
        {name: group.task() for name, group in groups.items()}, settings, finished=finished
    )
    if not any(group.pairs.dropped for group in groups.values()):
        return found
    cases = [
        decide_tasks(
            {name: group.task(instead) for name, group in groups.items()},
            settings,
            with_interval=False,
            finished=finished,
        )
        for instead in ((0.0, 1.0), (1.0, 0.0))
    ]
    result: dict[str, TaskVerdict] = {}
    for name, group in groups.items():
        outcome, alone = found[name].outcome, found[name].alone
        if any(case[name].outcome is not outcome for case in cases):
            outcome = Outcome.UNDECIDED
        if group.pairs.dropped:
            alone, _ = judge_pairs(
                group.pairs,
                group.n_total,
                settings,
                cluster_sizes=group.cluster_sizes,
                decided_by=finish_pairs if finished else decide_pairs,
            )
        result[name] = TaskVerdict(outcome, alone)
    return result


def _stretched(verdict: Verdict, cases: Sensitivity) -> tuple[float, float] | None:
    found = [
        one.interval for one in (verdict, cases.best, cases.worst) if one.interval is not None
    ]
    if verdict.interval is None or not found:
        return None
    return (min(low for low, _ in found), max(high for _, high in found))


def truncated_cases(
    pairs: Paired,
    truncated_a: Sequence[float] | Floats,
    truncated_b: Sequence[float] | Floats,
    n_total: int,
    settings: Settings,
    *,
    cluster_sizes: Sequence[int] | None = None,
    primary: Verdict | None = None,
    with_interval: bool = True,
    decided_by: Decider | None = None,
) -> Sensitivity:
    """Decide again with every truncated answer taken as right or wrong, for B and against B.

    In the primary verdict an answer over the token limit is wrong (intention to treat). It might
    have become right with more tokens: the best case for B gives that to B's and not to A's.

    Args:
        pairs: the completed prefix in the frozen order.
        truncated_a: shape (n,), whether A's answer hit the limit; of repeated answers the share
            that did, in [0, 1], whose part of the mean score is 0.
        truncated_b: shape (n,), whether B's did, likewise.
        n_total: N, as frozen.
        settings: the frozen rules.
        cluster_sizes: items of every cluster of the run, missing ones included.
        primary: the verdict on `pairs` as they are, where it is known already.
        with_interval: False skips the intervals, where only outcomes are asked for.
        decided_by: default `decide_pairs`.

    Raises:
        VerdictInputError: lengths differ, and as `decide`.

    """
    cut_a = _shares("truncated_a", truncated_a, pairs)
    cut_b = _shares("truncated_b", truncated_b, pairs)

    def case(a_gets: float, b_gets: float) -> Paired:
        # What is missing stays missing; what was cut is replaced.
        a, b = _instead(pairs.scores_a, cut_a, a_gets), _instead(pairs.scores_b, cut_b, b_gets)
        return Paired(a, b)

    return _both_ways(
        pairs,
        n_total,
        settings,
        cluster_sizes,
        primary,
        case=case if cut_a.any() or cut_b.any() else None,
        with_interval=with_interval,
        decided_by=decided_by or decide_pairs,
    )


def valid_only(
    pairs: Paired,
    valid_a: Sequence[bool] | NDArray[np.bool_],
    valid_b: Sequence[bool] | NDArray[np.bool_],
    n_total: int,
    settings: Settings,
    *,
    cluster_sizes: Sequence[int] | None = None,
    with_interval: bool = True,
) -> Verdict:
    """Decide on the pairs whose answers both had a valid format; the others are dropped.

    It answers another question ("when both answer as asked, who is right?") and is shown beside
    the primary verdict, never in its place: the better arm may be the one that answers as asked.

    Args:
        pairs: the completed prefix in the frozen order.
        valid_a: shape (n,), whether A's answer had a valid format.
        valid_b: shape (n,), whether B's did.
        n_total: N, as frozen.
        settings: the frozen rules.
        cluster_sizes: items of every cluster of the run, invalid ones included.
        with_interval: False skips the interval.

    Raises:
        VerdictInputError: lengths differ, and as `decide`.

    """
    valid = _flags("valid_a", valid_a, pairs) & _flags("valid_b", valid_b, pairs)
    only = Paired(np.where(valid, pairs.scores_a, np.nan), pairs.scores_b)
    return decide_pairs(
        only, n_total, settings, cluster_sizes=cluster_sizes, with_interval=with_interval
    )


def decide_pairs(
    pairs: Paired,
    n_total: int,
    settings: Settings,
    *,
    cluster_sizes: Sequence[int] | None = None,
    with_interval: bool = True,
) -> Verdict:
    """Decide on paired scores of which some may be missing: those pairs are dropped and counted.

    Args:
        pairs: the completed prefix in the frozen order, with NaN where a score is missing.
        n_total: N, as frozen.
        settings: the frozen rules.
        cluster_sizes: items of every cluster of the run, missing ones included.
        with_interval: False skips the interval.

    Raises:
        VerdictInputError: as `decide`.

    """
    return decide(
        pairs.differences,
        n_total,
        settings,
        dropped=pairs.dropped,
        cluster_sizes=None
        if cluster_sizes is None
        else without_lost(cluster_sizes, ~pairs.complete),
        scores_a=pairs.complete_a,
        with_interval=with_interval,
    )


def finish_pairs(
    pairs: Paired,
    n_total: int,
    settings: Settings,
    *,
    cluster_sizes: Sequence[int] | None = None,
    with_interval: bool = True,
) -> Verdict:
    """Decide as `decide_pairs` does on results that are complete and looked at once.

    Args:
        pairs: all pairs, cluster after cluster where there are clusters; NaN is missing.
        n_total: how many there are.
        settings: alpha, margin and scope count.
        cluster_sizes: items of every cluster, missing ones included.
        with_interval: False leaves the intervals out.

    Raises:
        VerdictInputError: as `decide`, or when `n_total` is not the number of pairs.

    """
    if n_total != pairs.scores_a.size:
        raise VerdictInputError(f"{pairs.scores_a.size} pairs of {n_total}: that is not complete")
    return decide_finished(
        pairs.differences,
        settings,
        dropped=pairs.dropped,
        cluster_sizes=None
        if cluster_sizes is None
        else without_lost(cluster_sizes, ~pairs.complete),
        scores_a=pairs.complete_a,
        with_interval=with_interval,
    )


def _both_ways(
    pairs: Paired,
    n_total: int,
    settings: Settings,
    cluster_sizes: Sequence[int] | None,
    primary: Verdict | None,
    *,
    case: Callable[[float, float], Paired] | None,
    with_interval: bool,
    decided_by: Decider,
    plausible: float | None = None,
) -> Sensitivity:
    """Decide on `pairs` and on the cases in which all that is open goes to B, or to A.

    `case` makes the scores from what A and B get; None where nothing is open.
    """

    def decided(read: Paired) -> Verdict:
        return decided_by(
            read, n_total, settings, cluster_sizes=cluster_sizes, with_interval=with_interval
        )

    primary = primary or decided(pairs)
    if case is None:
        return Sensitivity(primary, primary, primary, plausible)
    return Sensitivity(
        primary, decided(case(0.0, 1.0)), decided(case(1.0, 0.0)), plausible=plausible
    )


def _instead(scores: Floats, cut: Floats, gets: float) -> Floats:
    """Give what was cut another score; of repeats, add it to the others' part of the mean."""
    whole = np.where(np.isnan(scores), np.nan, gets)
    return np.asarray(np.where(cut >= 1, whole, scores + cut * gets))


def _shares(name: str, shares: Sequence[float] | Floats, pairs: Paired) -> Floats:
    if len(shares) != pairs.scores_a.size:
        raise VerdictInputError(f"{name} has {len(shares)} flags for {pairs.scores_a.size} pairs")
    return np.asarray(shares, dtype=np.float64)


def _flags(name: str, flags: Sequence[bool] | NDArray[np.bool_], pairs: Paired) -> np.ndarray:
    if len(flags) != pairs.scores_a.size:
        raise VerdictInputError(f"{name} has {len(flags)} flags for {pairs.scores_a.size} pairs")
    return np.array(flags, dtype=bool)


def without_lost(cluster_sizes: Sequence[int], lost: np.ndarray) -> list[int]:
    """Return the cluster sizes without the lost items; clusters with none left disappear.

    `lost` has shape (n,): whether an item of the completed prefix was dropped.
    """
    labels = np.repeat(np.arange(len(cluster_sizes)), cluster_sizes)[: lost.size]
    gone = np.bincount(labels[lost], minlength=len(cluster_sizes))
    left: Floats = np.asarray(cluster_sizes) - gone
    return [int(size) for size in left if size > 0]
