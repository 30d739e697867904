"""Opening a journal that may be damaged: the newest good state, and an honest list of the rest.

A damaged file is set aside and never deleted. What takes its place is, in this order: the file
itself, where every row that it has is right and it only lacks some that were witnessed; else the
newest backup that verifies. What the lost rows said is done again: their answers are asked again,
so each is still recorded exactly once.

Each step is on the disk before the next, and a file beside the journal (`journal.suspect`) names
the step, so that a power cut in the middle of it costs nothing either.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import apsw

from so8t.domain.events import EventKind
from so8t.domain.plan import Phase
from so8t.errors import JournalDamagedError, PrerequisiteError
from so8t.journal.backup import Backup, backups
from so8t.journal.chain import UNREADABLE, Head, chain_at, read_head, read_witness, write_witness
from so8t.journal.chained import FILE_NAME, SUSPECT_NAME, WITNESS_NAME
from so8t.journal.check import damage_in
from so8t.journal.store import Journal, run_in
from so8t.system.files import atomic_file, move, remove_file, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from so8t.journal.rows import RunRecord

# Up to so many rows a whole verification takes less time than the process that would do it.
_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class Restored:
    """What took a damaged journal's place, and what is done again because of it.

    Attributes:
        reason: what was wrong.
        backup: name of the backup that was restored; None where the file itself was kept.
        rows: rows that are there now.
        rows_lost: rows that are known to be lost; None where nobody can tell.
        answers_lost: answers of A and B that are asked again; None where nobody can tell.
        phases_lost: phases that were done and are done again; None where nobody can tell.
        set_aside: the directory beside the journal that holds the damaged files.

    """

    reason: str
    backup: str | None
    rows: int
    rows_lost: int | None
    answers_lost: int | None
    phases_lost: list[str] | None
    set_aside: str


def open_journal(
    directory: Path, *, now: Callable[[], datetime], guard: Callable[[], None] | None = None
) -> tuple[Journal, Restored | None]:
    """Open the journal in `directory` for writing; restore it where it is damaged.

    Every row is verified: at once where that is quick or where nothing is left to ask, else
    beside the run, which then ends resumable when something is found.

    Raises JournalDamagedError where there is no good state to go back to, else as `Journal`.
    """
    try:
        _look_closer(directory)
        witnessed = (directory / WITNESS_NAME).exists()
        journal = Journal(directory, now=now, guard=guard)
        _verify_soon(journal, now)
        _complete(journal, witnessed=witnessed)
    except JournalDamagedError as error:
        _restore(directory, error)
        journal = Journal(directory, now=now, guard=guard)
    return journal, _say(journal)


def _look_closer(directory: Path) -> None:
    """Verify a journal that is under suspicion, or whose file is gone."""
    note = _read_note(directory)
    if note.get("restored") and not note.get("placed"):
        raise JournalDamagedError(note["reason"])  # a restore that was interrupted
    path = directory / FILE_NAME
    if _absent(path) and next(backups(directory), None) is not None:
        raise JournalDamagedError(f"{path} is gone or empty; there are backups of it.")
    if note and not _absent(path) and (damage := damage_in(path)):
        raise JournalDamagedError(damage)


def _verify_soon(journal: Journal, now: Callable[[], datetime]) -> None:
    rows = journal.head.seq
    if not rows:
        return
    last = journal.phase(Phase.BENCHMARK)
    at_work = last is None or last.state != "done"
    if rows > _AT_ONCE and at_work:
        journal.check_beside(lambda: journal.event(EventKind.JOURNAL_CHECKED, rows=rows))
        return
    began = now()
    try:
        journal.verify()
    except JournalDamagedError:
        journal.abandon()
        raise
    journal.event(EventKind.JOURNAL_CHECKED, rows=rows, seconds=(now() - began).total_seconds())


def _complete(journal: Journal, *, witnessed: bool) -> None:
    """Make what stands behind each finished phase and is not there: its witness, its backup."""
    done = [step.seq for step in journal.phases() if step.state == "done"]
    if not done:
        return
    if not witnessed:
        journal.event(EventKind.WITNESS_MISSING, rows=journal.head.seq)
    newest = next(backups(journal.directory), None)
    if newest is None or newest.head.seq < done[-1]:
        journal.secure()


def recorded_run(directory: Path) -> RunRecord | None:
    """Return what the run in `directory` asks for, None where it holds none yet.

    Where the journal is gone or damaged, its newest good backup says it.

    Raises JournalDamagedError, PrerequisiteError where there is no good backup either.
    """
    try:
        with Journal(directory, readonly=True, check=False) as journal:
            return journal.run
    except (JournalDamagedError, PrerequisiteError, ValueError, *UNREADABLE):
        good = _newest_good(directory)
        if good is None:
            raise
    with good.connected() as connection:
        return run_in(connection)


# --- the restore -------------------------------------------------------------------------------


def _restore(directory: Path, error: JournalDamagedError) -> None:
    note = _read_note(directory)
    if not note.get("restored") or note.get("placed"):
        restored = _plan(directory, error)
        note = {"reason": error.message, "restored": asdict(restored)}
        _write_note(directory, note)
    _place(directory, Restored(**note["restored"]))
    _write_note(directory, note | {"placed": True})


def _plan(directory: Path, error: JournalDamagedError) -> Restored:
    """Choose what takes the journal's place, and account for what is lost."""
    path = directory / FILE_NAME
    aside = _free_name(directory)
    witnessed = _witnessed(directory)
    good = _newest_good(directory)
    whole = _whole(path, good)
    if whole is not None:
        lost = max(0, witnessed.seq - whole.seq) if witnessed else None
        return Restored(error.message, None, whole.seq, lost, None, None, aside)
    if good is None:
        raise JournalDamagedError(
            f"{error.message} There is no backup to go back to.",
            hint="start anew, the damaged run is kept: so8t run --fresh ...",
        ) from error
    had, has = _contents(path), _contents(good.path)
    ends = [head.seq for head in (witnessed, had.head if had else None) if head is not None]
    return Restored(
        reason=error.message,
        backup=good.path.name,
        rows=good.head.seq,
        rows_lost=max(0, max(ends) - good.head.seq) if ends else None,
        answers_lost=max(0, had.answers - has.answers) if had and has else None,
        phases_lost=sorted(had.phases - has.phases) if had and has else None,
        set_aside=aside,
    )


