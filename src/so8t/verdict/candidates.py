"""Several candidates of one base: which of them differ from it, and whether one is the best.

Two statements, each with an error rate of alpha. Which candidates differ from the base: closed
testing (Marcus, Peritz and Gabriel 1976, Biometrika 63) with Bonferroni, which for finished results
is Holm (1979). Which one is the best: it differs from the base and beats each other candidate, each
tested at 2 alpha/K; all of K - 1 tests must reject (Berger 1982, Technometrics 24), and the union
bound over the K candidates that could be named leaves alpha for naming a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from so8t.verdict.decide import Verdict
from so8t.verdict.fixed import at_zero
from so8t.verdict.multiple import claimed_by_closure
from so8t.verdict.settings import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Decides on one candidate against the base (or another candidate) at an error rate.
DecideAt = Callable[[float], Verdict]
_DIRECTIONS = (Outcome.B_BETTER, Outcome.A_BETTER)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate (as B) against the base (as A).

    Attributes:
        name: how it is called.
        outcome: the direction that holds among all candidates; equivalent or non_inferior where
            that holds at alpha/K; else undecided.
        verdict: at alpha/K, so that the intervals of all candidates hold together.
        interval: simultaneous, of level 1 - alpha for all candidates; None without items.

    """

    name: str
    outcome: Outcome
    verdict: Verdict
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """All candidates, the largest difference first, and the one that is the best.

    `best` is None where the data do not name one.
    """

    candidates: tuple[Candidate, ...]
    best: str | None


def rank_candidates(
    against_base: Mapping[str, DecideAt],
    against_each_other: Callable[[str, str, float], Verdict],
    alpha: float,
) -> Ranking:
    """Rank candidates of one base.

    Args:
        against_base: name to what decides on the candidate (B) against the base (A).
        against_each_other: decides on the first named (as B) against the second (as A).
        alpha: error rate of each of the two statements, in (0, 0.5).

    """
    names = list(against_base)

    @cache
    def at_level(k: int, r: int) -> Verdict:
        return against_base[names[k]](alpha / (r + 1))

    claimed = claimed_by_closure(len(names), lambda k, r: at_level(k, r).outcome in _DIRECTIONS)
    found = []
    for k, (name, claim) in enumerate(zip(names, claimed, strict=True)):
        strict = at_level(k, len(names) - 1)
        outcome = strict.outcome
        if claim:
            levels = (at_level(k, r).outcome for r in reversed(range(len(names))))
            outcome = next(level for level in levels if level in _DIRECTIONS)
        interval = strict.interval
        if interval is not None and outcome in _DIRECTIONS:
            interval = at_zero(interval, outcome)
        found.append(Candidate(name, outcome, strict, interval))
    found.sort(
        key=lambda one: -(one.verdict.difference if one.verdict.difference is not None else -2.0)
    )
    return Ranking(tuple(found), _best(found, against_each_other, alpha))


def _best(
    ranked: list[Candidate], against: Callable[[str, str, float], Verdict], alpha: float
) -> str | None:
    top = ranked[0]
    if top.outcome is not Outcome.B_BETTER:
        return None
    level = 2.0 * alpha / len(ranked) if len(ranked) > 1 else alpha
    beats = (
        against(top.name, other.name, level).outcome is Outcome.B_BETTER for other in ranked[1:]
    )
    return top.name if all(beats) else None
