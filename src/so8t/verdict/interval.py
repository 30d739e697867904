"""The interval that is shown: every mean that the bets have not rejected at any look so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from so8t.verdict.checks import Floats, Ints
from so8t.verdict.hedge import (
    DIRECTION,
    WITHOUT_REPLACEMENT,
    Claim,
    Horizons,
    Stream,
    place_bets,
)

# Distances from the mean that are tried first, in standard errors of a fixed-N interval: close
# together where ends usually lie, and far out for the first items and for arms that answer alike.
_FIRST_TRIES = np.concatenate([[0.3], np.geomspace(1.4, 9.0, 8), [30.0, 1e3, 1e5]])
_PARTS = 8
# An end is known well enough once it is bracketed within 5 %; the rest is interpolation.
_NARROW = 1.05


@dataclass(slots=True)
class IntervalSearch:
    """The search for {m: not rejected}, in rounds of claims, so that rounds can share a pass.

    Usage: place bets on `claims`, hand their wealth to `update`, until `done`. Wealth need not fall
    evenly with the distance from the mean, so what is found is the hull of what is not rejected.
    The ends are found to about 0.2 % of the half-width.

    Attributes:
        stream: what is seen; at least one unit.
        alpha: two-sided, in (0, 1]; each side has half.
        horizons: of the bets; default: those of the direction.
        ends: distances of the lower and the upper end from the mean, once done.

    """

    stream: Stream
    alpha: float
    horizons: Horizons | None = None
    done: bool = False
    ends: tuple[float, float] = (math.inf, math.inf)
    _tries: tuple[Floats, Floats] = field(init=False)

    def __post_init__(self) -> None:
        sizes = float(self.stream.sizes.sum())
        residual = self.stream.gains - self.centre * self.stream.sizes
        # A quarter of an item keeps the tries apart when there has been no spread at all.
        error = math.sqrt(float(residual @ residual) + 0.25) / sizes
        self._tries = (error * _FIRST_TRIES, error * _FIRST_TRIES)

    @property
    def centre(self) -> float:
        """The mean difference so far."""
        return float(self.stream.gains.sum() / self.stream.sizes.sum())

    @property
    def claims(self) -> list[Claim]:
        """What to bet on next: the lower tries, then the upper ones."""
        horizons = self.horizons or (DIRECTION if self.stream.replace else WITHOUT_REPLACEMENT)
        return [
            # Beyond the end of the scale there is no mean to reject; the bet there is idle.
            Claim(sign, max(-1.0, sign * self.centre - distance), self.alpha / 2.0, horizons)
            for sign, distances in zip((1, -1), self._tries, strict=True)
            for distance in distances.tolist()
        ]

    def update(self, paths: Floats) -> None:
        """Take the wealth of `claims`, shape (l, m), over the looks at which rejections count."""
        best = np.log(np.maximum(paths.max(axis=0, initial=1e-300), 1e-300))
        best -= math.log(2.0 / self.alpha)
        halves = np.split(best, [self._tries[0].size])
        edges = (1.0 + self.centre, 1.0 - self.centre)
        found = [
            _bracket(distances, excess, edge)
            for distances, excess, edge in zip(self._tries, halves, edges, strict=True)
        ]
        self.ends = (found[0].end, found[1].end)
        self.done = all(bracket.narrow for bracket in found)
        self._tries = (_split(found[0]), _split(found[1]))

    def interval(self) -> tuple[float, float]:
        """Return (low, high) within [-1, 1]."""
        return (max(-1.0, self.centre - self.ends[0]), min(1.0, self.centre + self.ends[1]))


def betting_interval(
    stream: Stream,
    alpha: float,
    looks: Ints | None = None,
    *,
    horizons: Horizons | None = None,
) -> tuple[float, float] | None:
    """Return {m: not rejected}, of level 1 - alpha at whatever item one stops.

    In benchmark scope, with all items in, it is one point.

    Args:
        stream: what is seen.
        alpha: two-sided, in (0, 1]; each side has half. At 1, each end is on its far side of the
            truth in at most half of all runs, whenever one stops: a median-unbiased estimate that
            errs towards the middle (`Verdict.adjusted`).
        looks: item counts at which rejections count; default: the end of every unit.
        horizons: of the bets; default: those of the direction.

    Returns:
        (low, high) within [-1, 1], or None when nothing has been seen.

    """
    if not stream.gains.size:
        return None
    search = IntervalSearch(stream, alpha, horizons)
    if stream.complete and not stream.replace:
        return (search.centre, search.centre)
    while not search.done:
        search.update(place_bets(stream, search.claims).at(looks))
    return search.interval()


@dataclass(frozen=True, slots=True)
class _Bracket:
    """The last distance kept, the first one rejected, and the end between them."""

    inner: float
    outer: float
    end: float
    narrow: bool


def _bracket(distances: Floats, excess: Floats, edge: float) -> _Bracket:
    """Find the end among ascending distances, from log wealth minus log threshold at each."""
    kept = np.flatnonzero((excess < 0.0) & (distances < edge))
    first_out = int(kept[-1]) + 1 if kept.size else 0
    inner = float(distances[first_out - 1]) if first_out else 0.0
    if first_out == distances.size or distances[first_out] >= edge:
        # Rejected nowhere short of the end of the scale.
        return _Bracket(inner, edge, edge, narrow=edge <= inner * _NARROW or first_out == 0)
    outer = float(distances[first_out])
    if first_out == 0:
        # Even the nearest is rejected: the mean has left what earlier looks allowed. Err outward.
        return _Bracket(0.0, outer, outer, narrow=True)
    below, above = float(excess[first_out - 1]), float(excess[first_out])
    part = 1.0 if math.isinf(above) else below / (below - above)
    return _Bracket(inner, outer, inner + part * (outer - inner), narrow=outer <= inner * _NARROW)


def _split(bracket: _Bracket) -> Floats:
    """Split by ratio; an end that needs no more search is tried once more, for nothing."""
    if 0.0 < bracket.inner < bracket.outer:
        return np.geomspace(bracket.inner, bracket.outer, _PARTS + 1)
    return np.array([bracket.outer])
