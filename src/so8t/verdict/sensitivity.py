"""Would the verdict stand if what is not known had gone against it?

Each function changes the scores in one named way, decides again by the same frozen rules, and says
whether the outcome flips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from so8t.errors import VerdictInputError
from so8t.verdict.classical import mcnemar_exact
from so8t.verdict.decide import Verdict, decide
from so8t.verdict.pairs import Paired
from so8t.verdict.settings import Outcome, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from so8t.verdict.checks import Floats

# Above this share of missing scores, or when the arms miss unequally, the worst case must hold too.
MISSING_ALLOWED = 0.01
UNBALANCED_BELOW = 0.05


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
        flips: whether either case has another outcome.

    """

    primary: Verdict
    best: Verdict
    worst: Verdict

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
    )


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


def _both_ways(
    pairs: Paired,
    n_total: int,
    settings: Settings,
    cluster_sizes: Sequence[int] | None,
    primary: Verdict | None,
    *,
    case: Callable[[float, float], Paired] | None,
    with_interval: bool,
) -> Sensitivity:
    """Decide on `pairs` and on the cases in which all that is open goes to B, or to A.

    `case` makes the scores from what A and B get; None where nothing is open.
    """

    def decided(read: Paired) -> Verdict:
        return decide_pairs(
            read, n_total, settings, cluster_sizes=cluster_sizes, with_interval=with_interval
        )

    primary = primary or decided(pairs)
    if case is None:
        return Sensitivity(primary, best=primary, worst=primary)
    return Sensitivity(primary, best=decided(case(0.0, 1.0)), worst=decided(case(1.0, 0.0)))


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
