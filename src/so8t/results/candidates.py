"""Several candidates against one base: each paired with it, ranked, the best one named if it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from so8t.results.comparison import Comparison, Options, compare
from so8t.results.items import Results
from so8t.results.summary import summary
from so8t.verdict.candidates import Ranking, rank_candidates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.verdict.decide import Verdict

DEFAULT_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class ComparedCandidates:
    """A base and its candidates.

    Attributes:
        base: results of A.
        ranking: the candidates, the largest difference first, and the best one or None.
        comparisons: each candidate's name to its comparison with the base at alpha/K.
        alpha: error rate of each statement about all of them.

    """

    base: Results
    ranking: Ranking
    comparisons: dict[str, Comparison]
    alpha: float


def compare_candidates(
    base: Results, candidates: Sequence[Results], options: Options | None = None
) -> ComparedCandidates:
    """Compare each candidate with the base, and each with the best.

    Raises:
        DataError, VerdictInputError: as `compare`.

    """
    options = options or Options()
    alpha = DEFAULT_ALPHA if options.alpha is None else options.alpha
    named = _named(candidates)

    @cache
    def of(one: str | None, two: str, level: float) -> Comparison:
        a = base if one is None else named[one]
        return compare(a, named[two], replace(options, alpha=level))

    def against_each_other(one: str, two: str, level: float) -> Verdict:
        return of(two, one, level).overall.verdict

    def against_base(name: str, level: float) -> Verdict:
        return of(None, name, level).overall.verdict

    ranking = rank_candidates(
        {name: _at(against_base, name) for name in named}, against_each_other, alpha
    )
    strict = alpha / len(named)
    return ComparedCandidates(
        base, ranking, {name: of(None, name, strict) for name in named}, alpha
    )


def _at(decide: Any, name: str) -> Any:
    return lambda level: decide(name, level)


def _named(candidates: Sequence[Results]) -> dict[str, Results]:
    """Name each candidate by its label; where labels coincide, by its path as well."""
    labels = [found.label for found in candidates]
    named: dict[str, Results] = {}
    for number, found in enumerate(candidates, start=1):
        name = found.label
        if labels.count(name) > 1:
            name = f"{name} ({found.path})"
        named[name if name not in named else f"{name} #{number}"] = found
    return named


def candidates_summary(found: ComparedCandidates) -> dict[str, Any]:
    """Return a ranking as plain data. Unknown is null, never zero.

    Fields:
        best: the candidate that is the best, null where the data do not name one.
        candidates: [{rank, name, verdict, difference, interval, items_used, missing, discordant,
            comparison}], the largest difference first; `verdict` holds among all candidates (closed
            testing), `interval` is simultaneous, `comparison` all that `so8t compare A B` says at
            alpha/K.
        alpha: error rate of the claims against the base, and again of the best one.
        base: {path, label}.
    """
    rows = []
    for rank, one in enumerate(found.ranking.candidates, start=1):
        verdict = one.verdict
        rows.append(
            {
                "rank": rank,
                "name": one.name,
                "verdict": one.outcome.value,
                "difference": verdict.difference,
                "interval": None if one.interval is None else list(one.interval),
                "items_used": verdict.items_used,
                "missing": verdict.items_dropped,
                "discordant": None if verdict.discordant is None else asdict(verdict.discordant),
                "comparison": summary(found.comparisons[one.name]),
            }
        )
    return {
        "best": found.ranking.best,
        "candidates": rows,
        "alpha": found.alpha,
        "base": {"path": found.base.path, "label": found.base.label},
    }
