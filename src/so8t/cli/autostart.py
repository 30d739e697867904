"""`so8t autostart`: go on with unfinished runs when the machine is started."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from so8t.autostart.choose import auto_start, filters_exit_codes
from so8t.autostart.protocol import dry_run, resume_job
from so8t.autostart.resume import AutoStartCompleteABPipeline
from so8t.cli.console import common
from so8t.cli.wire import find_run
from so8t.errors import IncompleteError, PrerequisiteError, UsageError
from so8t.pipeline.run.registry import Registry
from so8t.system.files import move
from so8t.system.state import state_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.autostart.protocol import AutoStart, Which
    from so8t.cli.console import Console

_MOST_LOG = 5_000_000


@click.command("autostart")
@click.argument(
    "action", type=click.Choice(["install", "status", "remove", "test", "resume", "forget"])
)
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--which", type=click.Choice(["all", "newest"]), default="all", help="Which runs to resume."
)
@click.option("--system", is_flag=True, help="Linux: a system unit instead of the user's own.")
@click.option("--user", help="Linux: the user of a system unit.")
@click.option("--dry-run", is_flag=True, help="resume: say what would be done.")
@click.option("--log", type=click.Path(path_type=Path), help="resume: write here what is said.")
@common
def command(
    console: Console,
    action: str,
    run: Path | None,
    which: Which,
    *,
    system: bool,
    user: str | None,
    dry_run: bool,
    log: Path | None,
) -> int:
    """Resume unfinished runs when the machine is started.

    install, remove and status concern the registration with the system; test proves that it
    works; resume is what the system calls; forget RUN takes a run off the register.
    """
    if run is not None and action != "forget":
        raise UsageError(
            f"so8t autostart {action} takes no RUN.", hint="every unfinished run is resumed"
        )
    state = state_directory()
    starter = auto_start(which, state, system=system, user=user)
    registry = Registry(state)
    with _logged(log):
        pipeline = AutoStartCompleteABPipeline(
            registry,
            starter,
            console.text,
            listen=console.reporter,
            say=console.message,
            which=which,
        )
        if action == "resume":
            return _resume(console, pipeline, dry=dry_run)
        if action == "install":
            return _install(console, pipeline, starter)
        if action == "remove":
            removed = starter.remove()
            console.data({"removed": removed})
            console.line(console.text("autostart.removed" if removed else "autostart.not_there"))
            return 0
        if action == "forget":
            return _forget(console, registry, run)
        return _status(console, registry, starter, which, prove=action == "test")


def _install(console: Console, pipeline: AutoStartCompleteABPipeline, starter: AutoStart) -> int:
    notes = pipeline.setup_auto_start()
    files = [str(path) for path in starter.files()]
    console.data({"system": starter.name, "files": files, "notes": notes})
    for path in files:
        console.line(console.text("cli.written", path=path))
    for note in notes:
        console.line(note)
    console.message("cli.next", command="so8t autostart test")
    return 0


def _status(
    console: Console, registry: Registry, starter: AutoStart, which: Which, *, prove: bool
) -> int:
    status = starter.status()
    problems = list(status.problems)
    if prove:
        if status.installed:
            problems += starter.verify()
        problems += dry_run(resume_job(which, state_directory()))
    runs = [_entry(entry) for entry in registry.entries()]
    damaged = [str(path) for path in registry.damaged()]
    console.data(
        {
            "system": starter.name,
            "installed": status.installed,
            "before_login": status.before_login,
            "problems": problems,
            "runs": runs,
            "damaged": damaged,
        }
    )
    console.line(
        console.text("autostart.installed" if status.installed else "autostart.not_installed")
    )
    if status.before_login is not None:
        key = "autostart.before_login" if status.before_login else "autostart.after_login"
        console.line(console.text(key))
    for problem in problems:
        console.line(f"! {problem}")
    for path in damaged:
        console.line(f"! {console.text('autostart.damaged', path=path)}")
    for entry in runs:
        console.line(
            console.text("autostart.run", **entry)
            + (f": {entry['reason']}" if entry["reason"] else "")
        )
    if not prove:
        return 0
    console.line(console.text("autostart.test_failed" if problems else "autostart.test_passed"))
    return PrerequisiteError.exit_code if problems else 0


def _entry(entry: Any) -> dict[str, Any]:
    return {
        "name": entry.name,
        "directory": str(entry.directory),
        "state": entry.state,
        "reason": entry.reason,
    }


def _resume(console: Console, pipeline: AutoStartCompleteABPipeline, *, dry: bool) -> int:
    if dry:
        runs = [_entry(entry) for entry in pipeline.candidates()]
        console.data({"runs": runs})
        for entry in runs:
            console.line(console.text("autostart.run", **entry))
        return 0
    code = pipeline.check_and_resume()
    if filters_exit_codes():
        return code
    # Task Scheduler and launchd start again whatever did not end with 0; what a restart cannot
    # change is in the register by now.
    return code if code == IncompleteError.exit_code else 0


def _forget(console: Console, registry: Registry, run: Path | None) -> int:
    directory = find_run(run)
    known = registry.leave(directory)
    console.data({"forgotten": known, "directory": str(directory)})
    key = "autostart.forgotten" if known else "autostart.unknown"
    console.line(console.text(key, directory=directory))
    return 0


@contextlib.contextmanager
def _logged(path: Path | None) -> Iterator[None]:
    """Send all that is said to a file: a task of Windows has nowhere else to say it."""
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _MOST_LOG:
        move(path, path.with_suffix(".old.log"))
    with path.open("a", encoding="utf-8", buffering=1) as log:
        before = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = log
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
