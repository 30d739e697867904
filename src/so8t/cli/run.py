"""`so8t run`: the main job; the same command again goes on."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import click

from so8t.cli.console import common
from so8t.cli.gate import check_gate, fail_if_option
from so8t.cli.wire import open_pipeline, with_config
from so8t.errors import LeaseHeldError, SO8TError
from so8t.journal.chained import FILE_NAME
from so8t.journal.evidence import repeats_of
from so8t.journal.lease import Lease
from so8t.journal.store import Journal, system_now
from so8t.pipeline.run.rundir import run_directory, set_aside
from so8t.report.html import marks, write_page
from so8t.report.query import load_view, summary
from so8t.report.result_files import write_result_files
from so8t.report.words import verdict_sentence

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.cli.console import Console
    from so8t.config.schema import RunConfig
    from so8t.pipeline.complete import Origins


_ORIGINS: dict[str, Origins] = {"all": "all", "hf": "hf", "llm": "suite"}


@click.command("run")
@with_config
@click.option("--fresh", is_flag=True, help="Set an earlier run of this name aside and start anew.")
@click.option(
    "--origin",
    type=click.Choice(["all", "hf", "suite"]),
    default="all",
    help="Ask the questions of HF benchmarks or of LLM suites only.",
)
@click.option("--lane", type=click.Choice(["all", "hf", "llm"]), hidden=True)
@fail_if_option
@common
def command(
    console: Console,
    config: RunConfig,
    *,
    fresh: bool,
    origin: Origins,
    lane: str | None,
    fail_if: tuple[str, ...],
) -> int:
    """Run CONFIG (default: so8t.yaml), or go on with it where it stopped."""
    if lane is not None:  # its name in version 0.1
        origin = _ORIGINS[lane]
        console.message("cli.renamed_flag", old=f"--lane {lane}", new=f"--origin {origin}")
    if fresh and run_directory(config).exists():
        console.message("cli.set_aside", directory=set_aside(run_directory(config)))
    started = time.monotonic()
    _run(config, console, origin)
    return show_result(run_directory(config), console, fail_if, started)


def _run(config: RunConfig, console: Console, origin: Origins) -> None:
    directory = run_directory(config)
    existed = directory.exists()
    try:
        with open_pipeline(config, console, origin) as pipeline:
            pipeline.run_complete_pipeline(origin)
    except LeaseHeldError:
        raise  # the directory is the other process's, however new it is
    except SO8TError as error:
        if not existed and _removed(directory):
            raise  # refused before any work: no trace of a run is left
        if error.saved is None and error.resumable:
            error.saved = _saved(run_directory(config), console)
            error.hint = error.hint or "the same command again goes on where this one stopped"
        raise


def _removed(directory: Path) -> bool:
    """Remove a run's directory that was made and in which nothing was planned; tell whether.

    Only who holds the lease may: another start may have begun in it since ours was refused.
    """
    if not (directory / FILE_NAME).exists():
        return False
    try:
        lease = Lease(directory, now=system_now())
    except LeaseHeldError:
        return False
    with lease:
        with Journal(directory, readonly=True) as journal:
            planned = journal.sample_count()
        if not planned:
            # Windows keeps the lock's file, which is open; a directory with that alone is no run.
            shutil.rmtree(directory, ignore_errors=True)
        return not planned


def _saved(directory: Path, console: Console) -> str:
    with Journal(directory, readonly=True) as journal:
        answers = sum(journal.answer_counts().values())
        total = 2 * journal.sample_count() * repeats_of(journal)
    return console.text("cli.saved", answers=answers, total=total)


def show_result(
    directory: Path,
    console: Console,
    fail_if: tuple[str, ...],
    started: float,
    *,
    reveal_thinking: bool = False,
) -> int:
    """Write the report and the result files, show the verdict; return the exit code.

    `started` is when the command began, by `time.monotonic`.
    """
    text = console.text
    with Journal(directory, readonly=True) as journal, journal.one_moment():
        # A report on rows that were changed would say what was never measured.
        journal.verify()
        view = load_view(journal, marks=marks(text, reveal_thinking=reveal_thinking))
        report = write_page(directory, view, text, reveal_thinking=reveal_thinking)
        results = write_result_files(journal, view)
    seconds = time.monotonic() - started
    console.data(
        summary(view)
        | {
            "report": str(report),
            "results": None if results is None else str(results),
            "seconds": round(seconds, 1),
        }
    )
    console.line()
    console.line(verdict_sentence(view, console.text), style="bold")
    console.line(console.text("cli.report_at", path=report))
    console.message("cli.took", time=console.text.duration(seconds))
    check_gate(view, fail_if)
    return 0
