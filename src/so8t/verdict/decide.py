"""The one entry: ordered differences of the completed prefix in, verdict out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from so8t.errors import VerdictInputError
from so8t.verdict.checks import Floats, as_differences
from so8t.verdict.classical import mcnemar_exact
from so8t.verdict.fixed import Fixed, at_margin, at_zero, fixed_analysis
from so8t.verdict.hedge import EQUIVALENCE, ROUNDING, WITHOUT_REPLACEMENT, place_bets
from so8t.verdict.interval import IntervalSearch, betting_interval
from so8t.verdict.power import predictive_probability
from so8t.verdict.prefix import Prefix, prepare
from so8t.verdict.settings import Ending, Outcome, Scope, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

# Hopeless: any verdict at N is less probable than this; asked every 2 % of N after the first 10 %.
FUTILE_BELOW = 0.05
FUTILE_FROM, FUTILE_EVERY = 0.10, 0.02

#: The fixed-N methods in words, by `Fixed.method`.
FIXED_METHODS = {
    "mcnemar": "exact McNemar test",
    "t": "paired t test",
    "sign_flip": "exact sign-flip test",
    "cluster_t": "t test on clusters",
    "cluster_sign_flip": "exact sign-flip test on clusters",
    "whole": "all items of the benchmark",
}

_FINAL = (Outcome.B_BETTER, Outcome.A_BETTER, Outcome.EQUIVALENT)
_DIRECTIONS = _FINAL[:2]


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
            stop it leans away from zero (`adjusted` does not); the interval allows for that.
        interval: level 1 - alpha, within [-1, 1]. Before the end: the means not rejected, at any
            stopping time. With all items in: the fixed-N interval (`fixed`), cut at zero where
            the looks have proven a direction. None without items, or when it was not asked for.
        items_total: N, as frozen.
        items_used: completed items up to the last look.
        items_dropped: pairs dropped because an answer or a score was missing.
        decided_at: items after which the outcome's boundary was first crossed; None if undecided.
        futile_at: items after which, with nothing decided yet, the run was first found futile.
        claims: every outcome proven so far with the items that it took, in order.
        discordant: the paired table, for binary scores.
        p_value: exact McNemar, two-sided, as if the run had been planned to end here: for
            information, it does not allow for looks. None unless scores are binary and unclustered.
        method: what decided the direction.
        settings: what was frozen.
        margin_interval: level 1 - 2 alpha, which proves an equivalence or that B is not worse: it
            lies within the margin. None where neither is proven, or when no interval was asked.
        adjusted: the difference for a run that stopped early on a direction, without the lean of
            `difference`: in at most half of all such runs it is further out than the truth. None
            else.
        fixed: the analysis of all items as if nobody had looked before; None before the end.
        spread: root of n times the standard error of `difference`: the standard deviation of an
            item's difference, or of what it amounts to with clusters. None below two items.
        missing_could_turn: whether a claim was withdrawn, because scores that are missing could
            turn it; the outcome is undecided then, and `claims` tells what they could turn.

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
    margin_interval: tuple[float, float] | None = None
    adjusted: float | None = None
    fixed: Fixed | None = None
    spread: float | None = None
    missing_could_turn: bool = False


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
    clusters and benchmark scope use Hedge (`hedge.place_bets`) at alpha/2 a side. A margin adds
    Hedge on both sides of it at alpha each: both proven is equivalence, the lower one alone is
    non-inferiority. The first of B better, A better, equivalent to be proven is the outcome.

    The interval before the end is what Hedge has not rejected, and zero is in or out of it as the
    direction test says. For graded scores, and in benchmark scope, they are one test and agree of
    themselves. For binary scores GS tests m = 0 and Hedge every other m, which is an honest test of
    each single m. Where they disagree at zero the interval is cut at zero (direction proven) or
    stretched to it (not proven). Coverage of m = 0 is then GS's own, at least 1 - alpha. For m on
    the side that GS ruled out, a miss is the union of two tests of alpha/2 beside the third of
    alpha/2: 1 - 1.5 alpha is proven. The two nearly coincide and each spends a little less than its
    share, so that at least 1 - alpha was measured at every m (benchmarks/verdict_simulation.py).

    With all N items in, N was known before anyone looked: the interval shown is that of the
    fixed-N analysis, cut at zero where the (sequential) test has proven a direction, and at the
    margin where its tests have. It is not wider for having looked; the decision keeps its own
    error rate. Where the plan was changed by someone who could know results, the sequential
    interval stays.

    An equivalence claim is two tests at alpha each, as in TOST: it corresponds to an interval of
    level 1 - 2 alpha within the margin (`margin_interval`), so the wider one may reach beyond it.

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
    run = prepare(differences, n_total, settings, dropped, cluster_sizes)
    fixed = None
    if run.complete and not settings.replanned:
        fixed = fixed_analysis(run.d, settings, binary=run.binary, cluster_sizes=cluster_sizes)
    search = None
    if with_interval and run.d.size and fixed is None:
        search = IntervalSearch(run.stream, settings.alpha)
    crossed = _crossings(run, search)
    outcome, decided_at = Outcome.UNDECIDED, None
    final = [claim for claim in crossed if claim[0] in _FINAL]
    if final:
        outcome, decided_at = final[0]
    elif crossed:
        outcome, decided_at = crossed[0]
    futile_at = _futile_at(run, dict(crossed))
    if final:
        ending = Ending.DECIDED
    elif run.complete:
        ending = Ending.EXHAUSTED
    else:
        ending = Ending.ONGOING if futile_at is None else Ending.FUTILE
    direction = next((claim[0] for claim in crossed if claim[0] in _DIRECTIONS), None)
    interval = _interval(run, search, direction)
    if fixed is not None and with_interval:
        # Not stretched where the looks have not decided: what one look would have said is told
        # beside the verdict, and the interval stays that of the fixed number of items.
        cut = direction is not None and settings.scope is Scope.POPULATION
        interval = at_zero(fixed.interval, direction) if cut else fixed.interval
    table = _table(run, differences, scores_a)
    clustered = cluster_sizes is not None
    return Verdict(
        outcome=outcome,
        ending=ending,
        difference=float(run.d.mean()) if run.d.size else None,
        interval=interval,
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
        margin_interval=_margin_interval(run, fixed, [claim for claim, _ in crossed])
        if with_interval
        else None,
        adjusted=_adjusted(run, outcome) if with_interval else None,
        fixed=fixed,
        spread=_spread(run),
    )


def decide_finished(
    differences: ArrayLike,
    settings: Settings | None = None,
    *,
    dropped: int = 0,
    cluster_sizes: Sequence[int] | None = None,
    scores_a: ArrayLike | None = None,
    with_interval: bool = True,
) -> Verdict:
    """Say what complete results allow that are looked at once: the fixed-N analysis, no seed.

    For results that nobody stopped for what they showed. The order of the items does not matter.

    Args:
        differences: shape (n,), score B - score A in [-1, 1] of the complete pairs.
        settings: alpha, margin, scope and binary count; looks do not.
        dropped: pairs left out because something was missing.
        cluster_sizes: items of each cluster, where `differences` come cluster after cluster.
        scores_a: shape (n,), A's scores, only to fill the paired table.
        with_interval: False leaves the intervals out.

    Raises:
        VerdictInputError: as `decide`.

    """
    settings = settings or Settings()
    total = np.size(differences) + dropped
    if cluster_sizes is None:
        # Sums of floats depend on their order; a verdict may not.
        order = np.argsort(np.asarray(differences, dtype=np.float64), kind="stable")
        differences = np.asarray(differences, dtype=np.float64)[order]
        if scores_a is not None and np.size(scores_a) == order.size:
            scores_a = np.asarray(scores_a)[order]
    run = prepare(differences, total, settings, dropped, cluster_sizes)
    fixed = fixed_analysis(run.d, settings, binary=run.binary, cluster_sizes=cluster_sizes)
    claims = () if fixed is None else fixed.claims
    outcome = claims[0] if claims else Outcome.UNDECIDED
    decided = outcome in _FINAL
    table = _table(run, differences, scores_a)
    proven = fixed is not None and {Outcome.EQUIVALENT, Outcome.NON_INFERIOR} & set(claims)
    return Verdict(
        outcome=outcome,
        ending=Ending.DECIDED if decided else Ending.EXHAUSTED,
        difference=None if fixed is None else fixed.difference,
        interval=fixed.interval if fixed is not None and with_interval else None,
        items_total=total,
        items_used=run.d.size,
        items_dropped=dropped,
        decided_at=run.d.size if claims else None,
        futile_at=None,
        claims=tuple((claim, run.d.size) for claim in claims),
        discordant=table,
        p_value=None
        if table is None or cluster_sizes
        else mcnemar_exact(table.b_only, table.a_only),
        method=FIXED_METHODS[fixed.method] if fixed is not None else "",
        settings=settings,
        margin_interval=fixed.margin_interval if proven and fixed and with_interval else None,
        fixed=fixed,
        spread=_spread(run),
    )


def _spread(run: Prefix) -> float | None:
    """Return the standard deviation of an item's difference, clusters allowed for."""
    stream = run.stream
    units = stream.gains.size
    if units < 2 or not run.d.size:  # noqa: PLR2004 - a spread
        return None
    residual = stream.gains - float(stream.gains.sum() / stream.sizes.sum()) * stream.sizes
    size = float(stream.sizes.sum()) / run.d.size  # of one item, on the stream's scale
    error = math.sqrt(units / (units - 1.0) * float(residual @ residual)) / (size * run.d.size)
    return error * math.sqrt(run.d.size)


