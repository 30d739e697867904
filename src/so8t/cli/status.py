"""`so8t status`: how far a run is, from its journal, while it runs or afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from so8t.cli.console import common
from so8t.cli.wire import read_journal
from so8t.domain.plan import Phase
from so8t.journal.lease import holder_of
from so8t.report.query import load_view, summary
from so8t.report.words import verdict_sentence

if TYPE_CHECKING:
    from so8t.cli.console import Console
    from so8t.journal.store import Journal


@click.command("status")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@common
def command(console: Console, run: Path | None) -> None:
    """Show how far RUN is (a run's directory or its config; default: the newest)."""
    with read_journal(run) as (directory, journal):
        view = load_view(journal)
        phases = _phases(journal)
        answers = sum(journal.answer_counts().values())
        total = 2 * journal.sample_count()
    holder = holder_of(directory)
    console.data(
        summary(view)
        | {
            "directory": str(directory),
            "phases": phases,
            "answers": answers,
            "answers_planned": total,
            "holder": holder,
        }
    )
    console.line(str(directory), style="bold")
    for phase, state in phases.items():
        name = console.text(f"cli.phase.{phase}")
        console.line(f"  {name}: {console.text(f'cli.state.{state}')}")
    console.line(console.text("cli.answers", done=answers, total=total))
    if holder is not None:
        console.line(console.text("cli.held", **{key: str(value) for key, value in holder.items()}))
    console.line(verdict_sentence(view, console.text))


def _phases(journal: Journal) -> dict[str, Any]:
    states: dict[str, Any] = {}
    for phase in Phase:
        step = journal.phase(phase)
        states[phase.value] = step.state if step else "waiting"
    return states
