"""`so8t retry`: failed answers are asked again, nothing else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from so8t.cli.console import common
from so8t.cli.run import show_result
from so8t.cli.wire import open_pipeline, with_config
from so8t.pipeline.run.rundir import run_directory

if TYPE_CHECKING:
    from so8t.cli.console import Console
    from so8t.config.schema import RunConfig


@click.command("retry")
@with_config
@common
def command(console: Console, config: RunConfig) -> int:
    """Ask again what failed in the run of CONFIG (default: so8t.yaml), and write its report."""
    started = time.monotonic()
    with open_pipeline(config, console) as pipeline:
        answered = pipeline.retry_failed()
    console.message("cli.retried", answered=answered)
    return show_result(run_directory(config), console, (), started)
