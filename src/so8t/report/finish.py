"""What the end of a run leaves in its directory: the page and the result files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from so8t.journal.store import Journal
from so8t.report.html import marks, write_page
from so8t.report.query import load_view
from so8t.report.result_files import write_result_files
from so8t.report.view import View

if TYPE_CHECKING:
    from so8t.report.text import Text


@dataclass(frozen=True, slots=True)
class Written:
    """What was shown and where: `results` is None where the run has none yet."""

    view: View
    report: Path
    results: Path | None


def write_everything(directory: Path, text: Text, *, reveal_thinking: bool = False) -> Written:
    """Write report.html, results.json and the CSV files of the run in `directory`.

    Raises JournalDamagedError before anything is written where rows were changed: a report on
    those would say what was never measured.
    """
    with Journal(directory, readonly=True) as journal, journal.one_moment():
        journal.verify()
        view = load_view(journal, marks=marks(text, reveal_thinking=reveal_thinking))
        report = write_page(directory, view, text, reveal_thinking=reveal_thinking)
        return Written(view, report, write_result_files(journal, view))
