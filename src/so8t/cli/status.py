"""`so8t status`: how far a run is, from its journal, while it runs or afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from so8t.cli.console import common
from so8t.cli.next_step import next_command
from so8t.cli.wire import read_journal
from so8t.journal.lease import holder_of
from so8t.pipeline.run.progress_state import read_progress
from so8t.pipeline.run.progress_text import interruption_line, phase_line, summary_lines
from so8t.pipeline.run.rundir import language_of
from so8t.report.html import FILE_NAME
from so8t.report.query import load_view, summary
from so8t.report.words import verdict_sentence

if TYPE_CHECKING:
    from so8t.cli.console import Console


@click.command("status")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@common
def command(console: Console, run: Path | None) -> None:
    """Show how far RUN is (a run's directory or its config; default: the newest)."""
    with read_journal(run) as (directory, journal):
        console.speak(language_of(journal))
        view = load_view(journal, embed=0)
        holder = holder_of(directory)
        progress = read_progress(journal, held=holder is not None)
    following = next_command(progress, directory)
    console.data(
        summary(view)
        | {
            "directory": str(directory),
            "phases": {phase.phase.value: phase.state for phase in progress.phases},
            "answers": progress.answers,
            "answers_planned": progress.planned,
            "holder": holder,
            "progress": progress.plain(),
            "next": following,
        }
    )
    console.line(str(directory), style="bold")
    for phase in progress.phases:
        console.line(f"  {phase_line(phase, console.text)}")
    for line in summary_lines(progress, console.text):
        console.line(line)
    for interruption in progress.interruptions:
        console.line(f"  {interruption_line(interruption, console.text)}")
    if holder is not None:
        console.line(console.text("cli.held", **{key: str(value) for key, value in holder.items()}))
    console.line(verdict_sentence(view, console.text))
    if progress.state == "complete" and (directory / FILE_NAME).exists():
        console.line(console.text("cli.report_at", path=directory / FILE_NAME))
    if following is not None:
        console.line(console.text("cli.next", command=following))
