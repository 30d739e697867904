"""Named real benchmarks, read from local files without a network.

To add one: a reader that yields an `Item` for each row, and its `Benchmark` in `benchmarks()` of
the module it belongs to. docs/suite-format.md shows the prompts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from so8t.errors import UsageError
from so8t.system.plugins import nearest
from so8t.tasks.benchmarks import bbh, japanese, knowledge, mathematics, safety
from so8t.tasks.benchmarks.base import Benchmark, LeftOut, load

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.domain.sample import Sample

__all__ = ["BENCHMARKS", "Benchmark", "LeftOut", "get_benchmark", "load_benchmark"]

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for module in (japanese, mathematics, safety, knowledge, bbh)
    for benchmark in module.benchmarks()
}
_BY_ALIAS = {alias: entry for entry in BENCHMARKS.values() for alias in entry.aliases}


def get_benchmark(name: str) -> Benchmark:
    """Look a benchmark up by its name.

    Raises:
        UsageError: there is none of this name; the nearest is named.

    """
    found = BENCHMARKS.get(name) or _BY_ALIAS.get(name)
    if found is None:
        raise UsageError(f"there is no benchmark {name!r}", hint=nearest(name, list(BENCHMARKS)))
    return found


def load_benchmark(
    name: str,
    data: Path,
    *,
    limit: int | None = None,
    few_shot: int = 0,
    seed: int = 1,
    max_tokens: int | None = None,
    strict: bool = False,
    left_out: list[LeftOut] | None = None,
) -> list[Sample]:
    """Load a named benchmark from `data`, its file or its directory.

    Args:
        name: one of `BENCHMARKS`.
        data: a file of questions, or the directory that holds the benchmark's files.
        limit: so many questions, drawn at random with the seed; never the first ones.
        few_shot: so many solved examples before each question, the same for all of a group.
        seed: for the draw of questions and examples.
        max_tokens: token budget of an answer instead of the benchmark's own.
        strict: refuse a set with an item that cannot be asked, instead of leaving it out.
        left_out: gets the items that were left out, each with its file, line and reason.

    Raises:
        UsageError: an unknown name, or more examples than there are.
        PrerequisiteError: a file is missing; the message names it.
        DataError: a file is not what it should be, with file and line.

    """
    benchmark = get_benchmark(name)
    if few_shot < 0 or (limit is not None and limit < 1):
        raise UsageError(f"benchmark {name!r}: few_shot is at least 0 and limit at least 1")
    return load(
        benchmark,
        data,
        limit=limit,
        few_shot=few_shot,
        seed=seed,
        max_tokens=max_tokens,
        strict=strict,
        left_out=left_out,
    )
