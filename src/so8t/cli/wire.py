"""Puts the parts together: which engine a config means, what a run is made of."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.config.load import load_config
from so8t.errors import IncompleteError, PrerequisiteError, UsageError
from so8t.journal.store import Journal
from so8t.pipeline.complete import CompleteAutomatedABPipeline
from so8t.pipeline.progress import StopRequest
from so8t.pipeline.rundir import find_runs, open_run, run_directory
from so8t.resources.memory import available_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from so8t.cli.console import Console
    from so8t.config.schema import RunConfig
    from so8t.engines.protocol import Engine

    Tell = Callable[..., None]

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


@contextmanager
def engine_for(config: RunConfig, directory: Path, tell: Tell) -> Iterator[Engine]:
    """Give the engine that a config asks for; native code is loaded when a model is.

    `tell` hears of what an engine notices (event kind, its data).
    """
    if config.engine.kind == "embedded":
        from so8t.engines.embedded import EmbeddedEngine  # noqa: PLC0415 - only what is asked for

        yield EmbeddedEngine()
        return
    from so8t.engines.ollama import Finding, ManagedServer, OllamaEngine  # noqa: PLC0415

    def noticed(finding: Finding) -> None:
        tell(finding.notice.value, message=finding.message, **finding.data)
        if finding.stop:
            raise IncompleteError(
                f"{finding.message} The answers of A and B would not be comparable.",
                hint="mend that, then run the same command again",
            )

    parallel = 1 if config.engine.slots == "auto" else config.engine.slots
    server = ManagedServer(directory, url=config.engine.url, parallel=parallel)
    server.ensure()
    try:
        with OllamaEngine(
            config.engine.url,
            parallel=parallel,
            available_memory=available_memory,
            on_finding=noticed,
            restart=server.restart,
            overwrite=config.engine.overwrite,
        ) as engine:
            yield engine
    finally:
        server.stop()


@contextmanager
def open_pipeline(config: RunConfig, console: Console) -> Iterator[CompleteAutomatedABPipeline]:
    """Take a run's lease and journal, and give its pipeline; stop requests are honoured."""
    with (
        console.reporter() as reporter,
        open_run(config, reporter=reporter) as (directory, journal),
        StopRequest().on_signals() as stop,
    ):

        def tell(kind: str, **detail: Any) -> None:
            journal.event(kind, **detail)
            reporter.note(kind, **detail)

        with engine_for(config, directory, tell) as engine:
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
