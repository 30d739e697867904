"""`so8t watch`: a run's progress, live: a display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from so8t.cli.console import common
from so8t.cli.next_step import next_command
from so8t.cli.wire import read_journal
from so8t.journal.lease import holder_of
from so8t.journal.store import Journal
from so8t.pipeline.run.progress_state import read_progress
from so8t.pipeline.run.progress_text import interruption_line, phase_line, summary_lines
from so8t.pipeline.run.rundir import language_of

if TYPE_CHECKING:
    from so8t.cli.console import Console
    from so8t.pipeline.run.progress_state import RunProgress


@click.command("watch")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--every",
    type=click.FloatRange(min=0.2),
    default=None,
    metavar="SECONDS",
    help="Default: 2 on a terminal, 30 elsewhere.",
)
@common
def command(console: Console, run: Path | None, *, every: float | None) -> None:
    """Show RUN's progress until it stops or is done (default: the newest run)."""
    with read_journal(run) as (directory, journal):
        console.speak(language_of(journal))
    wait = every or (2.0 if console.is_terminal else 30.0)
    with console.live() as show:
        while True:
            began = time.monotonic()
            progress = _read(directory)
            took = time.monotonic() - began
            show(_lines(directory, progress, console), progress.plain())
            if progress.state != "running":
                break
            # A journal of a million answers takes seconds to sum up; the run needs the processor.
            time.sleep(max(wait, 10 * took))
    following = next_command(progress, directory)
    if following is not None:
        console.line(console.text("cli.next", command=following))


def _read(directory: Path) -> RunProgress:
    with Journal(directory, readonly=True) as journal:
        return read_progress(journal, held=holder_of(directory) is not None)


def _lines(directory: Path, progress: RunProgress, console: Console) -> list[str]:
    text = console.text
    lines = [f"{directory}{text('progress.state', state=text(f'cli.state.{progress.state}'))}"]
    lines += [f"  {phase_line(phase, text)}" for phase in progress.phases]
    lines += summary_lines(progress, text)
    lines += [f"  {interruption_line(one, text)}" for one in progress.interruptions[-5:]]
    return lines
