"""The checked input of one verdict: the completed prefix, cut back to the last look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from so8t.errors import VerdictInputError
from so8t.verdict.checks import Floats, Ints, as_differences, check_count, check_total
from so8t.verdict.group_sequential import GroupSequential, group_sequential
from so8t.verdict.hedge import (
    DIRECTION,
    EQUIVALENCE,
    WITHOUT_REPLACEMENT,
    Claim,
    Stream,
    cluster_stream,
    item_stream,
)
from so8t.verdict.settings import Scope, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class Prefix:
    """What a verdict is made from.

    Attributes:
        d: shape (n,), differences up to the last look.
        n_total: N, as frozen.
        dropped: pairs left out.
        settings: the frozen rules.
        binary: whether scores are 0 or 1.
        exact: whether the direction is tested exactly (GS); otherwise by betting.
        complete: whether every item of the run is in.
        looks: shape (l,), items at each look.
        stream: the same items as the bettor sees them.

    """

    d: Floats
    n_total: int
    dropped: int
    settings: Settings
    binary: bool
    exact: bool
    complete: bool
    looks: Ints
    stream: Stream

    @property
    def claims(self) -> list[Claim]:
        """The bets: direction unless the exact test has it, then the margin on both sides."""
        s = self.settings
        whole = s.scope is Scope.BENCHMARK
        claims = []
        if not self.exact:
            horizons = WITHOUT_REPLACEMENT if whole else DIRECTION
            claims += [Claim(side, 0.0, s.alpha / 2.0, horizons) for side in (1, -1)]
        if s.margin is not None:
            horizons = WITHOUT_REPLACEMENT if whole else EQUIVALENCE
            claims += [Claim(side, -s.margin, s.alpha, horizons) for side in (1, -1)]
        return claims

    @property
    def looks_a_unit(self) -> Ints:
        """The last look within each bet: enough for the interval, and never more than the bets."""
        unit = np.searchsorted(self.stream.ends, self.looks, side="left")
        return np.asarray(self.looks[np.diff(unit, append=-1) != 0])

    def walk(self, *, stop: bool) -> GroupSequential:
        """Run the exact direction test."""
        return group_sequential(
            self.d,
            self.n_total,
            alpha=self.settings.alpha,
            look_every=self.settings.stride(self.n_total),
            last=self.complete,
            stop=stop,
        )


def prepare(
    differences: ArrayLike,
    n_total: int,
    settings: Settings,
    dropped: int,
    cluster_sizes: Sequence[int] | None,
) -> Prefix:
    """Check the input of `decide` (arguments and errors as there) and cut it to the last look."""
    d = as_differences(differences)
    dropped = check_count("dropped", dropped)
    n_total = check_total(d.size + dropped, n_total)
    whole = bool(np.all((d == 0.0) | (np.abs(d) == 1.0)))
    if settings.binary and not whole:
        value = d[(d != 0.0) & (np.abs(d) != 1.0)][0]
        raise VerdictInputError(
            f"{value!r} is not the difference of two binary scores, but the run is frozen as binary"
        )
    binary = whole if settings.binary is None else settings.binary
    population = settings.scope is Scope.POPULATION
    # In benchmark scope what is missing leaves the population; in population scope the clock runs
    # on N as it was frozen, since a boundary must not depend on what happens later.
    clock = n_total if population else n_total - dropped
    complete = d.size + dropped == n_total
    stride = settings.stride(n_total)
    if cluster_sizes is None:
        looks = np.arange(stride, d.size + 1, stride)
        if complete and d.size % stride:
            looks = np.append(looks, d.size)
        d = d[: looks[-1] if looks.size else 0]
        stream = item_stream(d, clock, replace=population)
    else:
        if sum(cluster_sizes) != n_total - dropped:
            raise VerdictInputError(
                f"the clusters hold {sum(cluster_sizes)} items, but {n_total - dropped} are planned"
            )
        stream = cluster_stream(d, cluster_sizes, replace=population)
        complete = stream.complete
        # A look falls on the first end of a cluster at or past each multiple of the stride.
        ends = stream.ends
        looks = ends[np.diff(ends // stride, prepend=0) > 0]
        if complete and ends.size and not np.array_equal(looks[-1:], ends[-1:]):
            looks = np.append(looks, ends[-1])
        d = d[: looks[-1] if looks.size else 0]
        stream = cluster_stream(d, cluster_sizes, replace=population)
    return Prefix(
        d=d,
        n_total=n_total,
        dropped=dropped,
        settings=settings,
        binary=binary,
        exact=binary and population and cluster_sizes is None,
        complete=complete,
        looks=looks.astype(np.int64),
        stream=stream,
    )
