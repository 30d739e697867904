"""The one entry: ordered differences of the completed prefix in, verdict out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from so8t.errors import VerdictInputError
from so8t.verdict.checks import Floats, Ints, as_differences, check_count, check_total
from so8t.verdict.classical import mcnemar_exact
from so8t.verdict.group_sequential import GroupSequential, group_sequential
from so8t.verdict.hedge import (
    DIRECTION,
    EQUIVALENCE,
    WITHOUT_REPLACEMENT,
    Claim,
    Stream,
    cluster_stream,
    item_stream,
    place_bets,
)
from so8t.verdict.interval import IntervalSearch
from so8t.verdict.power import predictive_probability
from so8t.verdict.settings import Ending, Outcome, Scope, Settings

# Hopeless: any verdict at N is less probable than this; asked every 2 % of N after the first 10 %.
FUTILE_BELOW = 0.05
FUTILE_FROM, FUTILE_EVERY = 0.10, 0.02

_FINAL = (Outcome.B_BETTER, Outcome.A_BETTER, Outcome.EQUIVALENT)


@dataclass(frozen=True, slots=True)
class Discordant:
    """The paired table of binary scores; `both_*` are known only when the scores were given."""

    b_only: int
    a_only: int
    both_right: int | None = None
    both_wrong: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may be said after the completed prefix, and why it stands as it does.

    Attributes:
        outcome: the first claim whose boundary was crossed; non_inferior stands in while nothing
            stronger is proven; else undecided.
        ending: decided (b_better, a_better or equivalent), exhausted (all items are in), futile
            (a verdict by N has become improbable) or ongoing.
        difference: mean of score B - score A over `items_used`; None without items. After an early
            stop it leans away from zero by a little; the interval allows for that.
        interval: the means not rejected, level 1 - alpha at any stopping time, within [-1, 1].
            None without items, or when it was not asked for.
        items_total: N, as frozen.
        items_used: completed items up to the last look.
        items_dropped: pairs dropped because an answer or a score was missing.
        decided_at: items after which the outcome's boundary was first crossed; None if undecided.
        futile_at: items after which the run was first found futile, if it was.
        claims: every outcome proven so far with the items that it took, in order.
        discordant: the paired table, for binary scores.
        p_value: exact McNemar, two-sided, as if the run had been planned to end here: for
            information, it does not allow for looks. None unless scores are binary and unclustered.
        method: what decided the direction.
        settings: what was frozen.

    """

    outcome: Outcome
    ending: Ending
    difference: float | None
    interval: tuple[float, float] | None
    items_total: int
    items_used: int
    items_dropped: int
    decided_at: int | None
    futile_at: int | None
    claims: tuple[tuple[Outcome, int], ...]
    discordant: Discordant | None
    p_value: float | None
    method: str
    settings: Settings


@dataclass(frozen=True, slots=True)
class Course:
    """The course of the evidence over the looks, to draw.

    Attributes:
        kind: "net_wins" (binary: B's wins minus A's) or "log10_wealth" (the bettor's wealth).
        items: shape (l,), items at each look.
        for_b: shape (l,), the statistic; for wealth, of the bettor on B.
        for_a: shape (l,), its mirror image: minus the net wins, or the bettor on A.
        boundary: shape (l,), where either claims the direction; inf where no result could.
        not_worse: shape (l,), log10 wealth of "B is not worse by the margin"; None without margin.
        not_better: shape (l,), log10 wealth of "B is not better by the margin"; likewise.
        margin_boundary: log10(1/alpha), where both claim equivalence.

    """

    kind: str
    items: Ints
    for_b: Floats
    for_a: Floats
    boundary: Floats
    not_worse: Floats | None
    not_better: Floats | None
    margin_boundary: float


@dataclass(frozen=True, slots=True)
class _Run:
    """The checked input of one verdict, cut back to the last look."""

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
        return self.looks[np.diff(unit, append=-1) != 0]

    def group_sequential(self, *, stop: bool) -> GroupSequential:
        return group_sequential(
            self.d,
            self.n_total,
            alpha=self.settings.alpha,
            look_every=self.settings.stride(self.n_total),
            last=self.complete,
            stop=stop,
        )


