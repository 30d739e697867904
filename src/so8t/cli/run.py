"""`so8t run`: the main job, and going on with it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from so8t.cli.console import common
from so8t.cli.gate import check_gate, run_fail_if_option
from so8t.cli.wire import open_pipeline, overrides_of, read_config
from so8t.config.load import read_config as read_plain_config
from so8t.config.pair import pair_config, to_yaml
from so8t.errors import LeaseHeldError, SO8TError, UsageError
from so8t.journal.chained import FILE_NAME
from so8t.journal.evidence import repeats_of
from so8t.journal.lease import Lease
from so8t.journal.store import Journal, system_now
from so8t.pipeline.run.rundir import run_directory, set_aside
from so8t.report.finish import write_everything
from so8t.report.summary import summary
from so8t.report.words import verdict_sentence
from so8t.system.files import write_atomic

if TYPE_CHECKING:
    from so8t.cli.console import Console
    from so8t.config.schema import RunConfig
    from so8t.pipeline.complete import Origins


_ORIGINS: dict[str, Origins] = {"all": "all", "hf": "hf", "llm": "suite"}
#: The config of two models that were named on the command line, in their run's directory.
WRITTEN_CONFIG = "so8t.yaml"


@click.command("run")
@click.argument("named", metavar="[CONFIG | A B]", nargs=-1)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--output", type=click.Path(path_type=Path), help="Where run directories are made.")
@click.option(
    "--suite",
    "suites",
    multiple=True,
    type=click.Path(path_type=Path),
    help="With A B: the questions (default: those that ship with so8t).",
)
@click.option("--fresh", is_flag=True, help="Set an earlier run of this name aside and start anew.")
@click.option(
    "--origin",
    type=click.Choice(["all", "hf", "suite"]),
    default="all",
    help="Ask the questions of HF benchmarks or of LLM suites only.",
)
@click.option("--lane", type=click.Choice(["all", "hf", "llm"]), hidden=True)
@run_fail_if_option
@common
def command(
    console: Console,
    named: tuple[str, ...],
    settings: tuple[str, ...],
    output: Path | None,
    suites: tuple[Path, ...],
    *,
    fresh: bool,
    origin: Origins,
    lane: str | None,
    fail_if: tuple[str, ...],
) -> int:
    """Run CONFIG (default: so8t.yaml), or go on with it where it stopped.

    With two models A and B (FILE.gguf, a directory, hf:ID or ollama:TAG) no config is needed: one
    is written into the run's directory.
    """
    if lane is not None:  # its name in version 0.1
        origin = _ORIGINS[lane]
        console.message("cli.renamed_flag", old=f"--lane {lane}", new=f"--origin {origin}")
    config, written = _config(named, settings, output, suites)
    console.speak(config.language)
    return run_config(config, console, fresh=fresh, origin=origin, fail_if=fail_if, written=written)


def run_config(
    config: RunConfig,
    console: Console,
    *,
    fresh: bool = False,
    origin: Origins = "all",
    fail_if: tuple[str, ...] = (),
    written: str | None = None,
) -> int:
    """Run `config` and show the result; `written` is kept as the config in the run's directory."""
    if fresh and run_directory(config).exists():
        console.message("cli.set_aside", directory=set_aside(run_directory(config)))
    started = time.monotonic()
    _run(config, console, origin, written)
    return show_result(run_directory(config), console, fail_if, started)


def _config(
    named: tuple[str, ...],
    settings: tuple[str, ...],
    output: Path | None,
    suites: tuple[Path, ...],
) -> tuple[RunConfig, str | None]:
    """Return the config that was asked for, and its text where it was made from two models."""
    if len(named) == 2:  # noqa: PLR2004 - A and B
        config = read_plain_config(pair_config(*named, suites), overrides_of(settings, output))
        head = "Made by `so8t run A B`. The same command again goes on, or `so8t run DIRECTORY`."
        return config, to_yaml(config.model_dump(mode="json", exclude_defaults=True), head)
    if len(named) > 2:  # noqa: PLR2004 - as above
        raise UsageError(
            f"run takes a config, or two models A and B, not {len(named)} names.",
            hint="so8t run --help",
        )
    if suites:
        raise UsageError(
            "--suite belongs to two models A and B.",
            hint="a config names its questions under benchmark.suites",
        )
    if named and named[0].lower().endswith((".gguf", ".safetensors")):
        raise UsageError(
            f"{named[0]} is one model; a comparison takes two.", hint="so8t run A.gguf B.gguf"
        )
    return read_config(Path(named[0]) if named else None, settings, output), None


def _run(config: RunConfig, console: Console, origin: Origins, written: str | None) -> None:
    directory = run_directory(config)
    existed = directory.exists()
    try:
        with open_pipeline(config, console, origin) as pipeline:
            if written is not None and not (directory / WRITTEN_CONFIG).exists():
                write_atomic(directory / WRITTEN_CONFIG, written)
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
    found = write_everything(directory, text, reveal_thinking=reveal_thinking)
    view, report, results = found.view, found.report, found.results
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
