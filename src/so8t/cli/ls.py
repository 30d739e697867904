"""`so8t ls`: the runs in a directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from so8t.cli.console import common
from so8t.errors import JournalError, PrerequisiteError
from so8t.journal.store import Journal
from so8t.pipeline.run.rundir import find_runs
from so8t.report.query import load_view, summary

if TYPE_CHECKING:
    from so8t.cli.console import Console


@click.command("ls")
@click.argument("directory", type=click.Path(path_type=Path), default=Path("runs"))
@common
def command(console: Console, directory: Path) -> None:
    """List the runs below DIRECTORY (default: runs), the newest first."""
    runs = [_describe(path) for path in find_runs(directory)]
    console.data({"runs": runs})
    if not runs:
        console.line(console.text("cli.no_runs", directory=directory))
        return
    columns = [console.text(f"cli.ls.{name}") for name in ("run", "state", "verdict", "answers")]
    console.table(
        columns,
        (
            [
                run["directory"],
                console.text(f"cli.state.{run['state']}"),
                console.text(f"outcome.{run['outcome']}") if run["outcome"] else "",
                run["answers"],
            ]
            for run in runs
        ),
    )


def _outcome(verdict: dict[str, Any]) -> str:
    """Undecided is a result, of a run that has asked what it will ask."""
    open_ = (verdict["outcome"], verdict["ending"]) == ("undecided", "ongoing")
    return "ongoing" if open_ else str(verdict["outcome"])


def _describe(path: Path) -> dict[str, Any]:
    try:
        with Journal(path, readonly=True) as journal:
            view = load_view(journal, embed=0)
            answers = sum(journal.answer_counts().values())
            total = 2 * journal.sample_count()
    except (JournalError, PrerequisiteError) as error:
        # One damaged run must not hide the others.
        return {
            "directory": str(path),
            "state": "damaged" if isinstance(error, JournalError) else "waiting",
            "outcome": None,
            "answers": "",
            "error": error.message,
        }
    found = summary(view)
    verdict = found["verdict"]
    return {
        "directory": str(path),
        "state": found["state"],
        "outcome": _outcome(verdict) if verdict else None,
        "answers": f"{answers}/{total}",
    }
