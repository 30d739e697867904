"""Before the run: how many items, which difference. During it: is it still worth going on?

Normal approximations throughout: they plan, they never decide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from so8t.errors import VerdictInputError
from so8t.verdict.checks import check_alpha, check_count, check_margin, check_probability


def _z(tail: float) -> float:
    """Return the normal quantile with this much probability above it."""
    return float(-special.ndtri(tail))


def needed_items(
    difference: float, discordance: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Items for a two-sided McNemar test to find a difference; Connor (1987), Biometrics 43.

    Args:
        difference: accuracy B - accuracy A, in units of the score; not zero.
        discordance: share of items on which the two arms differ, at least |difference|, at most 1.
        alpha: two-sided, in (0, 0.5).
        power: probability of finding it, in (0, 1).

    Raises:
        VerdictInputError: a value out of range.

    """
    _check(alpha, power, discordance)
    delta = abs(difference)
    if not 0.0 < delta <= discordance:
        raise VerdictInputError(
            f"difference is {difference!r}; its size must lie above 0 and not exceed the "
            f"discordance {discordance:g}"
        )
    return math.ceil(_connor(delta, discordance, alpha, power))


def needed_items_equivalence(
    margin: float, discordance: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Items to show equivalence within the margin when there is no difference (TOST).

    n = (z_(1-alpha) + z_(1-(1-power)/2))^2 q / margin^2; Liu, Hsueh, Hsieh and Chen (2002),
    Statistics in Medicine 21.

    Args:
        margin: in units of the score, in (0, 1).
        discordance: share of items on which the arms differ, in (0, 1].
        alpha: of each one-sided test, in (0, 0.5).
        power: in (0, 1).

    Raises:
        VerdictInputError: a value out of range.

    """
    _check(alpha, power, discordance)
    check_margin(margin)
    quantiles = _z(alpha) + _z((1.0 - power) / 2.0)
    return math.ceil(quantiles**2 * discordance / margin**2)


def needed_items_identical(margin: float, *, alpha: float = 0.05) -> int:
    """Items that any method needs for equivalence when all answers agree: ln alpha/ln(1 - margin).

    Had the arms differed on a share `margin` of items, so many agreements in a row would have had
    probability at most alpha.
    """
    check_alpha(alpha)
    check_margin(margin)
    return math.ceil(math.log(alpha) / math.log1p(-margin))


def minimal_detectable_difference(
    n: int, discordance: float, *, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """Smallest difference that n items find with the given power (Connor's formula, inverted).

    Args:
        n: items, at least 1.
        discordance: share of items on which the arms differ, in (0, 1].
        alpha: two-sided, in (0, 0.5).
        power: in (0, 1).

    Returns:
        In units of the score, or None when even the largest possible difference (the discordance
        itself) is out of reach.

    Raises:
        VerdictInputError: a value out of range.

    """
    from scipy import optimize  # noqa: PLC0415 - a third of a second, and only a plan needs it

    _check(alpha, power, discordance)
    check_count("n", n, at_least=1)
    if _connor(discordance, discordance, alpha, power) > n:
        return None
    return float(
        optimize.brentq(
            lambda delta: math.log(_connor(delta, discordance, alpha, power) / n),
            discordance * 1e-9,
            discordance,
            xtol=1e-12,
        )
    )


@dataclass(frozen=True, slots=True)
class EquivalenceReach:
    """Whether a run can show equivalence at all, when there is no difference.

    Attributes:
        power: probability of showing it at N.
        needed: items for the power asked.
        smallest_margin: the margin that N items can show with the power asked.
        reachable: whether N is enough.

    """

    power: float
    needed: int
    smallest_margin: float
    reachable: bool


def equivalence_reach(
    n: int, discordance: float, margin: float, *, alpha: float = 0.05, power: float = 0.8
) -> EquivalenceReach:
    """Say before the run whether equivalence within the margin is within reach (population scope).

    Args:
        n: items, at least 1.
        discordance: share of items on which the arms differ, in (0, 1].
        margin: in (0, 1).
        alpha: of each one-sided test, in (0, 0.5).
        power: what counts as reachable, in (0, 1).

    Raises:
        VerdictInputError: a value out of range.

    """
    check_count("n", n, at_least=1)
    needed = needed_items_equivalence(margin, discordance, alpha=alpha, power=power)
    error = math.sqrt(discordance / n)
    reached = max(0.0, 2.0 * float(special.ndtr(margin / error - _z(alpha))) - 1.0)
    smallest = (_z(alpha) + _z((1.0 - power) / 2.0)) * error
    return EquivalenceReach(reached, needed, smallest, n >= needed)


def predictive_probability(
    n: int,
    n_total: int,
    total: float,
    squares: float,
    *,
    alpha: float = 0.05,
    margin: float | None = None,
    non_inferiority: bool = True,
) -> float:
    """Probability, given the first n items, that a full run would end in any verdict.

    Normal predictive distribution of the mean at N under a flat prior: mean d, variance
    s^2 (1/n - 1/N). Spiegelhalter, Freedman and Blackburn (1986), Controlled Clinical Trials 7.

    Args:
        n: items seen, at least 1.
        n_total: N.
        total: sum of the differences seen.
        squares: sum of their squares.
        alpha: in (0, 0.5); two-sided for the direction, one-sided for the margin.
        margin: in (0, 1), or None (or 0) when only a direction is asked.
        non_inferiority: whether non-inferiority would still be news.

    """
    mean = total / n
    # Without spread so far, a spread is assumed: that n items agree does not show that the next do.
    spread = math.sqrt(max(squares / n - mean * mean, 0.5 / n))
    ahead = spread * math.sqrt(1.0 / n - 1.0 / n_total)
    error = spread / math.sqrt(n_total)
    reach = _z(alpha / 2.0) * error
    intervals = [(-math.inf, -reach), (reach, math.inf)]
    if margin:
        inside = margin - _z(alpha) * error
        if inside > 0.0:
            intervals.append((-inside, inside))
        if non_inferiority:
            intervals.append((-inside, math.inf))
    return _probability_of_union(intervals, mean, ahead)


def _probability_of_union(
    intervals: list[tuple[float, float]], mean: float, spread: float
) -> float:
    merged: list[list[float]] = []
    for low, high in sorted(intervals):
        if merged and low <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], high)
        else:
            merged.append([low, high])
    if spread == 0.0:
        return float(any(low <= mean <= high for low, high in merged))
    return sum(
        float(special.ndtr((high - mean) / spread) - special.ndtr((low - mean) / spread))
        for low, high in merged
    )


def _connor(delta: float, discordance: float, alpha: float, power: float) -> float:
    noise = _z(alpha / 2.0) * math.sqrt(discordance)
    noise += _z(1.0 - power) * math.sqrt(discordance - delta * delta)
    return (noise / delta) ** 2


def _check(alpha: float, power: float, discordance: float) -> None:
    check_alpha(alpha)
    check_probability("power", power)
    if not 0.0 < discordance <= 1.0:
        raise VerdictInputError(
            f"discordance is {discordance!r}; it must lie above 0 and not exceed 1"
        )