def decide(
    differences: ArrayLike,
    n_total: int,
    settings: Settings | None = None,
    *,
    dropped: int = 0,
    cluster_sizes: Sequence[int] | None = None,
    scores_a: ArrayLike | None = None,
    with_interval: bool = True,
) -> Verdict:
    """Say what the completed prefix allows, at error rate alpha however often one asks.

    A pure function: the same prefix gives the same verdict to the last bit, so that a resumed run
    recomputes instead of remembering. Only pass the completed prefix of the frozen random order:
    items in the order of completion, or of the data set, break every guarantee.

    Direction: binary scores in population scope use GS (`group_sequential`); graded scores,
    clusters and benchmark scope use Hedge (`hedge.place_bets`) at alpha/2 a side. A margin adds Hedge
    on both sides of it at alpha each: both proven is equivalence, the lower one alone is
    non-inferiority. The first of B better, A better, equivalent to be proven is the outcome.

    The interval is what Hedge has not rejected, and zero is in or out of it as the direction test
    says. For graded scores, and in benchmark scope, they are one test and agree of themselves. For
    binary scores GS tests m = 0 and Hedge every other m, which is an honest test of each single m.
    Where they disagree at zero the interval is cut at zero (direction proven) or stretched to it
    (not proven). Coverage of m = 0 is then GS's own, at least 1 - alpha. For m on the side that GS
    ruled out, a miss is the union of two tests of alpha/2 beside the third of alpha/2: 1 - 1.5
    alpha is proven. The two nearly coincide and each spends a little less than its share, so that
    at least 1 - alpha was measured at every m (benchmarks/verdict_simulation.py).

    An equivalence claim is two tests at alpha each, as in TOST: it corresponds to an interval of
    level 1 - 2 alpha within the margin, so the wider one shown may reach beyond the margin.

    Args:
        differences: shape (n,), score B - score A in [-1, 1], completed pairs in the frozen order.
        n_total: N, the items planned, frozen before item 1; n + dropped <= N.
        settings: the frozen rules; default `Settings()`.
        dropped: pairs left out because something was missing; they shorten the run. In benchmark
            scope the verdict is on the other N - dropped items.
        cluster_sizes: items of every cluster of the run in the frozen order, without dropped ones,
            when items come in clusters (a passage), or in blocks of one item of each task (macro
            average). Looks then fall on ends of clusters.
        scores_a: shape (n,), A's scores, only to fill the paired table.
        with_interval: False skips the interval, the dearer half of a look.

    Raises:
        VerdictInputError: NaN or out of range, more items than N, cluster sizes that do not add up,
            scores_a of another length, or a graded score in a run frozen as binary.

    """
    settings = settings or Settings()
    run = _prepare(differences, n_total, settings, dropped, cluster_sizes)
    search = IntervalSearch(run.stream, settings.alpha) if with_interval and run.d.size else None
    crossed, futile_at = _crossings(run, search), None
    outcome, decided_at = Outcome.UNDECIDED, None
    final = [claim for claim in crossed if claim[0] in _FINAL]
    if final:
        outcome, decided_at = final[0]
    elif crossed:
        outcome, decided_at = crossed[0]
    if not final:
        futile_at = _futile_at(run, proven=outcome)
    if final:
        ending = Ending.DECIDED
    elif run.complete:
        ending = Ending.EXHAUSTED
    else:
        ending = Ending.ONGOING if futile_at is None else Ending.FUTILE
    direction = next((claim[0] for claim in crossed if claim[0] in _FINAL[:2]), None)
    table = _table(run, differences, scores_a)
    clustered = cluster_sizes is not None
    return Verdict(
        outcome=outcome,
        ending=ending,
        difference=float(run.d.mean()) if run.d.size else None,
        interval=_interval(run, search, direction),
        items_total=run.n_total,
        items_used=run.d.size,
        items_dropped=run.dropped,
        decided_at=decided_at,
        futile_at=futile_at,
        claims=tuple(crossed),
        discordant=table,
        p_value=None if table is None or clustered else mcnemar_exact(table.b_only, table.a_only),
        method=_method(run, clustered=clustered),
        settings=settings,
    )


def evidence_course(
    differences: ArrayLike,
    n_total: int,
    settings: Settings | None = None,
    *,
    dropped: int = 0,
    cluster_sizes: Sequence[int] | None = None,
) -> Course:
    """Return the evidence at every look with its boundary, for a drawing.

    Arguments and errors as in `decide`. For binary scores the looks are those that saw a new
    discordant pair: between them nothing moves.
    """
    settings = settings or Settings()
    run = _prepare(differences, n_total, settings, dropped, cluster_sizes)
    paths = _log10_wealth(run) if run.claims else None
    looks, boundary = run.looks, np.full(run.looks.size, math.log10(2.0 / settings.alpha))
    if run.exact:
        walk = run.group_sequential(stop=False)
        at = np.searchsorted(looks, walk.items)
        looks, paths = walk.items, None if paths is None else paths[at]
        # More net wins than pairs seen so far cannot be: there is no boundary yet.
        pairs = np.cumsum(run.d != 0.0)[walk.items - 1] if walk.items.size else walk.items
        boundary = np.where(walk.boundary > pairs, np.inf, walk.boundary.astype(np.float64))
        for_b = walk.net_wins.astype(np.float64)
        for_a = -for_b
    else:
        for_b, for_a = paths[:, 0], paths[:, 1]
    margin = settings.margin is not None and paths is not None
    return Course(
        kind="net_wins" if run.exact else "log10_wealth",
        items=looks,
        for_b=for_b,
        for_a=for_a,
        boundary=boundary,
        not_worse=paths[:, -2] if margin else None,
        not_better=paths[:, -1] if margin else None,
        margin_boundary=-math.log10(settings.alpha),
    )


