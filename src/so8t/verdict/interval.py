"""The interval that is shown: every mean that the bets have not rejected at any look so far."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from so8t.verdict.checks import Floats, Ints
from so8t.verdict.hedge import (
    DIRECTION,
    WITHOUT_REPLACEMENT,
    Claim,
    Stream,
    item_stream,
    wealth,
)

# Distances from the mean that are tried first, in standard errors of a fixed-N interval: from
# inside any interval to outside of those after the first few items.
_FIRST_TRIES = np.geomspace(0.3, 60.0, 20)
# Two more rounds each split the bracket into this many parts: 0.2 % of the half-width is left.
_PARTS = 14
# On a long run the ends are first located with fewer, larger bets; the true ones are then tried
# around that, 1 % of the half-width apart.
_LONG = 2_500
_AROUND = np.geomspace(0.9, 1.12, 22)


def betting_interval(
    stream: Stream, alpha: float, looks: Ints | None = None
) -> tuple[float, float] | None:
    """Return {m: not rejected}, of level 1 - alpha at whatever item one stops.

    Both ends are rejected values or -1 and 1, so the search errs outward (by at most 0.2 % of the
    half-width, 1 % on runs of more than 2,500 bets). In benchmark scope, with all items in, it is
    one point.

    Args:
        stream: what is seen.
        alpha: two-sided, in (0, 0.5); each side has half.
        looks: item counts at which rejections count; default: the end of every unit.

    Returns:
        (low, high) within [-1, 1], or None when nothing has been seen.

    """
    if not stream.gains.size:
        return None
    centre = float(stream.gains.sum() / stream.sizes.sum())
    if stream.complete and not stream.replace:
        return (centre, centre)
    search = _Search(stream, centre, alpha, looks)
    ends = None
    if stream.items is not None and stream.gains.size > _LONG:
        units = max(1_500, round(5.0 * math.sqrt(stream.total)))
        rough = item_stream(
            np.diff(stream.items),
            int(stream.total),
            block=math.ceil(stream.total / units),
            replace=stream.replace,
        )
        located = _Search(rough, centre, alpha, None).from_scratch()
        brackets = search.narrow([distance * _AROUND for distance in located])
        if all(bracket.found for bracket in brackets):
            ends = [bracket.outer for bracket in brackets]
    low, high = ends or search.from_scratch()
    return (max(-1.0, centre - low), min(1.0, centre + high))


@dataclass(frozen=True, slots=True)
class _Bracket:
    """Distances from the centre between which an end lies; `found` if the tries enclosed it."""

    inner: float
    outer: float
    found: bool


@dataclass(frozen=True, slots=True)
class _Search:
    stream: Stream
    centre: float
    alpha: float
    looks: Ints | None

    def from_scratch(self) -> list[float]:
        """Return the distance of the lower and of the upper end from the centre."""
        sizes = float(self.stream.sizes.sum())
        residual = self.stream.gains - self.centre * self.stream.sizes
        # A quarter of an item keeps the first tries apart when there has been no spread at all.
        spread = float(residual @ residual) + 0.25 / self.stream.block**2
        error = math.sqrt(spread) / sizes
        brackets = self.narrow([error * _FIRST_TRIES] * 2)
        for _ in range(2):
            brackets = self.narrow([np.linspace(b.inner, b.outer, _PARTS + 1)[1:] for b in brackets])
        return [bracket.outer for bracket in brackets]

    def narrow(self, tries: list[Floats]) -> list[_Bracket]:
        """Bracket the lower and the upper end by the distances tried, which ascend."""
        horizons = DIRECTION if self.stream.replace else WITHOUT_REPLACEMENT
        signs = (1, -1)
        # Beyond the end of the scale there is no mean to reject.
        edges = [1.0 + sign * self.centre for sign in signs]
        claims = [
            Claim(sign, sign * self.centre - min(distance, edge), self.alpha / 2.0, horizons)
            for sign, edge, distances in zip(signs, edges, tries, strict=True)
            for distance in distances.tolist()
        ]
        best = wealth(self.stream, claims, self.looks).max(axis=0, initial=0.0)
        rejected = (best >= 2.0 / self.alpha).reshape(2, -1)
        brackets = []
        for edge, distances, out in zip(edges, tries, rejected, strict=True):
            # Wealth need not fall evenly with the bound: what is shown is the hull of what is kept.
            kept = np.flatnonzero(~out & (distances < edge))
            first_out = int(kept[-1]) + 1 if kept.size else 0
            inner = float(distances[first_out - 1]) if first_out else 0.0
            inside = first_out < distances.size
            outer = min(float(distances[first_out]), edge) if inside else edge
            brackets.append(_Bracket(inner, outer, found=inside and first_out > 0))
        return brackets
