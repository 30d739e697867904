"""Puts the parts together: which engine a config means, what a run is made of."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.config.load import load_config
from so8t.errors import PrerequisiteError, UsageError
from so8t.journal.store import Journal
from so8t.pipeline.complete import CompleteAutomatedABPipeline
from so8t.pipeline.progress import StopRequest
from so8t.pipeline.rundir import find_runs, open_run, run_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.cli.console import Console
    from so8t.config.schema import RunConfig
    from so8t.engines.protocol import Engine

DEFAULT_CONFIG = Path("so8t.yaml")


def read_config(
    path: Path | None, settings: tuple[str, ...] = (), output: Path | None = None
) -> RunConfig:
    """Read a config with `--set key=value` and `--output` on top."""
    overrides: dict[str, Any] = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign:
            raise UsageError(f"--set takes key=value, not {setting!r}.")
        overrides[key] = value
    if output is not None:
        overrides["output"] = str(output)
    return load_config(path or DEFAULT_CONFIG, overrides)


def engine_for(config: RunConfig) -> Engine:
    """Return the engine that a config asks for; native code is loaded when a model is."""
    from so8t.engines.embedded import EmbeddedEngine  # noqa: PLC0415 - only what is asked for

    return EmbeddedEngine()


@contextmanager
def open_pipeline(config: RunConfig, console: Console) -> Iterator[CompleteAutomatedABPipeline]:
    """Take a run's lease and journal, and give its pipeline; stop requests are honoured."""
    engine = engine_for(config)
    with (
        open_run(config) as (directory, journal),
        StopRequest().on_signals() as stop,
        console.reporter() as reporter,
    ):
        yield CompleteAutomatedABPipeline(
            config, directory, journal, engine, reporter=reporter, stop=stop
        )


def find_run(target: Path | None) -> Path:
    """Return a run's directory from what a person typed: a directory, a config, or nothing.

    Nothing means the config in the current directory, else the newest run below `runs`.
    """
    if target is None:
        if DEFAULT_CONFIG.exists():
            return run_directory(load_config(DEFAULT_CONFIG))
        runs = find_runs(Path("runs"))
        if not runs:
            raise PrerequisiteError("there is no run here.", hint="so8t run CONFIG")
        return runs[0]
    if target.is_dir():
        return target
    return run_directory(load_config(target))


@contextmanager
def read_journal(target: Path | None) -> Iterator[tuple[Path, Journal]]:
    """Open a run's journal for reading."""
    directory = find_run(target)
    with Journal(directory, readonly=True) as journal:
        yield directory, journal