def _prepare(
    differences: ArrayLike,
    n_total: int,
    settings: Settings,
    dropped: int,
    cluster_sizes: Sequence[int] | None,
) -> _Run:
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
        if complete and ends.size and looks[-1:] != ends[-1:]:
            looks = np.append(looks, ends[-1])
        d = d[: looks[-1] if looks.size else 0]
        stream = cluster_stream(d, cluster_sizes, replace=population)
    return _Run(
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


def _log10_wealth(run: _Run) -> Floats:
    if not run.looks.size:
        return np.zeros((0, len(run.claims)))
    return np.log10(np.clip(place_bets(run.stream, run.claims).at(run.looks), 1e-300, 1e300))


def _crossings(run: _Run, search: IntervalSearch | None) -> list[tuple[Outcome, int]]:
    """Return every proven claim with the items that it took, in the order of proof.

    The first round of the interval's search shares the pass over the items.
    """
    found: list[tuple[Outcome, int]] = []
    if run.exact:
        walk = run.group_sequential(stop=True)
        if walk.decided_at is not None:
            side = Outcome.B_BETTER if walk.direction > 0 else Outcome.A_BETTER
            found.append((side, walk.decided_at))
    claims = run.claims
    tries = search.claims if search else []
    if not (claims or tries) or not run.looks.size:
        return found
    bets = place_bets(run.stream, claims + tries)
    if search:
        search.update(bets.at(run.looks_a_unit, slice(len(claims), None)))
    if not claims:
        return found
    reached = bets.at(run.looks, slice(len(claims))) >= 1.0 / np.array([c.alpha for c in claims])
    first = [int(run.looks[np.argmax(r)]) if r.any() else None for r in reached.T]
    if not run.exact:
        sides = zip((Outcome.B_BETTER, Outcome.A_BETTER), first[:2], strict=True)
        found += [(side, at) for side, at in sides if at is not None]
    if run.settings.margin is not None:
        not_worse, not_better = first[-2:]
        if not_worse is not None:
            found.append((Outcome.NON_INFERIOR, not_worse))
            if not_better is not None:
                found.append((Outcome.EQUIVALENT, max(not_worse, not_better)))
    # At one look the direction comes first: it was put in first, and sorting is stable.
    return sorted(found, key=lambda claim: claim[1])


def _futile_at(run: _Run, *, proven: Outcome) -> int | None:
    """Return the items at the first look that found a verdict by N improbable."""
    s = run.settings
    if not s.futility or s.scope is Scope.BENCHMARK or not run.looks.size:
        return None
    if run.stream.items is None:
        # Clusters: their sums, in units of a cluster of mean size, are the observations.
        values, ends = run.stream.gains / run.stream.sizes.mean(), run.stream.ends
        total = int(run.stream.total)
    else:
        values, ends, total = run.d, np.arange(1, run.d.size + 1), run.n_total
    shares = np.arange(FUTILE_FROM, 1.0, FUTILE_EVERY)
    due = np.unique(np.searchsorted(run.looks, np.ceil(shares * run.n_total - 1e-9)))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    squares = np.concatenate([[0.0], np.cumsum(values * values)])
    for look in run.looks[due[due < run.looks.size]].tolist():
        n = int(np.searchsorted(ends, look, side="right"))
        chance = predictive_probability(
            n,
            total,
            float(sums[n]),
            float(squares[n]),
            alpha=s.alpha,
            margin=s.margin,
            non_inferiority=proven is not Outcome.NON_INFERIOR,
        )
        if n < total and chance < FUTILE_BELOW:
            return int(look)
    return None


def _interval(
    run: _Run, search: IntervalSearch | None, direction: Outcome | None
) -> tuple[float, float] | None:
    """Return the betting interval with zero in or out as the direction test says (see `decide`)."""
    if search is None:
        return None
    if run.stream.complete and not run.stream.replace:
        return (search.centre, search.centre)
    while not search.done:
        search.update(place_bets(run.stream, search.claims).at(run.looks_a_unit))
    low, high = search.interval()
    low = max(low, 0.0) if direction is Outcome.B_BETTER else min(low, 0.0)
    high = min(high, 0.0) if direction is Outcome.A_BETTER else max(high, 0.0)
    return (low, high)


def _table(run: _Run, differences: ArrayLike, scores_a: ArrayLike | None) -> Discordant | None:
    a: Floats | None = None
    if scores_a is not None:
        a = as_differences(scores_a, low=0.0, high=1.0)
        every = as_differences(differences)
        if a.size != every.size:
            raise VerdictInputError(f"{every.size} differences but {a.size} scores of A")
        as_differences(a + every, low=0.0, high=1.0)
        a = a[: run.d.size]
    if not run.binary:
        return None
    b_only, a_only = int(np.sum(run.d > 0.0)), int(np.sum(run.d < 0.0))
    if a is None:
        return Discordant(b_only, a_only)
    tied = run.d == 0.0
    return Discordant(
        b_only, a_only, int(np.sum(tied & (a == 1.0))), int(np.sum(tied & (a == 0.0)))
    )


def _method(run: _Run, *, clustered: bool) -> str:
    if run.exact:
        return "exact McNemar test with alpha spending"
    name = "finite-horizon betting"
    if clustered:
        name += " on cluster sums"
    if run.settings.scope is Scope.BENCHMARK:
        name += " without replacement"
    return name
