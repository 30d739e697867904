"""What may enter: every check names the value that it refuses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from so8t.errors import VerdictInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def as_differences(differences: ArrayLike, *, low: float = -1.0, high: float = 1.0) -> Floats:
    """Return the differences as a flat float array, or say which one is wrong.

    Args:
        differences: shape (n,), score of B minus score of A, one an item, in [low, high].
        low: smallest value allowed.
        high: largest value allowed.

    Raises:
        VerdictInputError: not one-dimensional, not numbers, NaN, infinite or out of range.

    """
    try:
        values = np.array(differences, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise VerdictInputError(
            f"the differences are not numbers: {error}",
            hint="drop and count missing pairs first: so8t.verdict.pair_scores",
        ) from error
    if values.ndim != 1:
        raise VerdictInputError(f"differences must be a flat list, not of shape {values.shape}")
    # NaN compares false with everything, so the test asks for what is right.
    wrong = np.flatnonzero(~((values >= low) & (values <= high)))
    if wrong.size:
        place = int(wrong[0])
        raise VerdictInputError(
            f"item {place + 1} has the value {values[place]!r}; "
            f"it must be a number in [{low:g}, {high:g}]",
            hint="scores lie in [0, 1]; missing pairs are dropped and counted, never NaN",
        )
    return values


def fair_coins(n: int) -> Floats:
    """Probabilities of 0, 1, ..., n heads in n fair tosses; shape (n + 1,).

    From log-gamma, at a relative error below 1e-9 up to n = 100,000. scipy.stats has the same,
    and takes a second to import.
    """
    k = np.arange(n + 1)
    ways = special.gammaln(n + 1.0) - special.gammaln(k + 1.0) - special.gammaln(n - k + 1.0)
    return np.asarray(np.exp(ways - n * math.log(2.0)))


def check_alpha(alpha: float) -> None:
    """Refuse an alpha (error rate) outside the open interval (0, 0.5)."""
    if not 0.0 < alpha < 0.5:  # noqa: PLR2004 - the bound is the definition
        raise VerdictInputError(f"alpha is {alpha!r}; it must lie between 0 and 0.5, like 0.05")


def check_margin(margin: float) -> None:
    """Refuse a margin (in units of the score) that is not in the open interval (0, 1)."""
    if not 0.0 < margin < 1.0:
        raise VerdictInputError(
            f"margin is {margin!r}; it must lie between 0 and 1, like 0.02 for two points"
        )


def check_count(name: str, value: float, *, at_least: int = 0) -> int:
    """Return a count as an int, or refuse a fraction or a value below `at_least`."""
    if not math.isfinite(value) or value != int(value) or value < at_least:
        raise VerdictInputError(
            f"{name} is {value!r}; it must be a whole number of at least {at_least}"
        )
    return int(value)


def check_probability(name: str, value: float) -> None:
    """Refuse a value outside the open interval (0, 1)."""
    if not 0.0 < value < 1.0:
        raise VerdictInputError(f"{name} is {value!r}; it must lie between 0 and 1")


def check_total(n_used: int, n_total: float) -> int:
    """Return the number of items planned, or refuse one smaller than the data."""
    total = check_count("the number of items planned", n_total)
    if n_used > total:
        raise VerdictInputError(
            f"there are {n_used} differences but only {total} items planned",
            hint="n_total is the number of items frozen before item 1",
        )
    return total


def as_probabilities(p_values: Sequence[float]) -> Floats:
    """Return p-values as a flat float array; each must lie in [0, 1]."""
    return as_differences(p_values, low=0.0, high=1.0)
