"""GS: exact McNemar by alpha spending, for the direction of binary scores.

Under H0 ("neither is better") the signs of the discordant pairs are fair coins, whatever the rate
of discordance and whenever the pairs occur. So the null distribution of B's wins, among paths that
have not yet been stopped, can be carried along exactly: convolve it with the new coins at each look
and strip from its ends as much mass as the spending function allows by then. What is left to spend
at item N is spent there, so almost nothing is lost against the one exact test at the end.

Lan and DeMets (1983), Biometrika 70; Hwang, Shih and DeCani (1990), Statistics in Medicine 9
(the spending function, gamma = -2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from so8t.errors import VerdictInputError
from so8t.verdict.checks import (
    Floats,
    Ints,
    as_differences,
    check_alpha,
    check_count,
    check_total,
    fair_coins,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class GroupSequential:
    """The exact boundaries at the looks that saw a new discordant pair, and where they broke.

    Attributes:
        decided_at: items after which the boundary was first crossed, or None.
        direction: +1 (B better), -1 (A better) or 0.
        items: shape (k,), items at each look that saw a new discordant pair (and at N).
        net_wins: shape (k,), B's wins minus A's wins by then.
        boundary: shape (k,), the net wins at which B is better; minus it, A is.

    """

    decided_at: int | None
    direction: int
    items: Ints
    net_wins: Ints
    boundary: Ints


def alpha_spent(t: float, alpha: float) -> float:
    """Return alpha (1 - e^(2t))/(1 - e^2): the error that may be spent by the fraction t of N.

    Args:
        t: items over N, in [0, 1].
        alpha: what may be spent in all, on this side.

    """
    return alpha * math.expm1(2.0 * t) / math.expm1(2.0)


def group_sequential(
    differences: ArrayLike,
    n_total: int,
    *,
    alpha: float = 0.05,
    look_every: int = 1,
    last: bool | None = None,
    stop: bool = True,
) -> GroupSequential:
    """Run the exact alpha-spending McNemar test over a completed prefix.

    A pure function of the prefix: the state after n items is recomputed, never stored. Time grows
    as (discordant looks) x sqrt(discordant pairs), memory as the number of looks.

    Args:
        differences: shape (n,), each -1, 0 or +1, in the frozen random order.
        n_total: N, the items planned; n <= N.
        alpha: two-sided error rate, in (0, 0.5); half is spent on each side.
        look_every: looks fall on multiples of this many items and on the last item.
        last: whether the prefix is all there will be, so that what is left is spent. Default:
            n == N. True before N is for runs that lost pairs to missing answers.
        stop: end at the first crossing. False goes on, to draw the whole boundary.

    Raises:
        VerdictInputError: a difference is not -1, 0 or 1; bad N, alpha or look_every.

    """
    d = as_differences(differences)
    n_total = check_total(d.size, n_total)
    check_alpha(alpha)
    check_count("look_every", look_every, at_least=1)
    if not np.all((d == 0.0) | (np.abs(d) == 1.0)):
        value = d[(d != 0.0) & (np.abs(d) != 1.0)][0]
        raise VerdictInputError(
            f"{value!r} is not the difference of two binary scores",
            hint="graded scores use hedge(), not the McNemar test",
        )
    if last is None:
        last = d.size == n_total
    ends, coins, heads = _looks(d, look_every, last=last)
    return _walk(ends, coins, heads, n_total, alpha=alpha, last=last, stop=stop)


def _looks(d: Floats, look_every: int, *, last: bool) -> tuple[Ints, Ints, Ints]:
    """Return item counts, new discordant pairs and new wins of B at the looks that matter."""
    usable = d.size if last else d.size - d.size % look_every
    at = np.flatnonzero(d[:usable])
    look = np.minimum((at // look_every + 1) * look_every, usable)
    # A look without a new pair cannot cross: it spends nothing, so that a later one may.
    ends, first = np.unique(look, return_index=True)
    edges = np.append(first, at.size)
    wins = np.append(0, np.cumsum(d[at] > 0.0))
    coins, heads = np.diff(edges), np.diff(wins[edges])
    if last and usable and (not ends.size or ends[-1] != usable):
        # At the end what is left is spent, even when the last item is a tie.
        ends, coins, heads = np.append(ends, usable), np.append(coins, 0), np.append(heads, 0)
    return ends.astype(np.int64), coins.astype(np.int64), heads.astype(np.int64)


def _walk(
    ends: Ints, coins: Ints, heads: Ints, n_total: int, *, alpha: float, last: bool, stop: bool
) -> GroupSequential:
    side = alpha / 2.0
    alive = np.ones(1)  # mass of paths not yet stopped, by B's wins, from `lowest` up
    lowest = pairs = wins = 0
    spent = 0.0
    boundary, net = [], []
    decided_at: int | None = None
    direction = 0
    kernels: dict[int, Floats] = {}
    final = int(ends[-1]) if last and ends.size else -1
    for item, new, won in zip(ends.tolist(), coins.tolist(), heads.tolist(), strict=True):
        if new == 1:
            # np.convolve with two equal taps, in place of a general kernel: the usual case.
            grown = np.empty(alive.size + 1)
            grown[0], grown[-1] = alive[0], alive[-1]
            np.add(alive[1:], alive[:-1], out=grown[1:-1])
            grown *= 0.5
            alive = grown
        elif new:
            if new not in kernels:
                kernels[new] = fair_coins(new)
            alive = np.convolve(alive, kernels[new])
        pairs += new
        wins += won
        budget = side if item == final else alpha_spent(item / n_total, side)
        top = alive.size
        while top and spent + alive[top - 1] <= budget:
            spent += float(alive[top - 1])
            top -= 1
        # The null is symmetric, so the lower boundary mirrors the upper one.
        cut = alive.size - top
        upper = 2 * (lowest + top) - pairs
        boundary.append(upper)
        net.append(2 * wins - pairs)
        alive = alive[cut:top]
        lowest += cut
        if not direction and abs(net[-1]) >= upper:
            decided_at, direction = item, 1 if net[-1] > 0 else -1
            if stop:
                break
    used = len(boundary)
    return GroupSequential(
        decided_at,
        direction,
        ends[:used],
        np.array(net, dtype=np.int64),
        np.array(boundary, dtype=np.int64),
    )
