"""Results that exist already: two sources compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from so8t.api.spoken import SpokenVerdict, spoken
from so8t.report.text import Text, resolve_language
from so8t.results.comparison import Options
from so8t.results.comparison import compare as compare_results
from so8t.results.detect import read_results
from so8t.results.summary import summary

if TYPE_CHECKING:
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
    found = compare_results(read_results(str(a), metric), read_results(str(b), metric), options)
    return ComparedResults(found, language)
