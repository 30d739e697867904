"""All files that a config names and that are not there, told at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from so8t.config.schema import DEFAULT_SUITE
from so8t.errors import PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.config.schema import RunConfig, Source


def check_files(config: RunConfig) -> None:
    """Raise PrerequisiteError with every path of `config` that is not there, where two or more are.

    One alone is told by whoever reads it, who knows more about what it should be.
    """
    missing = [f"{key}: {path}" for key, path in _named(config) if not path.exists()]
    if len(missing) > 1:
        raise PrerequisiteError(
            f"{len(missing)} files that the config names are not there:\n  " + "\n  ".join(missing),
            hint="put them there, or fix these keys; a path is relative to the config file",
        )


def _named(config: RunConfig) -> Iterator[tuple[str, Path]]:
    """Give key and path of every file or directory that the config names."""
    judge = None if config.judge is None else config.judge.source
    sources = {"a.source": config.a.source, "b.source": config.b.source, "judge.source": judge}
    for key, source in sources.items():
        yield from _of_source(key, source)
    for name in ("data", "safety_data"):
        for path in getattr(config.b.finetune, name, ()):
            yield f"b.finetune.{name}", path
    yield from _of_questions(config)
    if config.llama_cpp is not None:
        yield "llama_cpp", config.llama_cpp
    if config.calibration is not None:
        yield "calibration", config.calibration
    for key, imatrix in (("a.imatrix", config.a.imatrix), ("b.imatrix", config.b.imatrix)):
        if isinstance(imatrix, Path):
            yield key, imatrix


def _of_questions(config: RunConfig) -> Iterator[tuple[str, Path]]:
    for path in config.benchmark.suites:
        if path != Path(DEFAULT_SUITE):
            yield "benchmark.suites", path
    for task in config.benchmark.tasks:
        yield "benchmark.tasks.data", task.data
    for hf in config.benchmark.hf:
        if hf.data_dir is not None:
            yield "benchmark.hf.data_dir", hf.data_dir


def _of_source(key: str, source: Source | None) -> Iterator[tuple[str, Path]]:
    if source is None:
        return
    if source.gguf is not None:
        yield f"{key}.gguf", Path(source.gguf)
    # An id on the hub is no absolute path: reading the config made those of directories absolute.
    if source.hf is not None and Path(source.hf).is_absolute():
        yield f"{key}.hf", Path(source.hf)
    if source.adapter is not None:
        yield f"{key}.adapter", source.adapter