def _place(directory: Path, restored: Restored) -> None:
    aside = directory / restored.set_aside
    aside.mkdir(exist_ok=True)
    kept = (
        (WITNESS_NAME,)
        if restored.backup is None
        else (f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", FILE_NAME, WITNESS_NAME)
    )
    for name in kept:
        # A second try finds moved what the first one moved.
        if (directory / name).exists() and not (aside / name).exists():
            move(directory / name, aside / name)
    path = directory / FILE_NAME
    if restored.backup is not None:
        source = next(one for one in backups(directory) if one.path.name == restored.backup)
        with atomic_file(path) as partial:
            shutil.copyfile(source.path, partial)
        write_witness(directory / WITNESS_NAME, source.head)


def _say(journal: Journal) -> Restored | None:
    """Record a restore in the journal, once, and lift the suspicion."""
    note = _read_note(journal.directory)
    if not note:
        return None
    restored = Restored(**note["restored"]) if note.get("placed") else None
    if restored is not None:
        said = [event.data.get("set_aside") for event in journal.events(EventKind.JOURNAL_RESTORED)]
        if restored.set_aside not in said:
            journal.event(EventKind.JOURNAL_RESTORED, **asdict(restored))
    remove_file(journal.directory / SUSPECT_NAME)
    return restored


# --- what is there -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Contents:
    head: Head
    answers: int
    phases: frozenset[str]


def _contents(path: Path) -> _Contents | None:
    """Count what a file holds, damaged or not; None where it cannot be read."""
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.Error:
        return None
    try:
        connection.pragma("query_only", True)
        (answers,) = next(
            connection.execute(
                "SELECT count(*) FROM answer WHERE repeat = 0 AND status <> 'failed'"
            )
        )
        phases = connection.execute("SELECT DISTINCT phase FROM phase WHERE state = 'done'")
        return _Contents(read_head(connection), answers, frozenset(name for (name,) in phases))
    except apsw.Error:
        return None
    finally:
        connection.close()


def _whole(path: Path, good: Backup | None) -> Head | None:
    """Return the head of a file whose every row is right; it must continue the newest backup."""
    if _absent(path) or damage_in(path) is not None:
        return None
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        witnessed = _witnessed(path.parent)
        head = read_head(connection)
        for known in (good.head if good else None, witnessed):
            if known and known.seq <= head.seq and chain_at(connection, known.seq) != known.chain:
                return None
        return None if good and good.head.seq > head.seq else head
    finally:
        connection.close()


def _absent(path: Path) -> bool:
    return not path.exists() or not path.stat().st_size


def _newest_good(directory: Path) -> Backup | None:
    for backup in backups(directory):
        try:
            backup.check()
        except (JournalDamagedError, OSError):
            continue
        return backup
    return None


def _witnessed(directory: Path) -> Head | None:
    try:
        return read_witness(directory / WITNESS_NAME)
    except JournalDamagedError:
        return None


def _free_name(directory: Path) -> str:
    number = 1
    while (directory / f"damaged-{number}").exists():
        number += 1
    return f"damaged-{number}"


def _read_note(directory: Path) -> dict[str, Any]:
    path = directory / SUSPECT_NAME
    try:
        note = json.loads(path.read_text("utf-8"))
        if isinstance(note["reason"], str) and _is_ours(note.get("restored")):
            return dict(note)
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError):
        pass  # somebody else's, or torn: suspicion is all that it says
    return {"reason": "the journal was under suspicion"}


def _is_ours(restored: dict[str, Any] | None) -> bool:
    """Whether a note's plan is one of ours: it moves files, so it may name none elsewhere."""
    if not restored:
        return True
    plan = Restored(**restored)
    beside = plan.backup is None or not set(plan.backup) & {"/", "\\", ":"}
    return beside and re.fullmatch(r"damaged-\d+", plan.set_aside) is not None


def _write_note(directory: Path, note: dict[str, Any]) -> None:
    write_atomic(directory / SUSPECT_NAME, json.dumps(note, ensure_ascii=False) + "\n")
