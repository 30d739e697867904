"""`so8t data`: what may be training data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from so8t.cli.console import common
from so8t.cli.data_fetch import command as fetch
from so8t.cli.data_safety import command as safety_train
from so8t.errors import DataError, UsageError
from so8t.policy.clean import PolicyReport, Rules, clean
from so8t.policy.personal_data import PersonalDataKind, knows_more_secrets
from so8t.system.files import write_atomic

if TYPE_CHECKING:
    from so8t.cli.console import Console
    from so8t.policy.clean import Confidential, PersonalData

_SHOWN = 5


@click.group("data")
def command() -> None:
    """Check what may be training data."""


command.add_command(fetch)
command.add_command(safety_train)


@command.command("check")
@click.argument(
    "files", type=click.Path(path_type=Path, exists=True, dir_okay=False), nargs=-1, required=True
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write clean copies.")
@click.option(
    "--personal-data",
    type=click.Choice(["mask", "exclude", "keep"]),
    default="mask",
    show_default=True,
    help="What a copy has instead.",
)
@click.option(
    "--confidential",
    type=click.Choice(["exclude", "keep"]),
    default="exclude",
    show_default=True,
    help="Documents that are marked so.",
)
@common
def check(
    console: Console,
    files: tuple[Path, ...],
    out: Path | None,
    personal_data: PersonalData,
    confidential: Confidential,
) -> int:
    """Look for personal data and confidential marks in FILES (JSONL, or one document each).

    Tells places and kinds, never what was found. The exit code is 2 when something was found and
    no clean copy was asked for.
    """
    names = {path.name for path in files}
    if out is not None and len(names) < len(files):
        raise UsageError("two of the files have the same name; their copies would be one.")
    report = PolicyReport(Rules(personal_data, confidential))
    cleaned = {path: clean(path, report.rules, report) for path in files}
    written = []
    for path, content in cleaned.items() if out is not None else ():
        written.append(Path(out or "") / path.name)
        if written[-1].resolve() == path.resolve():
            raise UsageError(f"{path} would be overwritten.", hint="another directory for --out")
        write_atomic(written[-1], content)
    console.data(
        report.facts()
        | {
            "places": {kind.value: report.lines(kind) for kind in PersonalDataKind},
            "confidential_places": report.confidential(),
            "written": [str(path) for path in written],
        }
    )
    _show(console, report, written)
    found = bool(report.findings)
    return DataError.exit_code if found and out is None else 0


def _show(console: Console, report: PolicyReport, written: list[Path]) -> None:
    text = console.text
    facts = report.facts()
    console.line(text("cli.data.documents", **facts))
    for kind, count in report.counts().items():
        if count:
            places = _few(report.lines(PersonalDataKind(kind)))
            console.line("  " + text("cli.data.found", kind=kind, count=count, places=places))
    if marked := report.confidential():
        places = _few(marked)
        console.line("  " + text("cli.data.confidential", count=len(marked), places=places))
    if not knows_more_secrets():
        console.line(text("cli.data.only_own"), style="yellow")
    for path in written:
        console.line(text("cli.data.written", path=path))


def _few(places: list[str]) -> str:
    return ", ".join(places[:_SHOWN]) + (", ..." if len(places) > _SHOWN else "")
