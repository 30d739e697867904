"""`so8t report`: the report again, from the journal alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from so8t.cli.console import common
from so8t.cli.gate import run_fail_if_option
from so8t.cli.run import show_result
from so8t.cli.wire import read_journal
from so8t.pipeline.run.rundir import language_of

if TYPE_CHECKING:
    from so8t.cli.console import Console


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--reveal-thinking",
    is_flag=True,
    help="Show in the report what the models thought aloud; do not pass it on.",
)
@run_fail_if_option
@common
def command(
    console: Console, run: Path | None, *, reveal_thinking: bool, fail_if: tuple[str, ...]
) -> int:
    """Write the report of RUN (a run's directory or its config; default: the newest)."""
    started = time.monotonic()
    with read_journal(run) as (directory, journal):
        console.speak(language_of(journal))
    return show_result(
        directory,
        console,
        fail_if,
        started,
        reveal_thinking=reveal_thinking,
    )
