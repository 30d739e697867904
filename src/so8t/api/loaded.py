"""A run that is on the disk, whatever its state: verdict, answers, items, drawing."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from so8t.api.spoken import SpokenVerdict, spoken
from so8t.errors import PrerequisiteError, UsageError
from so8t.journal.chained import FILE_NAME as JOURNAL
from so8t.journal.store import Journal
from so8t.pipeline.run.rundir import language_of
from so8t.report import svg
from so8t.report.figures import course_drawings, forest_rows
from so8t.report.finish import write_everything
from so8t.report.html import FILE_NAME as REPORT
from so8t.report.html import standalone
from so8t.report.query import load_view
from so8t.report.records import answer_records
from so8t.report.result_files import item_records
from so8t.report.summary import summary
from so8t.report.text import Text, resolve_language
from so8t.report.words import verdict_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from so8t.report.view import View

Language = Literal["auto", "en", "ja"]


class Drawing:
    """An SVG picture that a notebook shows; `str()` is its source."""

    def __init__(self, source: str) -> None:
        self.source = source

    def __str__(self) -> str:
        return self.source

    def __repr__(self) -> str:
        return f"<an SVG drawing of {len(self.source):,} characters; save(path) writes it>"

    def _repr_svg_(self) -> str:
        return self.source

    def save(self, path: str | Path) -> Path:
        """Write the drawing to `path` and return it."""
        file = Path(path)
        file.write_text(self.source, encoding="utf-8")
        return file


class Run:
    """A run's directory, read anew at each question: what was true when you asked.

    Raises PrerequisiteError where `directory` holds no run.
    """

    def __init__(self, directory: str | Path, language: Language = "auto") -> None:
        self.directory = Path(directory)
        self._text = Text(resolve_language(language))
        if not (self.directory / JOURNAL).is_file():
            raise PrerequisiteError(
                f"{self.directory} holds no run.",
                hint="so8t.run(config) starts one; so8t ls shows those that there are",
            )

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r}): {self.verdict!r}"

    def _repr_html_(self) -> str:
        return self.verdict._repr_html_()

    @property
    def name(self) -> str:
        """The run's name."""
        return self._view(embed=0).run.name

    @property
    def state(self) -> str:
        """Where the run stands, as `so8t status --json` tells it."""
        return self._view(embed=0).state

    @property
    def verdict(self) -> SpokenVerdict:
        """What may be said now, with every reservation that belongs to it."""
        view = self._view(embed=0)
        headline, rest = verdict_parts(view, self._text)
        if view.evidence is None:
            return SpokenVerdict(
                "undecided", None, None, view.run.config["verdict"]["alpha"], 0, 0, headline, rest
            )
        labels = (view.label_a, view.label_b)
        return spoken(view.evidence.overall, labels, self._text, (headline, rest))

    @property
    def summary(self) -> dict[str, Any]:
        """All figures of the run as plain data, as `so8t report --json` prints them."""
        return summary(self._view(embed=0))

    @property
    def report(self) -> Path:
        """The run's page; written now if it is not there yet."""
        path = self.directory / REPORT
        return path if path.is_file() else write_everything(self.directory, self._text).report

    def answers(self, *, thinking: bool = False) -> list[dict[str, Any]]:
        """Every answer: item, arm, prompt, text, score, reason, tokens, seconds.

        What a model thought aloud is left out unless `thinking`. A score is None where it is
        missing.
        """
        with self._journal() as journal:
            return list(answer_records(journal, thinking=thinking))

    def items(self) -> list[dict[str, Any]]:
        """Every question with both scores and their difference; None where one is missing."""
        with self._journal() as journal:
            view = load_view(journal, embed=0)
            if view.evidence is None:
                return []
            return list(item_records(journal, view.evidence.items))

    def to_pandas(self) -> pd.DataFrame:
        """Return `items()` as a table: one row a question, `score_a`, `score_b`, `difference`.

        Raises PrerequisiteError without pandas.
        """
        try:
            import pandas as pd  # noqa: PLC0415 - only for those who have it
        except ImportError:
            raise PrerequisiteError(
                "to_pandas needs pandas, which is not installed.", hint="pip install pandas"
            ) from None
        rows = [
            {
                **{key: value for key, value in item.items() if key not in ("a", "b")},
                **{f"{key}_{arm}": value for arm in ("a", "b") for key, value in item[arm].items()},
            }
            for item in self.items()
        ]
        return pd.DataFrame(rows)

    def plot(self, kind: Literal["differences", "course"] = "differences") -> Drawing:
        """Draw the report's picture: differences with intervals, or the course of the evidence.

        Raises UsageError where the run has nothing to draw yet.
        """
        view = self._view(embed=0)
        if view.evidence is None or (kind == "course" and view.course is None):
            raise UsageError(f"{self.directory} has nothing to draw yet.")
        if kind == "course" and view.course is not None:
            picture = course_drawings(view, self._text)[0]
            return Drawing(standalone(picture))
        rows = forest_rows(view.evidence, self._text)
        margin = view.evidence.overall.settings.margin
        picture = svg.forest(rows, self._text, svg.WIDE, margin=margin, ident="forest")
        return Drawing(standalone(picture))

    @contextmanager
    def _journal(self) -> Iterator[Journal]:
        with Journal(self.directory, readonly=True) as journal, journal.one_moment():
            yield journal

    def _view(self, embed: int) -> View:
        with self._journal() as journal:
            return load_view(journal, embed=embed)


def load(directory: str | Path, *, language: Language = "auto") -> Run:
    """Open a run's directory for reading; the run itself may still be going on.

    `language`: of the words; auto is that of the run's config, else the system's.

    Raises PrerequisiteError where there is no run.
    """
    found = Run(directory, language)
    if language == "auto":
        with Journal(found.directory, readonly=True) as journal:
            found = Run(directory, cast("Language", language_of(journal)))
    return found