def _margin_interval(
    run: Prefix, fixed: Fixed | None, claims: list[Outcome]
) -> tuple[float, float] | None:
    """Return the interval that the tests of the margin stand for, where they have proven it."""
    margin = run.settings.margin
    if margin is None or not {Outcome.EQUIVALENT, Outcome.NON_INFERIOR} & set(claims):
        return None
    if fixed is not None and fixed.margin_interval is not None:
        return at_margin(fixed.margin_interval, margin, claims)
    found = betting_interval(
        run.stream,
        2.0 * run.settings.alpha,
        run.looks_a_unit,
        horizons=EQUIVALENCE if run.stream.replace else WITHOUT_REPLACEMENT,
    )
    return None if found is None else at_margin(found, margin, claims)


def _adjusted(run: Prefix, outcome: Outcome) -> float | None:
    """Return the estimate without the lean of an early stop (see `betting_interval` at alpha 1)."""
    if run.complete or outcome not in _DIRECTIONS:
        return None
    found = betting_interval(run.stream, 1.0, run.looks_a_unit)
    if found is None:
        return None
    return max(found[0], 0.0) if outcome is Outcome.B_BETTER else min(found[1], 0.0)


def _crossings(run: Prefix, search: IntervalSearch | None) -> list[tuple[Outcome, int]]:
    """Return every proven claim with the items that it took, in the order of proof.

    The first round of the interval's search shares the pass over the items.
    """
    found: list[tuple[Outcome, int]] = []
    if run.exact:
        walk = run.walk(stop=True)
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


