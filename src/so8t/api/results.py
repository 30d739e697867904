"""Results that exist already: two sources compared, two lists of scores decided."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from so8t.api.spoken import SpokenVerdict, spoken
from so8t.errors import VerdictInputError
from so8t.report.text import Text, resolve_language
from so8t.results.comparison import Options
from so8t.results.comparison import compare as compare_results
from so8t.results.detect import read_results
from so8t.results.summary import summary
from so8t.results.table import Columns
from so8t.verdict.missing import judge_pairs
from so8t.verdict.pairs import pair_scores
from so8t.verdict.sensitivity import finish_pairs
from so8t.verdict.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

    from so8t.api.loaded import Language
    from so8t.results.comparison import Comparison
    from so8t.results.match import How


class ComparedResults:
    """Two sources of results, paired item by item.

    Attributes:
        comparison: everything that was found, as `so8t.results.comparison.Comparison`.
        verdict: what may be said, in words where it is printed.

    """

    def __init__(self, comparison: Comparison, language: Language = "auto") -> None:
        self.comparison = comparison
        labels = (comparison.a.label, comparison.b.label)
        text = Text(resolve_language(language))
        self.verdict: SpokenVerdict = spoken(comparison.overall.verdict, labels, text)

    @property
    def summary(self) -> dict[str, Any]:
        """All figures as plain data, as `so8t compare --json` prints them."""
        return summary(self.comparison)

    def __repr__(self) -> str:
        return repr(self.verdict)

    def _repr_html_(self) -> str:
        return self.verdict._repr_html_()


def compare(
    a: str | Path,
    b: str | Path,
    *,
    alpha: float | None = None,
    margin: float | None = None,
    metric: str | None = None,
    filter: str | None = None,  # noqa: A002 - the field's word, as on the command line
    match: How = "auto",
    language: Language = "auto",
) -> ComparedResults:
    """Compare two models on results that exist: is B better than A?

    Args:
        a: results of A: a file or directory as `so8t compare` reads it, or a run ("runs/x:b").
        b: results of B.
        alpha: error rate of a false verdict; default 0.05, or what a run of ours froze.
        margin: differences below this count as equivalent; in the unit of the scores.
        metric: which score, where a log has several.
        filter: which filter of lm-eval.
        match: items by id checked against their content ("auto"), by "id", or by "content".
        language: of the verdict.

    Raises:
        DataError: a file cannot be read, or no item is common to both.

    """
    options = Options(alpha=alpha, margin=margin, metric=metric, filter=filter, how=match)
    columns = Columns(metric=metric)
    found = compare_results(read_results(str(a), columns), read_results(str(b), columns), options)
    return ComparedResults(found, language)


def decide(
    a: Sequence[float | None],
    b: Sequence[float | None],
    *,
    alpha: float = 0.05,
    margin: float | None = None,
    clusters: Sequence[Hashable] | None = None,
    labels: tuple[str, str] = ("A", "B"),
    language: Language = "auto",
) -> SpokenVerdict:
    """Say whether B is better than A on finished scores, looked at once: no seed, no bets.

    Args:
        a: A's score of each item, in [0, 1]; None where it is missing.
        b: B's, of the same items in the same order.
        alpha: error rate of a false verdict.
        margin: differences below this count as equivalent.
        clusters: what each item belongs to (a passage, a patient), where items come in groups.
        labels: how A and B are called.
        language: of the words.

    Raises:
        VerdictInputError: lengths differ, a score is NaN or outside [0, 1], bad alpha or margin.

    """
    sizes = None
    if clusters is not None:
        if len(clusters) != len(a):
            raise VerdictInputError(f"A has {len(a)} scores and there are {len(clusters)} clusters")
        order = sorted(range(len(clusters)), key=_first_seen(clusters).__getitem__)
        sizes = list(Counter(clusters[place] for place in order).values())
        a, b = [a[place] for place in order], [b[place] for place in order]
    pairs = pair_scores(list(a), list(b))
    settings = Settings(alpha=alpha, margin=margin)
    verdict, _ = judge_pairs(pairs, len(a), settings, cluster_sizes=sizes, decided_by=finish_pairs)
    return spoken(verdict, labels, Text(resolve_language(language)))


def _first_seen(clusters: Sequence[Hashable]) -> list[int]:
    """Return for each item the place of the first one of its cluster."""
    first: dict[Hashable, int] = {}
    return [first.setdefault(cluster, place) for place, cluster in enumerate(clusters)]
