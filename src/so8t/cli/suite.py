"""`so8t suite`: check files of questions, and look at what they hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from so8t.cli.console import common
from so8t.errors import DataError, UsageError
from so8t.tasks.suite import load_suite, validate_suite

if TYPE_CHECKING:
    from collections.abc import Iterable

    from so8t.cli.console import Console
    from so8t.domain.sample import Sample
    from so8t.tasks.suite import SuiteReport

_DIMENSIONS = ("category", "language", "grader")


@click.group("suite")
def command() -> None:
    """Check suites of questions, and look at what they hold."""


@command.command("validate")
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, required=True)
@common
def validate(console: Console, paths: tuple[Path, ...]) -> int:
    """Check each suite of PATHS: a file, a directory of files, or `default`.

    Every problem is named with file and line; the exit code is then 2.
    """
    reports = [validate_suite(path) for path in paths]
    console.data({"suites": [_facts(report) for report in reports]})
    for report in reports:
        _show(console, report)
    return DataError.exit_code if any(report.problems for report in reports) else 0


@command.command("show")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("ids", nargs=-1)
@common
def show(console: Console, path: Path, ids: tuple[str, ...]) -> None:
    """Print the questions of the suite PATH, all or those with the IDS."""
    samples = load_suite(path)
    name = {sample.id.removeprefix(f"{sample.task}/"): sample for sample in samples}
    unknown = [given for given in ids if given not in name]
    if unknown:
        raise UsageError(
            f"there is no item {unknown[0]!r} in {path}.", hint=f"so8t suite show {path}"
        )
    chosen = [name[given] for given in ids] if ids else samples
    console.data({"items": [_item(sample) for sample in chosen]})
    for sample in chosen:
        _print_item(console, sample)


def _facts(report: SuiteReport) -> dict[str, Any]:
    counts = {
        dimension: dict(sorted(_count(report.samples, dimension).items()))
        for dimension in _DIMENSIONS
    }
    return {
        "path": str(report.path),
        "valid": not report.problems,
        "items": len(report.samples),
        **counts,
        "license": dict(sorted(report.licenses.items())),
        "problems": [
            {"message": problem.message, "hint": problem.hint, "line": problem.line}
            for problem in report.problems
        ],
        "same_question": report.same_question(),
    }


def _count(samples: Iterable[Sample], dimension: str) -> Counter[str]:
    if dimension == "grader":
        return Counter(str(sample.grader["type"]) for sample in samples)
    return Counter(str(getattr(sample, dimension)) for sample in samples)


def _show(console: Console, report: SuiteReport) -> None:
    text = console.text
    if report.problems:
        count = len(report.problems)
        console.line(text("cli.suite.problems", path=report.path, count=count), style="bold red")
        for problem in report.problems:
            console.line(f"  {problem.message}")
            if problem.hint:
                console.line(f"    {problem.hint}")
    else:
        console.line(text("cli.suite.valid", path=report.path, items=len(report.samples)))
    for dimension in _DIMENSIONS if report.samples else ():
        counts = sorted(_count(report.samples, dimension).items())
        listing = ", ".join(f"{name} {count}" for name, count in counts)
        console.line(f"  {text(f'cli.suite.{dimension}')}: {listing}")
    for ids in report.same_question():
        places = ", ".join("{}:{}".format(*report.place(one)) for one in ids)
        console.line(text("cli.suite.same_question", places=places), style="yellow")


def _item(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "category": sample.category,
        "language": sample.language,
        "messages": [{"role": m.role, "content": m.content} for m in sample.messages],
        "grader": sample.grader,
        "reference": sample.reference,
        "max_tokens": sample.max_tokens,
        "cluster": sample.cluster,
    }


def _print_item(console: Console, sample: Sample) -> None:
    console.line(f"{sample.id}  ({sample.category}, {sample.language})", style="bold")
    for message in sample.messages:
        console.line(f"[{message.role}] {message.content}")
    console.line(f"-> {sample.grader['type']}: {sample.reference or sample.grader}")
    console.line()
