"""`so8t verify`: is everything that a run claims what its data say?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from so8t.cli.console import common
from so8t.cli.next_step import command_line
from so8t.cli.wire import find_run
from so8t.errors import JournalError, JournalNewerError, PrerequisiteError, VerificationFailed
from so8t.journal.backup import backups
from so8t.journal.store import Journal
from so8t.report.findings import Finding

if TYPE_CHECKING:
    from so8t.cli.console import Console


@click.command("verify")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@common
def command(console: Console, run: Path | None) -> int:
    """Recompute all that RUN rests on (a run's directory or its config; default: the newest).

    Digests of files, the journal's chain, schema, witness and backups, every score from the stored
    answer, the verdict, and whether report and result files say what the data say. Changes nothing.
    Exit code 11 when something is not what it should be, or the journal cannot be opened.
    """
    directory = find_run(run)
    findings = _findings(directory)
    failed = [finding for finding in findings if finding.result == "fail"]
    console.data(
        {
            "directory": str(directory),
            "sound": not failed,
            "checks": [asdict(finding) for finding in findings],
        }
    )
    console.line(str(directory), style="bold")
    marks = {"pass": "ok  ", "warn": "warn", "fail": "FAIL", "skip": "--  "}
    for finding in findings:
        console.line(f"{marks[finding.result]}  {finding.name}: {finding.detail}")
    if failed:
        names = ", ".join(dict.fromkeys(finding.name for finding in failed))
        raise VerificationFailed(
            f"{directory} is not what was recorded: {names}.",
            hint=f"{command_line('run', str(directory))} goes back to the newest good backup where "
            "the journal is damaged, and makes files anew that were changed; "
            f"{command_line('report', str(directory))} writes the report anew",
        )
    return 0


def _findings(directory: Path) -> list[Finding]:
    """Look at all of a run; a journal that is gone or cannot be opened is damage like any other."""
    from so8t.report.verify import verify_run  # noqa: PLC0415 - the graders, only when asked for

    try:
        with Journal(directory, readonly=True, check=False) as journal:
            return verify_run(journal)
    except JournalNewerError:
        raise
    except JournalError as error:
        return [Finding("journal", "fail", error.message)]
    except PrerequisiteError as error:
        # Without a file there may have been no run yet; with a backup of it there was one.
        if next(backups(directory), None) is None:
            raise
        return [Finding("journal", "fail", f"{error.message} There are backups of it.")]
