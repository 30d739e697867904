"""Hedge: finite-horizon betting, for graded scores, margins, intervals and finite populations.

To test H0 "the mean is at most m", bet on every item that it comes out above m. Under H0 nobody can
expect to win, so the wealth is a nonnegative supermartingale and reaches 1/alpha with probability
at most alpha (Ville 1939), whenever one looks. The size of the bet is that of the bettor who
hedges an option which pays 1/alpha at the horizon: bold when behind and late, shy when ahead.
Several horizons share the money, so that a large difference ends early and a small one loses
little. Settings of the bets change the power, never the validity.

Waudby-Smith and Ramdas (2024), JRSS B 86 (betting, with and without replacement); Follmer and
Leukert (1999), Finance and Stochastics 3 (quantile hedging).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from so8t.errors import VerdictInputError
from so8t.verdict.checks import Floats, Ints, check_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# No bet may lose more than this share of its sub-account.
LARGEST_STAKE = 0.95
# What is assumed of the spread before the first item: four items with variance 1/4.
PRIOR_ITEMS, PRIOR_VARIANCE, LEAST_VARIANCE = 4.0, 0.25, 1e-4
# Sums are off by roundings; a hypothesis is impossible only beyond this.
ROUNDING = 1e-9
# Up to 10,000 items each has its own bet. On longer runs only the first 2,000 do (so that arms that
# answer alike are found out as soon as on a short run) and the rest is bet on in equal blocks: more
# bets would change little but the time. Looks may still fall on every item.
MOST_BETS = 10_000
# Accounts are kept within these bounds every so many bets, in which they can neither underflow (a
# bet loses at most 95 %) nor overflow (it wins at most 2 * 0.95/LEAST_ROOM times itself). The floor
# adds less than can be represented beside 1; the ceiling throws money away, which is always fair.
BETS_BETWEEN_BOUNDS = 64
FLOOR, CEILING = 1e-150, 1e100
# Bets near the end of the scale are as if the worst loss were at least this.
LEAST_ROOM = 0.01


@dataclass(frozen=True, slots=True)
class Horizons:
    """The sub-accounts: each plans to be done by a share of N, with a share of the money."""

    shares: tuple[float, ...]
    weights: tuple[float, ...]


_H = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
DIRECTION = Horizons(_H, tuple(b * b - a * a for a, b in zip((0.0, *_H[:-1]), _H, strict=True)))
EQUIVALENCE = Horizons((0.35, 0.6, 1.0), (0.1, 0.2, 0.7))
WITHOUT_REPLACEMENT = Horizons((0.1, 0.3, 0.6, 0.85, 0.97), (0.1, 0.2, 0.3, 0.2, 0.2))


@dataclass(frozen=True, slots=True)
class Claim:
    """The claim "side * mean difference > above", tested against "at most" at level alpha.

    Attributes:
        side: +1 or -1.
        above: in [-1, 1], units of the score.
        alpha: one-sided level; the claim is proven when the wealth reaches 1/alpha.
        horizons: the sub-accounts.

    """

    side: int
    above: float
    alpha: float
    horizons: Horizons


@dataclass(frozen=True, slots=True)
class Stream:
    """What the bettor sees, unit after unit. A unit is an item, a block of items or a cluster.

    Attributes:
        gains: shape (u,), sum of the differences in a unit (clusters: over the largest size).
        sizes: shape (u,), items in a unit (clusters: over the largest size).
        worst: shape (u,), what a stake of 1 can lose on a unit when the bound is 0.
        shares: shape (u,), a unit's share of what is left, as a multiple of 1/rest.
        rest: shape (u + 1,), what is left before each unit and at the end (benchmark scope).
        clock: shape (u,), items (clusters: units) seen before each unit.
        total: N on the same clock.
        pace: shape (u,), one over the spread predicted from the past only.
        ends: shape (u,), items seen after each unit.
        items: shape (n + 1,), running sum of the differences where looks may fall inside a
            block; None where only whole units count.
        replace: sampling with replacement (population scope) or without (benchmark scope).
        complete: whether every item of the run is in.

    """

    gains: Floats
    sizes: Floats
    worst: Floats
    shares: Floats
    rest: Floats
    clock: Floats
    total: float
    pace: Floats
    ends: Ints
    items: Floats | None
    replace: bool
    complete: bool


def item_stream(
    differences: Floats, n_total: int, *, bets: int = MOST_BETS, replace: bool = True
) -> Stream:
    """Make a stream of items: one bet each, and on a long run, later on, one for each block.

    Args:
        differences: shape (n,), in [-1, 1], in the frozen order.
        n_total: N.
        bets: at most so many for the whole run, about; the first fifth of them are on single items.
        replace: population scope; False for benchmark scope.

    """
    n = differences.size
    single = n_total if n_total <= bets else bets // 5
    block = max(1, math.ceil((n_total - single) / (bets - bets // 5)))
    starts = np.concatenate([np.arange(min(n, single)), np.arange(single, n, block)])
    ends = np.append(starts[1:], n) if n else starts
    sums = np.concatenate([[0.0], np.cumsum(differences)])
    squares = np.concatenate([[0.0], np.cumsum(differences * differences)])
    sizes = (ends - starts).astype(np.float64)
    # A last block that is not whole yet was bet on as a whole one: the stake may not depend on
    # where the prefix ends.
    whole = np.minimum(np.where(starts < single, 1, block), n_total - starts)
    return Stream(
        gains=sums[ends] - sums[starts],
        sizes=sizes,
        worst=whole.astype(np.float64),
        shares=sizes,
        rest=n_total - np.append(starts, n).astype(np.float64),
        clock=starts.astype(np.float64),
        total=float(n_total),
        pace=1.0 / predicted_spread(starts, sums[starts], squares[starts]),
        ends=ends,
        items=sums,
        replace=replace,
        complete=n == n_total,
    )


def cluster_stream(
    differences: Floats, cluster_sizes: Sequence[int], *, replace: bool = True
) -> Stream:
    """Make a stream of clusters: items on one passage, or one item of each task (macro average).

    The clusters, not the items, are what was shuffled. Each is one bet, on the cluster's sum over
    the largest cluster size.

    Args:
        differences: shape (n,), the items in order, cluster after cluster; only whole clusters
            count.
        cluster_sizes: items of every cluster of the whole run, in the frozen order.
        replace: population scope; False for benchmark scope.

    Raises:
        VerdictInputError: a size is not a positive whole number, or the clusters hold fewer items
            than there are differences.

    """
    sizes = np.array(
        [check_count("a cluster size", size, at_least=1) for size in cluster_sizes], dtype=np.int64
    )
    ends = np.cumsum(sizes)
    planned = int(sizes.sum())
    if differences.size > planned:
        raise VerdictInputError(
            f"there are {differences.size} differences but the clusters hold {planned} items"
        )
    whole = int(np.searchsorted(ends, differences.size, side="right"))
    largest = int(sizes.max(initial=1))
    sums = np.concatenate([[0.0], np.cumsum(differences)])
    ends = ends[:whole]
    gains = (sums[ends] - sums[ends - sizes[:whole]]) / largest
    units = np.arange(whole)
    past = np.concatenate([[0.0], np.cumsum(gains)])[:whole]
    squares = np.concatenate([[0.0], np.cumsum(gains * gains)])[:whole]
    return Stream(
        gains=gains,
        sizes=sizes[:whole] / largest,
        worst=np.ones(whole),
        shares=np.ones(whole),
        rest=np.arange(sizes.size, sizes.size - whole - 1.0, -1.0),
        clock=units.astype(np.float64),
        total=float(sizes.size),
        pace=1.0 / predicted_spread(units, past, squares),
        ends=ends,
        items=None,
        replace=replace,
        complete=whole == sizes.size,
    )


@dataclass(frozen=True, slots=True)
class Bets:
    """The wealth of one bettor a claim, to be read at any look."""

    stream: Stream
    side: Floats
    bound: Floats
    left: Floats
    room: Floats
    totals: Floats
    exposure: Floats

    def at(self, looks: Ints | None = None, columns: slice = slice(None)) -> Floats:
        """Return the wealth at every look; it started at 1.

        Args:
            looks: shape (l,), ascending item counts, each from 1 to the items in the stream; for
                clusters each the end of one. Default: the end of every unit.
            columns: which of the claims.

        Returns:
            Shape (l, m), nonnegative; inf once the finite population leaves nothing but the claim.

        """
        stream = self.stream
        if looks is None:
            looks = stream.ends
        unit = np.searchsorted(stream.ends, looks, side="left")
        totals = self.totals[:, columns]
        if stream.items is None:
            paths = totals[unit + 1]
        else:
            # Inside a block the stake stands, so that wealth is linear in what came in since.
            start = np.append(0, stream.ends[:-1])[unit]
            moved = stream.items[looks] - stream.items[start]
            drift = self.left[unit, columns] - self.bound[columns]
            since = np.multiply.outer(moved, self.side[columns]) + drift * (looks - start)[:, None]
            paths = totals[unit] + self.exposure[unit, columns] * since
        if not stream.replace:
            impossible = self.room[1:, columns] < -ROUNDING
            if stream.complete:
                impossible[-1:] = self._won(columns)
            ruled_out = impossible[unit] & (looks >= stream.ends[unit])[:, None]
            paths[np.logical_or.accumulate(ruled_out, axis=0)] = np.inf
        return paths

    def _won(self, columns: slice) -> NDArray[np.bool_]:
        """Whether each claim is simply true, now that every item is in."""
        total, size = self.stream.gains.sum(), self.stream.sizes.sum()
        return np.asarray(self.side[columns] * total - self.bound[columns] * size > ROUNDING)


def place_bets(stream: Stream, claims: Sequence[Claim]) -> Bets:
    """Bet on each claim along the stream.

    Time and memory grow with the number of units (at most about 10,000 for items, whatever N)
    times the number of claims.

    Args:
        stream: what is seen.
        claims: at least one.

    """
    units = stream.gains.size
    side = np.array([claim.side for claim in claims], dtype=np.float64)
    bound = np.array([claim.above for claim in claims], dtype=np.float64)
    shares, weights = _accounts([claim.horizons for claim in claims])
    # Against a bound, a unit brings side * gain - bound * size. Without replacement the mean of
    # what is left is known under H0 from what was seen, and is taken off.
    gain = np.multiply.outer(stream.gains, side) - np.multiply.outer(stream.sizes, bound)
    left = np.zeros((units + 1, bound.size))
    clock, pace, ends = stream.clock, stream.pace, shares * stream.total
    if not stream.replace:
        seen = np.concatenate([left[:1], np.cumsum(gain, axis=0)])
        rest = stream.rest[:, None]
        np.divide(seen, rest, out=left, where=rest > 0.0)
        gain += left[:units] * stream.shares[:, None]
        # On this clock a walk without replacement has the spread of one with replacement. It never
        # comes to N, so a horizon at N is put where it has nearly come to.
        clock = clock / (1.0 - clock / stream.total)
        ends = ends / np.maximum(1.0 - shares, 1e-3)
        pace = pace * stream.total / np.maximum(stream.total - stream.clock - 1.0, ROUNDING)
    room = 1.0 + bound - left
    # Where H0 has become impossible there is nothing left to bet against.
    gain[room[:units] < 0.0] = 0.0
    ahead = ends - clock[:, None, None]
    reach = np.divide(1.0, np.sqrt(np.maximum(ahead, ROUNDING)), where=ahead > 0.0, out=0.0 * ahead)
    reach *= pace[:, None, None]
    totals, exposure = play(
        gain,
        LARGEST_STAKE / (np.maximum(room[:units], LEAST_ROOM) * stream.worst[:, None]),
        reach,
        threshold=1.0 / np.array([claim.alpha for claim in claims]),
        weights=weights,
    )
    return Bets(stream, side, bound, left, room, totals, exposure)


def play(
    gain: Floats,
    cap: Floats,
    reach: Floats,
    *,
    threshold: Floats,
    weights: Floats,
    pace: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Play the bets; the one loop over time. Columns are claims, or runs of a simulation.

    Args:
        gain: shape (u, m), what one unit staked on a column brings; at least -LARGEST_STAKE/cap.
        cap: shape (u, m) or (u, 1), largest stake.
        reach: shape (u, k, m) or (u, k, 1), one over the predicted spread and over the root of the
            time to each horizon; 0 when that is over.
        threshold: shape (m,), the wealth at which H0 is rejected.
        weights: shape (k, m) or (k, 1), the shares of the money, each column summing to 1.
        pace: shape (u, m), what `reach` is still to be multiplied by, where that differs by column.

    Returns:
        The wealth before the first unit and after each, shape (u + 1, m), and the money at stake
        in each unit, shape (u, m).

    """
    units, columns = gain.shape
    purse = np.repeat(weights, columns, axis=1) if weights.shape[1] == 1 else weights.copy()
    totals, exposure = np.empty((units + 1, columns)), np.empty((units, columns))
    totals[0] = 1.0
    goal, chance, stake = np.empty_like(purse), np.empty_like(purse), np.empty_like(purse)
    # phi(z)/P with P = chance/2: the 2 and the 1/sqrt(2 pi) of phi go in here. Each call in the
    # loop costs a microsecond whatever its size, so arrays are reused and factors folded.
    reach = reach * (2.0 / math.sqrt(2.0 * math.pi))
    for u in range(units):
        if u % BETS_BETWEEN_BOUNDS == 0:
            np.clip(purse, FLOOR, CEILING, out=purse)
        # What an account must reach for the whole to reach the threshold; never below what it has,
        # so that a column already rejected keeps on without harm.
        np.subtract(purse, totals[u] - threshold, out=goal)
        np.maximum(goal, purse, out=goal)
        np.divide(purse, goal, out=chance)
        np.multiply(chance, 0.5, out=stake)
        special.ndtri(stake, out=stake)
        np.multiply(stake, stake, out=stake)
        np.multiply(stake, -0.5, out=stake)
        np.exp(stake, out=stake)
        np.divide(stake, chance, out=stake)
        np.multiply(stake, reach[u] if pace is None else reach[u] * pace[u], out=stake)
        np.minimum(stake, cap[u], out=stake)
        np.multiply(stake, purse, out=stake)
        np.add.reduce(stake, axis=0, out=exposure[u])
        np.multiply(stake, gain[u], out=stake)
        np.add(purse, stake, out=purse)
        np.add.reduce(purse, axis=0, out=totals[u + 1])
    return totals, exposure


def _accounts(horizons: Sequence[Horizons]) -> tuple[Floats, Floats]:
    """Return shares and weights, shape (k, m); a claim with fewer accounts gets empty ones."""
    most = max(len(h.shares) for h in horizons)
    shares = [h.shares + h.shares[-1:] * (most - len(h.shares)) for h in horizons]
    weights = [h.weights + (0.0,) * (most - len(h.weights)) for h in horizons]
    return np.array(shares).T, np.array(weights).T


def predicted_spread(seen: Ints, sums: Floats, squares: Floats) -> Floats:
    """Return the standard deviation predicted from the past only, shrunk to a prior."""
    n = PRIOR_ITEMS + seen
    variance = (PRIOR_ITEMS * PRIOR_VARIANCE + squares) / n - (sums / n) ** 2
    return np.asarray(np.sqrt(np.maximum(variance, LEAST_VARIANCE)))
