"""The course of the evidence over the items with its boundaries, to draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from so8t.verdict.checks import Floats, Ints
from so8t.verdict.hedge import place_bets
from so8t.verdict.prefix import Prefix, prepare
from so8t.verdict.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


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
    run = prepare(differences, n_total, settings, dropped, cluster_sizes)
    paths = _log10_wealth(run)
    looks, boundary = run.looks, np.full(run.looks.size, math.log10(2.0 / settings.alpha))
    if run.exact:
        walk = run.walk(stop=False)
        paths = paths[np.searchsorted(looks, walk.items)]
        looks = walk.items
        # More net wins than pairs seen so far cannot be: there is no boundary yet.
        pairs = np.append(0, np.cumsum(run.d != 0.0))[looks]
        boundary = np.where(walk.boundary > pairs, np.inf, walk.boundary.astype(np.float64))
        for_b = walk.net_wins.astype(np.float64)
        for_a = -for_b
    else:
        for_b, for_a = paths[:, 0], paths[:, 1]
    margin = settings.margin is not None
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


def _log10_wealth(run: Prefix) -> Floats:
    claims = run.claims
    if not claims or not run.looks.size:
        return np.zeros((run.looks.size, len(claims)))
    return np.log10(np.clip(place_bets(run.stream, claims).at(run.looks), 1e-300, 1e300))
