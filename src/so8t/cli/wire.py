"""Puts the parts together: which engine a config means, what a run is made of."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from so8t.config.load import load_config
from so8t.config.schema import RunConfig
from so8t.errors import PrerequisiteError, UsageError
from so8t.journal.restore import recorded_run
from so8t.journal.store import Journal
from so8t.pipeline.run import opening
from so8t.pipeline.run.registry import Registry
from so8t.pipeline.run.rundir import find_runs, run_directory
from so8t.system.state import state_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from so8t.cli.console import Console
    from so8t.pipeline.complete import CompleteAutomatedABPipeline, Origins

DEFAULT_CONFIG = Path("so8t.yaml")
R = TypeVar("R")


def with_config(function: Callable[..., R]) -> Callable[..., R]:
    """Give a command that works on a run CONFIG, --set and --output, read as one `config`."""

    @click.argument("config", type=click.Path(path_type=Path), required=False)
    @click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key.")
    @click.option(
        "--output", type=click.Path(path_type=Path), help="Where run directories are made."
    )
    @wraps(function)
    def wrapper(
        *, config: Path | None, settings: tuple[str, ...], output: Path | None, **values: Any
    ) -> R:
        return function(config=read_config(config, settings, output), **values)

    return wrapper


def read_config(
    path: Path | None, settings: tuple[str, ...] = (), output: Path | None = None
) -> RunConfig:
    """Read a config with `--set key=value` and `--output` on top.

    A run's directory stands for the config with which that run was last started.
    """
    if path is not None and path.is_dir():
        if settings or output is not None:
            raise UsageError("a run's directory comes with its own config: no --set, no --output.")
        return _config_of_run(path)
    return load_config(path or DEFAULT_CONFIG, overrides_of(settings, output))


def overrides_of(settings: tuple[str, ...], output: Path | None) -> dict[str, Any]:
    """Return what `--set key=value` and `--output` put on top of a config."""
    overrides: dict[str, Any] = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign:
            raise UsageError(f"--set takes key=value, not {setting!r}.")
        overrides[key] = _list_or_text(value)
    if output is not None:
        overrides["output"] = str(output)
    return overrides


def _list_or_text(value: str) -> Any:
    """Read a list or a mapping, written as JSON; anything else is for the schema to read."""
    if value.startswith(("[", "{")):
        try:
            return json.loads(value)
        except ValueError:
            raise UsageError(f"--set takes a list or mapping as JSON, not {value!r}.") from None
    return value


def _config_of_run(directory: Path) -> RunConfig:
    registered = Registry(state_directory()).find(directory)
    if registered is not None:
        return registered.run_config()
    run = recorded_run(directory)
    place = directory.resolve()
    if run is None or run.name != place.name:
        raise PrerequisiteError(
            f"{directory} holds no run" + (f" of its name, but {run.name!r}." if run else " yet."),
            hint=f"rename it to {run.name}" if run else "so8t run CONFIG starts one",
        )
    # The journal holds what defines the run; the directory may have been moved since.
    return RunConfig.model_validate(run.config | {"output": place.parent})


@contextmanager
def open_pipeline(
    config: RunConfig, console: Console, origin: Origins = "all"
) -> Iterator[CompleteAutomatedABPipeline]:
    """Open a run with the console as its listener."""
    with (
        console.reporter() as reporter,
        opening.open_pipeline(config, reporter, console.text, origin=origin) as pipeline,
    ):
        yield pipeline


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
    if not target.exists():
        raise UsageError(
            f"there is no run and no config at {target}.",
            hint="so8t ls shows the runs that there are",
        )
    return run_directory(load_config(target))


@contextmanager
def read_journal(target: Path | None) -> Iterator[tuple[Path, Journal]]:
    """Open a run's journal for reading."""
    directory = find_run(target)
    with Journal(directory, readonly=True) as journal:
        yield directory, journal