def _futile_at(run: Prefix, proven: dict[Outcome, int]) -> int | None:
    """Return the items at the first look, before any decision, that found a verdict improbable."""
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
    due = np.unique(np.searchsorted(run.looks, np.ceil(shares * run.n_total - ROUNDING)))
    until = min((at for claim, at in proven.items() if claim in _FINAL), default=run.n_total)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    squares = np.concatenate([[0.0], np.cumsum(values * values)])
    for look in run.looks[due[due < run.looks.size]].tolist():
        if look >= until:
            break
        n = int(np.searchsorted(ends, look, side="right"))
        chance = predictive_probability(
            n,
            total,
            float(sums[n]),
            float(squares[n]),
            alpha=s.alpha,
            margin=s.margin,
            non_inferiority=proven.get(Outcome.NON_INFERIOR, look + 1) > look,
        )
        if chance < FUTILE_BELOW:
            return int(look)
    return None


def _interval(
    run: Prefix, search: IntervalSearch | None, direction: Outcome | None
) -> tuple[float, float] | None:
    """Return the betting interval with zero in or out as the direction test says (see `decide`)."""
    if search is None:
        return None
    if run.stream.complete and not run.stream.replace:
        return (search.centre, search.centre)
    while not search.done:
        search.update(place_bets(run.stream, search.claims).at(run.looks_a_unit))
    return at_zero(search.interval(), direction)


def _table(run: Prefix, differences: ArrayLike, scores_a: ArrayLike | None) -> Discordant | None:
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


def _method(run: Prefix, *, clustered: bool) -> str:
    if run.exact:
        return "exact McNemar test with alpha spending"
    name = "finite-horizon betting"
    if clustered:
        name += " on cluster sums"
    if run.settings.scope is Scope.BENCHMARK:
        name += " without replacement"
    return name
