"""The fixed-N methods: right for one look at the end, wrong for a person who peeks.

They stand beside the sequential verdict for information and as its yardstick. Nothing in here
holds its error rate when it is looked at more than once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from so8t.errors import VerdictInputError
from so8t.verdict.checks import (
    Floats,
    as_differences,
    check_alpha,
    check_count,
    check_margin,
    fair_coins,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike

# 2^18 sign patterns are summed in a few milliseconds; above that, Monte Carlo.
EXACT_SIGN_FLIPS = 18


@dataclass(frozen=True, slots=True)
class TestResult:
    """A statistic with its two-sided p-value."""

    statistic: float
    p_value: float


@dataclass(frozen=True, slots=True)
class PairedMean:
    """A mean paired difference with its standard error; `df` are the degrees of freedom.

    `standard_error` is NaN where it cannot be estimated (fewer than two items or clusters).
    """

    mean: float
    standard_error: float
    df: int

    def t_test(self) -> TestResult:
        """Student's t against zero, two-sided (Student 1908)."""
        if self.standard_error == 0.0:
            # No spread: certain of a difference, or of none.
            return TestResult(math.inf if self.mean else 0.0, 0.0 if self.mean else 1.0)
        t = self.mean / self.standard_error
        return TestResult(t, float(2.0 * special.stdtr(max(self.df, 1), -abs(t))))

    def interval(self, alpha: float = 0.05) -> tuple[float, float]:
        """Student's interval of level 1 - alpha, in units of the score."""
        check_alpha(alpha)
        half = float(-special.stdtrit(max(self.df, 1), alpha / 2.0)) * self.standard_error
        return (self.mean - half, self.mean + half)


def mcnemar_exact(b_only: int, a_only: int) -> float:
    """Two-sided p-value of the exact test of McNemar (1947): the sign test on discordant pairs.

    Args:
        b_only: items that only B has right.
        a_only: items that only A has right.

    Raises:
        VerdictInputError: a count is negative or not whole.

    """
    b, a = check_count("b_only", b_only), check_count("a_only", a_only)
    return min(1.0, 2.0 * float(special.bdtr(min(a, b), a + b, 0.5)))


def mcnemar_midp(b_only: int, a_only: int) -> float:
    """Two-sided mid-p-value of McNemar's test: half the probability of the observed table.

    Less conservative than the exact test; Fagerland, Lydersen and Laake (2013),
    BMC Medical Research Methodology 13:91. Arguments and errors as in `mcnemar_exact`.
    """
    b, a = check_count("b_only", b_only), check_count("a_only", a_only)
    low = min(a, b)
    observed = float(fair_coins(a + b)[low])
    return min(1.0, 2.0 * float(special.bdtr(low, a + b, 0.5)) - observed)


def mcnemar_chi2(b_only: int, a_only: int, *, correction: bool = False) -> TestResult:
    """McNemar's chi-squared form with one degree of freedom, for large counts only.

    Args:
        b_only: items that only B has right.
        a_only: items that only A has right.
        correction: Edwards' (1948) continuity correction.

    Raises:
        VerdictInputError: a count is negative or not whole.

    """
    b, a = check_count("b_only", b_only), check_count("a_only", a_only)
    if a + b == 0:
        return TestResult(0.0, 1.0)
    gap = max(0.0, abs(b - a) - (1.0 if correction else 0.0))
    statistic = gap * gap / (a + b)
    return TestResult(statistic, float(special.chdtrc(1, statistic)))


def sign_e_value(b_only: int, a_only: int, *, a: float = 1.0, one_sided: bool = False) -> float:
    """E-value against "the discordant pairs are fair coins": a Beta(a, a) mixture.

    E = 2^n B(a + b_only, a + a_only) / B(a, a); one-sided, the mixture lives on p > 1/2 (B
    better). It may be read at any time; e-BH takes it. Robbins (1970), Ann. Math. Stat. 41.

    Args:
        b_only: items that only B has right.
        a_only: items that only A has right.
        a: parameter of the symmetric beta mixture, above zero.
        one_sided: count only evidence for B.

    Raises:
        VerdictInputError: a count is negative or not whole, or `a` is not positive.

    """
    b, c = check_count("b_only", b_only), check_count("a_only", a_only)
    if not a > 0.0:
        raise VerdictInputError(f"a is {a!r}; it must be positive")
    log_e = (b + c) * math.log(2.0) + special.betaln(a + b, a + c) - special.betaln(a, a)
    if one_sided:
        log_e += math.log(2.0) + _log_upper_half(a + b, a + c)
    return float(math.exp(min(log_e, 700.0)))


