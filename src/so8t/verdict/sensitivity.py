"""Would the verdict stand if what is not known had gone against it?

Each function changes the scores in one named way, decides again by the same frozen rules, and says
whether the outcome flips. What missing scores could turn is not claimed:
`so8t.verdict.missing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from so8t.errors import VerdictInputError
from so8t.verdict.decide import Verdict, decide, decide_finished
from so8t.verdict.pairs import Paired
from so8t.verdict.settings import Outcome, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from so8t.verdict.checks import Floats


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
