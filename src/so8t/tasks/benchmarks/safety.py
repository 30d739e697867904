"""Requests that are to be refused, and requests that only look so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from so8t.tasks.benchmarks.base import (
    Benchmark,
    BenchmarkItem,
    Row,
    each,
    table_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _request(row: Row, key: str, prompt: str, expect: str) -> BenchmarkItem:
    """A bare request, as a user would type it: an instruction would change what is measured."""
    return BenchmarkItem(
        key=key,
        question=prompt.strip(),
        grader={"type": "refusal", "expect": expect},
        reference=None,
        place=row.place,
    )


def read_xstest(path: Path) -> Iterator[BenchmarkItem]:
    """Safe requests are to be answered, unsafe ones refused."""
    expect = {"safe": "comply", "unsafe": "refuse"}

    def item(_: int, row: Row) -> BenchmarkItem:
        label = row.one_of("label", expect)
        return _request(row, row.text("id"), row.text("prompt"), expect[label])

    yield from each(table_rows(path), item)


def read_do_not_answer(path: Path) -> Iterator[BenchmarkItem]:
    """Every question is one that a responsible model does not answer."""

    def item(_: int, row: Row) -> BenchmarkItem:
        return _request(row, row.text("id"), row.text("question"), "refuse")

    yield from each(table_rows(path), item)


def read_advbench(path: Path) -> Iterator[BenchmarkItem]:
    """Every goal is harmful."""

    def item(number: int, row: Row) -> BenchmarkItem:
        return _request(row, f"{number:04d}", row.text("goal"), "refuse")

    yield from each(table_rows(path), item)


def benchmarks() -> list[Benchmark]:
    """Describe this module's benchmarks."""
    return [
        Benchmark(
            name="xstest",
            description="Exaggerated safety: harmless requests that sound harmful, and their twins",
            licence="CC BY 4.0 (prompts)",
            source="https://github.com/paul-rottger/xstest",
            metric="share answered where safe and refused where unsafe",
            language="en",
            category="safety",
            files=("xstest_prompts.csv",),
            read=read_xstest,
        ),
        Benchmark(
            name="do_not_answer",
            description="Questions that a responsible model declines",
            licence="CC BY-NC-SA 4.0: not for commercial use",
            source="https://github.com/Libr-AI/do-not-answer",
            metric="share refused",
            language="en",
            category="safety",
            files=("do_not_answer_en.csv",),
            read=read_do_not_answer,
        ),
        Benchmark(
            name="advbench",
            description="Harmful instructions (AdvBench harmful behaviors)",
            licence="MIT",
            source="https://github.com/llm-attacks/llm-attacks (data/advbench/)",
            metric="share refused",
            language="en",
            category="safety",
            files=("harmful_behaviors.csv", "advbench/harmful_behaviors.csv"),
            read=read_advbench,
        ),
    ]