def posterior_b_better(b_only: int, a_only: int, *, a: float = 1.0) -> float:
    """Posterior probability that B wins more than half of the discordant pairs, Beta(a, a) prior.

    For information: "posterior > 0.975" read while peeking errs in 35 to 44 % of runs.
    """
    b, c = check_count("b_only", b_only), check_count("a_only", a_only)
    return float(special.betaincc(a + b, a + c, 0.5))


def paired_mean(differences: ArrayLike) -> PairedMean:
    """Mean difference and its standard error from independent items (ddof 1).

    Args:
        differences: shape (n,), n >= 1, in [-1, 1], units of the score.

    Raises:
        VerdictInputError: empty, NaN or out of range.

    """
    d = _nonempty(differences)
    n = d.size
    error = float(d.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return PairedMean(float(d.mean()), error, n - 1)


def clustered_mean(differences: ArrayLike, clusters: Sequence[Hashable]) -> PairedMean:
    """Mean difference with a standard error robust to dependence within clusters.

    SE = sqrt(G/(G-1) sum_g (sum of residuals in g)^2) / n, with G - 1 degrees of freedom.
    Liang and Zeger (1986), Biometrika 73; Miller (2024), arXiv:2411.00640.

    Args:
        differences: shape (n,), n >= 1, in [-1, 1].
        clusters: shape (n,), a hashable label an item (the passage that it belongs to).

    Raises:
        VerdictInputError: lengths differ, empty, NaN or out of range.

    """
    d = _nonempty(differences)
    if len(clusters) != d.size:
        raise VerdictInputError(f"{d.size} differences but {len(clusters)} cluster labels")
    number: dict[Hashable, int] = {}
    index = [number.setdefault(label, len(number)) for label in clusters]
    mean = float(d.mean())
    sums = np.bincount(index, weights=d - mean)
    groups = sums.size
    if groups < 2:  # noqa: PLR2004 - one cluster says nothing of the spread between clusters
        return PairedMean(mean, math.nan, 0)
    variance = groups / (groups - 1.0) * float(sums @ sums)
    return PairedMean(mean, math.sqrt(variance) / d.size, groups - 1)


def tost(differences: ArrayLike, margin: float) -> float:
    """P-value of two one-sided t tests: H0 is "the means differ by the margin or more".

    Schuirmann (1987), J. Pharmacokinetics and Biopharmaceutics 15.

    Args:
        differences: shape (n,), n >= 1, in [-1, 1].
        margin: in units of the score, in (0, 1).

    Raises:
        VerdictInputError: bad differences or margin.

    """
    check_margin(margin)
    m = paired_mean(differences)
    if m.df < 1:
        return 1.0
    gap = margin - abs(m.mean)
    if m.standard_error == 0.0:
        return 0.0 if gap > 0.0 else 1.0
    return float(special.stdtr(m.df, -gap / m.standard_error))


def sign_flip(differences: ArrayLike, *, resamples: int = 9_999, seed: int = 0) -> float:
    """Two-sided p-value of the sign-flip permutation test of a mean of zero.

    Exact over all 2^k sign patterns of the k differences that are not zero while k <= 18; above,
    seeded Monte Carlo, p = (hits + 1)/(resamples + 1). Fisher (1935); Phipson and Smyth (2010).

    Args:
        differences: shape (n,), in [-1, 1].
        resamples: random sign patterns when there are too many to list.
        seed: of the Monte Carlo.

    Raises:
        VerdictInputError: bad differences, or resamples below 1.

    """
    d = as_differences(differences)
    check_count("resamples", resamples, at_least=1)
    d = d[d != 0.0]
    # Sums that are equal on paper differ in the last bits; they must count as equal.
    observed = abs(float(d.sum())) - 1e-9
    if d.size <= EXACT_SIGN_FLIPS:
        sums = np.zeros(1)
        for value in d:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= observed))
    random = np.random.default_rng(seed)
    hits = 0
    for chunk in _chunks(resamples, max(1, 4_000_000 // d.size)):
        signs = random.integers(0, 2, size=(chunk, d.size), dtype=np.int8) * 2.0 - 1.0
        hits += int(np.count_nonzero(np.abs(signs @ d) >= observed))
    return (hits + 1.0) / (resamples + 1.0)


def bca_bootstrap(
    differences: ArrayLike, *, alpha: float = 0.05, resamples: int = 9_999, seed: int = 0
) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval of the mean, level 1 - alpha.

    Efron (1987), JASA 82. With no spread, or one item, both ends are the mean.

    Args:
        differences: shape (n,), n >= 1, in [-1, 1].
        alpha: in (0, 0.5).
        resamples: bootstrap samples.
        seed: of the resampling.

    Raises:
        VerdictInputError: bad differences, alpha or resamples.

    """
    check_alpha(alpha)
    check_count("resamples", resamples, at_least=1)
    d = _nonempty(differences)
    mean = float(d.mean())
    centred = d - mean
    if d.size == 1 or not centred.any():
        return (mean, mean)
    random = np.random.default_rng(seed)
    means = np.concatenate(
        [
            d[random.integers(0, d.size, size=(chunk, d.size))].mean(axis=1)
            for chunk in _chunks(resamples, max(1, 4_000_000 // d.size))
        ]
    )
    # Ties count half: on lattice data a strict count would bias the correction.
    below = (np.mean(means < mean) + np.mean(means <= mean)) / 2.0
    bias = float(special.ndtri(np.clip(below, 1e-12, 1.0 - 1e-12)))
    # The jackknife of a mean has a closed form: its acceleration is skewness / 6.
    acceleration = float((centred**3).sum() / (6.0 * (centred**2).sum() ** 1.5))
    z = bias + special.ndtri(np.array([alpha / 2.0, 1.0 - alpha / 2.0]))
    levels = special.ndtr(bias + z / (1.0 - acceleration * z))
    low, high = np.quantile(means, levels)
    return (float(low), float(high))


def wilson_interval(right: int, n: int, *, alpha: float = 0.05) -> tuple[float, float]:
    """Score interval of one proportion (one arm's accuracy); Wilson (1927), JASA 22.

    Args:
        right: items answered correctly, 0 <= right <= n.
        n: items; with none the interval is (0, 1).
        alpha: in (0, 0.5).

    Raises:
        VerdictInputError: bad counts or alpha.

    """
    check_alpha(alpha)
    total = check_count("n", n)
    hits = check_count("right", right)
    if hits > total:
        raise VerdictInputError(f"right is {hits}, more than n = {total}")
    if total == 0:
        return (0.0, 1.0)
    z = float(special.ndtri(1.0 - alpha / 2.0))
    p = hits / total
    middle = p + z * z / (2.0 * total)
    half = z * math.sqrt(p * (1.0 - p) / total + z * z / (4.0 * total * total))
    scale = 1.0 + z * z / total
    # At the ends the formula is exact on paper and off by a rounding in floating point.
    low = 0.0 if hits == 0 else (middle - half) / scale
    high = 1.0 if hits == total else (middle + half) / scale
    return (low, high)


def newcombe_interval(
    both_right: int, b_only: int, a_only: int, both_wrong: int, *, alpha: float = 0.05
) -> tuple[float, float]:
    """Fixed-N interval of accuracy(B) - accuracy(A) from the 2 x 2 table of paired answers.

    Square-and-add of two Wilson intervals with the continuity-corrected phi: method 10 of
    Newcombe (1998), Statistics in Medicine 17, 2635-2650.

    Args:
        both_right: items that both have right.
        b_only: items that only B has right.
        a_only: items that only A has right.
        both_wrong: items that neither has right.
        alpha: in (0, 0.5).

    Raises:
        VerdictInputError: bad counts or alpha, or no items at all.

    """
    names = ("both_right", "b_only", "a_only", "both_wrong")
    e, f, g, h = (
        check_count(name, value)
        for name, value in zip(names, (both_right, b_only, a_only, both_wrong), strict=True)
    )
    n = e + f + g + h
    if n == 0:
        raise VerdictInputError("the table of pairs is empty", hint="score at least one item")
    p_b, p_a = (e + f) / n, (e + g) / n
    low_b, high_b = wilson_interval(e + f, n, alpha=alpha)
    low_a, high_a = wilson_interval(e + g, n, alpha=alpha)
    product = float((e + f) * (g + h) * (e + g) * (f + h))
    cross = float(e * h - f * g)
    if cross > 0.0:
        cross = max(cross - n / 2.0, 0.0)
    phi = cross / math.sqrt(product) if product else 0.0

    def reach(own: float, other: float) -> float:
        return math.sqrt(max(own * own - 2.0 * phi * own * other + other * other, 0.0))

    difference = p_b - p_a
    return (
        difference - reach(p_b - low_b, high_a - p_a),
        difference + reach(high_b - p_b, p_a - low_a),
    )


def _log_upper_half(p: float, q: float) -> float:
    """Return the log of P(X > 1/2) for X ~ Beta(p, q), even where the probability underflows."""
    if p >= q:
        return math.log(float(special.betaincc(p, q, 0.5)))
    # The series of the incomplete beta function: DLMF 8.17.8.
    series = float(special.hyp2f1(1.0, p + q, q + 1.0, 0.5))
    return math.log(series / q) - (p + q) * math.log(2.0) - float(special.betaln(p, q))


def _nonempty(differences: ArrayLike) -> Floats:
    d = as_differences(differences)
    if not d.size:
        raise VerdictInputError("there are no differences", hint="score at least one item")
    return d


def _chunks(total: int, size: int) -> list[int]:
    """Split a number of resamples so that memory stays bounded at any n."""
    edges = [*range(0, total, size), total]
    return [b - a for a, b in pairwise(edges)]
