"""`so8t retry`: failed answers are asked again, nothing else."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from so8t.cli.console import common
from so8t.cli.run import show_result
from so8t.cli.wire import open_pipeline, read_config
from so8t.pipeline.rundir import run_directory

if TYPE_CHECKING:
    from so8t.cli.console import Console


@click.command("retry")
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--output", type=click.Path(path_type=Path), help="Where run directories are made.")
@common
def command(
    console: Console, config: Path | None, settings: tuple[str, ...], output: Path | None
) -> int:
    """Ask again what failed in the run of CONFIG (default: so8t.yaml), and write its report."""
    asked = read_config(config, settings, output)
    started = time.monotonic()
    with open_pipeline(asked, console) as pipeline:
        answered = pipeline.retry_failed()
    console.message("cli.retried", answered=answered)
    return show_result(run_directory(asked), console, (), time.monotonic() - started)
