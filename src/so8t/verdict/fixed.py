"""The analysis of a fixed number of items, looked at once: what finished results are judged by.

No order, no seed, no bets: the field's standard tests with the interval that belongs to each.

Scores of 0 and 1: the exact test of McNemar (1947), and the score interval of Tango (1998),
Statistics in Medicine 17, 891-908, whose two one-sided tests also answer for the margin (Liu,
Hsueh, Hsieh and Chen 2002, Statistics in Medicine 21). Graded scores: Student's paired t, or while
at most 18 differences are not zero the exact sign-flip test; the margin by two one-sided t tests
(Schuirmann 1987). Clusters: the same on cluster sums, with the standard error of Liang and Zeger
(1986). All items of a finite benchmark: nothing is left to infer, the difference is what it is.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from so8t.errors import VerdictInputError
from so8t.verdict.checks import Floats, as_differences, check_count
from so8t.verdict.classical import (
    EXACT_SIGN_FLIPS,
    PairedMean,
    clustered_mean,
    mcnemar_exact,
    paired_mean,
    sign_flip,
)
from so8t.verdict.settings import Outcome, Scope, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

_HALVINGS = 60
_ROUNDING = 1e-12
_DIRECTIONS = (Outcome.B_BETTER, Outcome.A_BETTER)


@dataclass(frozen=True, slots=True)
class Fixed:
    """What one look at a fixed number of items says.

    Attributes:
        items: n.
        difference: mean of score B - score A.
        interval: level 1 - alpha, within [-1, 1]; zero is in or out of it as `p_value` says.
        p_value: two-sided, against a difference of zero; None where nothing is inferred (all items
            of a finite benchmark) or nothing can be (a single cluster).
        margin_interval: level 1 - 2 alpha: within the margin exactly where both one-sided tests
            reject. None without a margin.
        not_worse_p: one-sided, against "B is worse by the margin or more"; None without a margin.
        not_better_p: one-sided, against "B is better by the margin or more".
        claims: every outcome that is proven; the direction first.
        method: mcnemar, t, sign_flip, cluster_t, cluster_sign_flip or whole.

    """

    items: int
    difference: float
    interval: tuple[float, float]
    p_value: float | None
    margin_interval: tuple[float, float] | None
    not_worse_p: float | None
    not_better_p: float | None
    claims: tuple[Outcome, ...]
    method: str


def fixed_analysis(
    differences: ArrayLike,
    settings: Settings,
    *,
    binary: bool | None = None,
    cluster_sizes: Sequence[int] | None = None,
) -> Fixed | None:
    """Analyse complete pairs as if nobody had looked before; None without any.

    Args:
        differences: shape (n,), score B - score A in [-1, 1], in any order.
        settings: alpha, margin and scope count; looks do not.
        binary: whether the scores are 0 or 1; None infers it from the differences.
        cluster_sizes: items of each cluster where `differences` come cluster after cluster.

    Raises:
        VerdictInputError: bad differences, or cluster sizes that do not add up.

    """
    d = as_differences(differences)
    if not d.size:
        return None
    if settings.scope is Scope.BENCHMARK:
        return _whole(d, settings)
    if cluster_sizes is not None:
        return _clustered(d, settings, cluster_sizes)
    if binary is None:
        binary = bool(np.all((d == 0.0) | (np.abs(d) == 1.0)))
    return _binary(d, settings) if binary else _graded(d, settings)


def fixed_summary(fixed: Fixed) -> dict[str, Any]:
    """Return an analysis as plain data for JSON; unknown is None."""
    plain = asdict(fixed)
    for name in ("interval", "margin_interval"):
        plain[name] = None if plain[name] is None else list(plain[name])
    return plain | {"claims": [claim.value for claim in fixed.claims]}


def tango_p(b_only: int, a_only: int, n: int, difference: float) -> float:
    """One-sided p-value of Tango's score test against "at most `difference`".

    Args:
        b_only: items that only B has right.
        a_only: items that only A has right.
        n: all items, at least 1.
        difference: accuracy B - accuracy A under the null hypothesis, in (-1, 1).

    Raises:
        VerdictInputError: a count that is none, or more discordant items than items.

    """
    return float(special.ndtr(-_score(*_counts(b_only, a_only, n), difference)))


def tango_interval(b_only: int, a_only: int, n: int, *, alpha: float = 0.05) -> tuple[float, float]:
    """Score interval of accuracy(B) - accuracy(A) of paired answers, level 1 - alpha; Tango (1998).

    Every difference that the score test does not reject at alpha/2 on either side.

    Args:
        b_only: items that only B has right.
        a_only: items that only A has right.
        n: all items, at least 1.
        alpha: two-sided, in (0, 1).

    Raises:
        VerdictInputError: bad counts.

    """
    b, a, n = _counts(b_only, a_only, n)
    z = float(-special.ndtri(alpha / 2.0))
    estimate = (b - a) / n
    # The statistic falls as the difference under test grows.
    low = _root(lambda at: _score(b, a, n, at) - z, -1.0, estimate)
    high = _root(lambda at: _score(b, a, n, at) + z, estimate, 1.0)
    return (low, high)


def _counts(b_only: int, a_only: int, n: int) -> tuple[int, int, int]:
    b, a = check_count("b_only", b_only), check_count("a_only", a_only)
    total = check_count("n", n, at_least=1)
    if a + b > total:
        raise VerdictInputError(f"{a + b} discordant items of only {total}")
    return b, a, total


def _score(b: int, a: int, n: int, at: float) -> float:
    """Return the score statistic of "the difference is `at`"; it falls as `at` grows."""
    gap = b - a - n * at
    # The share that only A has right, estimated under the hypothesis: a quadratic's larger root.
    linear = (2.0 * n - b + a) * at - b - a
    root = math.sqrt(max(linear * linear + 8.0 * n * a * at * (1.0 - at), 0.0))
    share = (root - linear) / (4.0 * n)
    variance = n * (2.0 * share + at * (1.0 - at))
    if variance <= 0.0:
        return math.copysign(math.inf, gap) if gap else 0.0
    return gap / math.sqrt(variance)


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Bisect; 60 halvings of [-1, 1] are exact to the last bit that is shown anywhere."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if falling(middle) > 0.0:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _binary(d: Floats, settings: Settings) -> Fixed:
    b, a, n = int(np.sum(d > 0.0)), int(np.sum(d < 0.0)), d.size
    p = mcnemar_exact(b, a)
    margin = settings.margin
    return _joined(
        d,
        settings,
        p=p,
        interval=tango_interval(b, a, n, alpha=settings.alpha),
        wide=None if margin is None else tango_interval(b, a, n, alpha=2.0 * settings.alpha),
        not_worse=None if margin is None else tango_p(b, a, n, -margin),
        not_better=None if margin is None else tango_p(a, b, n, -margin),
        method="mcnemar",
    )


def _graded(d: Floats, settings: Settings) -> Fixed:
    moved = int(np.count_nonzero(d))
    return _by_mean(d, paired_mean(d), d.size, settings, "t", d if moved else None)


def _clustered(d: Floats, settings: Settings, cluster_sizes: Sequence[int]) -> Fixed:
    sizes = np.array(
        [check_count("a cluster size", size, at_least=1) for size in cluster_sizes], dtype=np.int64
    )
    if int(sizes.sum()) != d.size:
        raise VerdictInputError(f"the clusters hold {int(sizes.sum())} items, not {d.size}")
    labels = np.repeat(np.arange(sizes.size), sizes)
    sums = np.bincount(labels, weights=d, minlength=sizes.size) / float(sizes.max())
    mean = clustered_mean(d, labels.tolist())
    return _by_mean(d, mean, sizes.size, settings, "cluster_t", sums)


def _by_mean(
    d: Floats, mean: PairedMean, units: int, settings: Settings, method: str, flips: Floats | None
) -> Fixed:
    """Judge by a mean and its standard error; few units that moved are flipped exactly."""
    alpha, margin = settings.alpha, settings.margin
    if mean.standard_error <= _ROUNDING:  # equal values, up to what sums of them are off by
        mean = replace(mean, standard_error=0.0)
    p: float | None
    if flips is not None and 0 < np.count_nonzero(flips) <= EXACT_SIGN_FLIPS:
        p, method = sign_flip(flips), method.replace("cluster_t", "cluster_sign_flip")
        method = "sign_flip" if method == "t" else method
    elif math.isnan(mean.standard_error):
        p = None
    else:
        p = mean.t_test().p_value
    return _joined(
        d,
        settings,
        p=p,
        interval=_mean_interval(mean, units, alpha),
        wide=None if margin is None else _mean_interval(mean, units, 2.0 * alpha),
        not_worse=None if margin is None else _mean_p(mean.mean + margin, mean, units),
        not_better=None if margin is None else _mean_p(margin - mean.mean, mean, units),
        method=method,
    )


def _mean_interval(mean: PairedMean, units: int, alpha: float) -> tuple[float, float]:
    if math.isnan(mean.standard_error):
        return (-1.0, 1.0)
    if mean.standard_error > 0.0:
        half = -float(special.stdtrit(mean.df, alpha / 2.0)) * mean.standard_error
        return (max(-1.0, mean.mean - half), min(1.0, mean.mean + half))
    # All alike. A share u of items of another kind would have been missed altogether with
    # probability (1 - u)^n, and they may lie anywhere on the scale.
    unseen = -math.expm1(math.log(alpha / 2.0) / units)
    return (mean.mean - unseen * (1.0 + mean.mean), mean.mean + unseen * (1.0 - mean.mean))


def _mean_p(gap: float, mean: PairedMean, units: int) -> float:
    """One-sided p-value that the mean lies on the near side of a bound `gap` away."""
    if math.isnan(mean.standard_error) or gap <= 0.0 == mean.standard_error:
        return 1.0
    if mean.standard_error > 0.0:
        return float(special.stdtr(mean.df, -gap / mean.standard_error))
    return float((1.0 - min(gap, 1.0)) ** units)


def _whole(d: Floats, settings: Settings) -> Fixed:
    difference, margin = float(d.mean()), settings.margin
    claims: list[Outcome] = []
    if difference:
        claims.append(Outcome.B_BETTER if difference > 0.0 else Outcome.A_BETTER)
    if margin is not None:
        claims += [Outcome.EQUIVALENT] if abs(difference) < margin else []
        claims += [Outcome.NON_INFERIOR] if difference > -margin else []
    point = (difference, difference)
    return Fixed(
        d.size,
        difference,
        point,
        None,
        None if margin is None else point,
        None,
        None,
        tuple(claims),
        "whole",
    )


def _joined(
    d: Floats,
    settings: Settings,
    *,
    p: float | None,
    interval: tuple[float, float],
    wide: tuple[float, float] | None,
    not_worse: float | None,
    not_better: float | None,
    method: str,
) -> Fixed:
    """Put tests and intervals together, so that the interval never says other than the test."""
    difference = float(d.mean())
    claims: list[Outcome] = []
    if p is not None and p <= settings.alpha and difference:
        claims.append(Outcome.B_BETTER if difference > 0.0 else Outcome.A_BETTER)
    margin = settings.margin
    if margin is not None and not_worse is not None and not_better is not None:
        low, high = not_worse <= settings.alpha, not_better <= settings.alpha
        claims += [Outcome.EQUIVALENT] if low and high else []
        claims += [Outcome.NON_INFERIOR] if low else []
    return Fixed(
        items=d.size,
        difference=difference,
        interval=at_zero(interval, next((c for c in claims if c in _DIRECTIONS), None)),
        p_value=p,
        margin_interval=None if wide is None or margin is None else at_margin(wide, margin, claims),
        not_worse_p=not_worse,
        not_better_p=not_better,
        claims=tuple(claims),
        method=method,
    )


def at_zero(interval: tuple[float, float], direction: Outcome | None) -> tuple[float, float]:
    """Put zero in or out of an interval as the test of the direction says."""
    low, high = interval
    low = max(low, 0.0) if direction is Outcome.B_BETTER else min(low, 0.0)
    high = min(high, 0.0) if direction is Outcome.A_BETTER else max(high, 0.0)
    return (low, high)


def at_margin(
    interval: tuple[float, float], margin: float, claims: Sequence[Outcome]
) -> tuple[float, float]:
    """Keep the interval of the margin within what its tests have proven (roundings apart)."""
    low, high = interval
    if Outcome.NON_INFERIOR in claims or Outcome.EQUIVALENT in claims:
        low = max(low, -margin)
    if Outcome.EQUIVALENT in claims:
        high = min(high, margin)
    return (low, high)
