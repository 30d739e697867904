"""A run's directory: where its journal, artifacts and report are, and who may write there."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any

import so8t
from so8t.domain.events import SESSION_EVENTS, EventKind
from so8t.errors import PrerequisiteError
from so8t.journal.chained import FILE_NAME
from so8t.journal.lease import Lease
from so8t.journal.restore import open_journal
from so8t.journal.store import Journal, system_now
from so8t.pipeline.run.changes import take_over
from so8t.pipeline.run.progress import Silent
from so8t.system.files import make_directory, move_once
from so8t.system.state import boot_id
from so8t.system.windows_names import objection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from so8t.config.schema import RunConfig
    from so8t.pipeline.run.progress import Reporter

#: Keys that say how a run is shown and how it shares the machine, not what it measures: they may
#: change between two starts.
_PRESENTATION = {"language", "output", "notify", "keep_awake", "resources", "recovery"}

#: Events that the next start writes before its session begins; the last session was gone by then.
_BETWEEN = (
    EventKind.JOURNAL_CHECKED,
    EventKind.JOURNAL_RESTORED,
    EventKind.CLOCK_BEHIND,
    EventKind.GAVE_UP,
)


def run_directory(config: RunConfig) -> Path:
    """Return the directory of the run that `config` asks for.

    Raises PrerequisiteError for one that Windows would not make, on Windows.
    """
    directory = config.output / config.name
    if sys.platform == "win32" and (why := objection(PureWindowsPath(directory))) is not None:
        raise PrerequisiteError(
            f"the run cannot be kept in {directory}: {why}.",
            hint="choose another `name`, or another place with --output",
        )
    return directory


def identity(config: RunConfig) -> dict[str, Any]:
    """Return the part of a config that defines the run, as plain data."""
    plain: dict[str, Any] = config.model_dump(mode="json")
    return {key: value for key, value in plain.items() if key not in _PRESENTATION}


def language_of(journal: Journal) -> str:
    """Return the language that a run was last started with: en, ja, or auto."""
    sessions = journal.events(EventKind.SESSION_STARTED)
    return str(sessions[-1].data.get("language", "auto")) if sessions else "auto"


def set_aside(directory: Path) -> Path:
    """Rename a run's directory so that a fresh one can start; nothing is deleted.

    Raises LeaseHeldError while another process works in it.
    """
    Lease(directory, now=system_now()).release()
    number = 1
    while (aside := directory.with_name(f"{directory.name}.old-{number}")).exists():
        number += 1
    move_once(directory, aside)
    return aside


@contextmanager
def open_run(
    config: RunConfig,
    *,
    reporter: Reporter | None = None,
) -> Iterator[tuple[Path, Journal]]:
    """Take the lease of a run, open its journal and check that it is the run that is asked for.

    A damaged journal is restored, and `reporter` hears what is done again because of that.

    Raises LeaseHeldError when another process holds it, ConfigError when the config changed in
    what the run has frozen, JournalError for a journal that nothing can restore.
    """
    directory = run_directory(config)
    make_directory(directory)
    with Lease(directory, now=system_now()) as lease, ExitStack() as stack:
        journal, restored = open_journal(directory, now=system_now, guard=lease.check)
        stack.enter_context(journal)
        tell = (reporter or Silent()).note
        if restored is not None:
            tell(EventKind.JOURNAL_RESTORED, **asdict(restored))
        if journal.run is None:
            journal.create_run(config.name, identity(config), so8t.__version__)
        else:
            take_over(journal, identity(config), tell)
        _note_interruption(journal, system_now())
        journal.event(
            EventKind.SESSION_STARTED,
            pid=os.getpid(),
            host=socket.gethostname(),
            version=so8t.__version__,
            boot=boot_id(),
            language=config.language,
        )
        ending = "crashed"
        try:
            yield directory, journal
            ending = "finished"
        except BaseException as error:
            ending = type(error).__name__
            raise
        finally:
            if journal.usable:
                journal.event(EventKind.SESSION_ENDED, how=ending)


def _note_interruption(journal: Journal, now: datetime) -> None:
    """Record that the last session ended without saying so: a power cut, a kill, a crash."""
    sessions = [event for event in journal.events() if event.kind in SESSION_EVENTS]
    if sessions and sessions[-1].kind == EventKind.SESSION_STARTED:
        last = journal.last_written(ignoring=_BETWEEN) or sessions[-1].at
        journal.event(
            EventKind.INTERRUPTION,
            last_written=last.isoformat(),
            away_seconds=max(0.0, (now - last).total_seconds()),
        )


def find_runs(root: Path) -> list[Path]:
    """Return the run directories below `root`, newest journal first."""
    if (root / FILE_NAME).exists():
        return [root]
    found = [path.parent for path in root.glob(f"*/{FILE_NAME}")]
    return sorted(found, key=lambda path: (path / FILE_NAME).stat().st_mtime, reverse=True)
