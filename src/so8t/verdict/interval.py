"""The interval that is shown: every mean that the bets have not rejected at any look so far."""

from __future__ import annotations

import math

import numpy as np

from so8t.verdict.checks import Floats, Ints
from so8t.verdict.hedge import (
    DIRECTION,
    WITHOUT_REPLACEMENT,
    Claim,
    Stream,
    wealth,
)

# Distances from the mean that are tried first, in standard errors of a fixed-N interval: from
# inside any interval to outside of those after the first few items.
_FIRST_TRIES = np.geomspace(0.3, 60.0, 20)
# Each round splits the bracket into this many parts; three rounds leave 0.2 % of the half-width.
_PARTS = 14
_ROUNDS = 3


def betting_interval(
    stream: Stream, alpha: float, looks: Ints | None = None
) -> tuple[float, float] | None:
    """Return {m: not rejected}, of level 1 - alpha at whatever item one stops.

    Both ends are rejected values or -1 and 1, so the search errs outward (by at most 0.2 % of the
    half-width). In benchmark scope, with all items in, it is one point.

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
    residual = stream.gains - centre * stream.sizes
    # A quarter of a unit keeps the first tries apart when there has been no spread at all.
    error = math.sqrt(float(residual @ residual) + 0.25 / stream.block) / float(stream.sizes.sum())
    tries = [error * _FIRST_TRIES, error * _FIRST_TRIES]
    for _ in range(_ROUNDS):
        tries = _narrow(stream, centre, tries, alpha, looks)
    # The outer end of each bracket is rejected, or is the end of the scale.
    return (max(-1.0, centre - float(tries[0][-1])), min(1.0, centre + float(tries[1][-1])))


def _narrow(
    stream: Stream, centre: float, tries: list[Floats], alpha: float, looks: Ints | None
) -> list[Floats]:
    """Return, for the lower and the upper end, a finer bracket of distances from the centre.

    A distance beyond the end of the scale needs no bet: no mean lies there.
    """
    horizons = DIRECTION if stream.replace else WITHOUT_REPLACEMENT
    signs = (1, -1)
    claims = [
        Claim(sign, max(-1.0, sign * centre - distance), alpha / 2.0, horizons)
        for sign, distances in zip(signs, tries, strict=True)
        for distance in distances.tolist()
    ]
    best = wealth(stream, claims, looks).max(axis=0, initial=0.0)
    rejected = (best >= 2.0 / alpha).reshape(2, -1)
    brackets = []
    for sign, distances, ruled_out in zip(signs, tries, rejected, strict=True):
        edge = 1.0 + sign * centre
        ruled_out |= distances >= edge
        kept = np.flatnonzero(~ruled_out)
        # Wealth need not fall evenly with the bound: the hull of what is kept is what is shown.
        inner = distances[kept[-1]] if kept.size else 0.0
        beyond = kept[-1] + 1 if kept.size else 0
        outer = distances[beyond] if beyond < distances.size else edge
        brackets.append(np.linspace(inner, min(outer, edge), _PARTS + 1)[1:])
    return brackets
