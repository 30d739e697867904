"""Missing scores: how many, whether evenly, and what may be claimed whatever they would have been.

A claim stands where it is proven with every missing score turned for B as well as against B. That
asks for no model of why a score is missing, so the error rate alpha holds under any; what it costs
is power, about as much as the missing pairs could have moved the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from so8t.verdict.classical import mcnemar_exact
from so8t.verdict.multiple import TaskEvidence, TaskVerdict, decide_tasks
from so8t.verdict.pairs import Paired
from so8t.verdict.sensitivity import (
    Decider,
    Sensitivity,
    decide_pairs,
    finish_pairs,
    missing_cases,
    without_lost,
)
from so8t.verdict.settings import Ending, Outcome, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from so8t.verdict.decide import Verdict

# Above this share, or when the arms miss unequally, a reader is told in the headline.
MISSING_ALLOWED = 0.01
UNBALANCED_BELOW = 0.05
_FINAL = (Outcome.B_BETTER, Outcome.A_BETTER, Outcome.EQUIVALENT)


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
class Censoring:
    """A way in which answers are cut off, or lost, that hits one arm more than the other.

    Attributes:
        kind: "truncated" (the token limit), "failed" (time-out, context, crash), "unscored" (the
            grader could not decide) or "missing" (no score, for reasons unknown).
        a: answers of A among the pairs that it hit.
        b: answers of B.
        p_value: exact two-sided p-value that it hits both alike, from the pairs in which it hit
            one arm only.

    """

    kind: str
    a: int
    b: int
    p_value: float


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


def _stretched(verdict: Verdict, cases: Sensitivity) -> tuple[float, float] | None:
    found = [one.interval for one in (verdict, cases.best, cases.worst) if one.interval is not None]
    if verdict.interval is None or not found:
        return None
    return (min(low for low, _ in found), max(high for _, high in found))


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
class Pool:
    """Some of the items: their pairs along the frozen order, how many are planned, clusters.

    `cluster_sizes` are those of all planned ones, missing ones included; None without clusters.
    """

    pairs: Paired
    n_total: int
    cluster_sizes: Sequence[int] | None = None

    def task(self, instead: tuple[float, float] | None = None) -> TaskEvidence:
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
        return TaskEvidence(pairs.differences, self.n_total, pairs.dropped, left, pairs.complete_a)


def judge_groups(
    groups: Mapping[str, Pool], settings: Settings, *, finished: bool = False
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
