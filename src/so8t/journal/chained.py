"""A SQLite file whose rows are links of one chain: durable commits, a witness, no second chance.

What the rows mean is `store`'s business.
"""

from __future__ import annotations

import errno
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Self

import apsw

from so8t.errors import IncompleteError, JournalDamagedError, JournalError
from so8t.journal.backup import Backup, backups, write_backup
from so8t.journal.chain import (
    UNREADABLE,
    Head,
    check_run_record,
    check_witness,
    follow,
    link,
    one_moment,
    read_head,
    verify_chain,
    write_witness,
)
from so8t.journal.check import BackgroundCheck
from so8t.journal.connect import BUSY_MILLISECONDS, connect, is_open
from so8t.journal.migrations import CHAINED
from so8t.system.files import make_directory, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

FILE_NAME = "journal.sqlite"
WITNESS_NAME = "journal.witness"
#: Names what is wrong with the journal, for the next start to mend before anything else.
SUSPECT_NAME = "journal.suspect"
_WITNESS_EVERY = 256
_CHECKPOINT_MILLISECONDS = 500
_STORAGE_FAILED = (apsw.IOError, apsw.ReadOnlyError, apsw.CantOpenError, apsw.CorruptError)

# What reading raises at rows that are not what was written.
_STUMBLED = (*UNREADABLE, ValueError, KeyError, TypeError, IndexError)

_INSERT = {
    table: f"INSERT INTO {table} ({', '.join(columns)}, chain) "  # noqa: S608 - our own names
    f"VALUES ({', '.join('?' * (len(columns) + 1))})"
    for table, columns in CHAINED.items()
}


class ChainedFile:
    """The file of one journal, open for reading or for writing."""

    def __init__(
        self,
        directory: Path,
        *,
        readonly: bool = False,
        check: bool = True,
        vfs: str | None = None,
        guard: Callable[[], None] | None = None,
    ) -> None:
        """Open the file in `directory`, created if absent unless `readonly`.

        `check` compares it with its witness; who verifies all of it does that there. `guard` is
        asked before each commit, and raises where this process may not write any more.

        Raises JournalNewerError, JournalError (damage, missing rows), PrerequisiteError (none to
        read).
        """
        self.directory = directory
        self.path = directory / FILE_NAME
        self._witness = directory / WITNESS_NAME
        self._readonly = readonly
        self._guard = guard
        if not readonly:
            make_directory(directory)
        try:
            self._connection = connect(self.path, readonly=readonly, vfs=vfs)
        except JournalDamagedError as error:
            self._hint(error, readable=False)
            raise
        self._log = self.path.with_name(f"{FILE_NAME}-wal")
        self._inode, self._log_inode = _inode(self.path), _inode(self._log)
        self._broken: str | None = None
        try:
            witness = check_witness(self._witness, self._connection) if check else None
            if check:
                check_run_record(self._connection)
            if witness is not None and not readonly:
                # What came after the witness is vouched for by its links alone: a few hundred
                # rows. All of them are recomputed after an unclean stop (see `restore`).
                follow(self._connection, witness)
            self._head = read_head(self._connection)
        except UNREADABLE as error:
            self._connection.close()
            damage = JournalDamagedError(f"{self.path} is damaged: {error}")
            self._hint(damage, readable=False)
            raise damage from error
        except apsw.Error as error:
            self._connection.close()
            raise JournalError(f"{self.path} cannot be read: {error}") from error
        except JournalError as error:
            self._connection.close()
            self._hint(error)
            raise
        self._witnessed = self._head.seq
        self._check: BackgroundCheck | None = None
        self._when_checked: Callable[[], None] = lambda: None

    @property
    def usable(self) -> bool:
        """Whether the journal can still be written (no failed fsync, no vanished file)."""
        return self._broken is None

    @property
    def connection(self) -> apsw.Connection:
        """The open file, for what reads it as rows: verification, backups."""
        return self._connection

    @property
    def head(self) -> Head:
        """The newest link of the chain."""
        return read_head(self._connection)

    def verify(self) -> Head:
        """Recompute the whole chain. Raises JournalDamagedError naming the first wrong row."""
        try:
            return verify_chain(self._connection)
        except JournalDamagedError as error:
            self._hint(error)
            raise

    def _hint(self, error: JournalError, *, readable: bool = True) -> None:
        """Say what a person can type against damage; `verify` needs a file that can be opened."""
        if not isinstance(error, JournalDamagedError):
            return
        if next(backups(self.directory), None) is not None:
            error.hint = f"so8t run {self.directory} goes back to its newest good backup"
        elif readable:
            error.hint = "there is no backup: so8t run --fresh ... starts anew, this run is kept"
        if readable:
            error.hint = f"so8t verify {self.directory} says all that is wrong; {error.hint}"

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """Read everything within as it was at one moment, while another process may write on.

        Raises JournalDamagedError for a file that cannot be read.
        """
        try:
            with one_moment(self._connection):
                yield
        except JournalDamagedError as error:
            self._hint(error)
            raise

    def check_beside(self, when_whole: Callable[[], None]) -> None:
        """Verify every row in another process while this one goes on.

        `when_whole` is called once nothing was found. Damage ends the run with IncompleteError
        at its next witness, and the next start mends it.
        """
        self._check = BackgroundCheck(self.path)
        self._when_checked = when_whole

    def _hear_check(self) -> None:
        found = self._check.result() if self._check is not None else None
        if found is None:
            return
        self._check = None
        if not found:
            self._when_checked()
            return
        write_atomic(self.directory / SUSPECT_NAME, json.dumps({"reason": found}) + "\n")
        raise IncompleteError(
            f"{self.path} was found damaged while the run went on: {found}",
            hint="the same command goes back to the newest good state and goes on from there",
        )

    def abandon(self) -> None:
        """Close a journal that is damaged, leaving its files as they are."""
        self._broken = "it is damaged"
        self.close()

    def witness(self) -> None:
        """Write count and head of the chain outside the database, and shorten the WAL."""
        self._check_usable()
        self._hear_check()
        if self._head.seq != self._witnessed:
            try:
                write_witness(self._witness, self._head)
            except OSError as error:
                # A full disk: the witness stays behind, which it may; the next commit says so.
                if error.errno != errno.ENOSPC:
                    raise
                return
            self._witnessed = self._head.seq
        self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)

    def secure(self) -> Backup | None:
        """Make what is committed survive damage to the file: witness, empty WAL, a backup.

        Returns the backup, None where the disk has no room for one; the journal itself is as
        durable as before then.
        """
        self.witness()
        self._empty_log()
        newest = next(backups(self.directory), None)
        if newest is not None and newest.head == self._head:
            return newest
        try:
            return write_backup(self._connection, self.directory)
        except apsw.FullError:
            return None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return None

    def _empty_log(self) -> None:
        """Move the write-ahead log into the file; one flipped byte in it would cost all of it."""
        # A reader at work is waited for shortly, not for the time of an ordinary lock.
        self._connection.set_busy_timeout(_CHECKPOINT_MILLISECONDS)
        try:
            self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except (apsw.BusyError, apsw.LockedError):
            self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
        finally:
            self._connection.set_busy_timeout(BUSY_MILLISECONDS)

    def _checkpoint(self, mode: int) -> None:
        try:
            self._connection.wal_checkpoint(mode=mode)
        except apsw.FullError:
            return  # the log keeps what the file has no room for
        except _STORAGE_FAILED as error:
            self._fail(error)

    def _witness_now_and_then(self) -> None:
        if self._head.seq - self._witnessed >= _WITNESS_EVERY:
            self.witness()

    def close(self) -> None:
        """Close the file; a writer leaves a witness and an empty WAL. Safe to call twice."""
        if self._check is not None:
            # Unfinished, it stays due: the next start begins it again.
            self._check.close()
            self._check = None
        writable = not self._readonly and self._broken is None and is_open(self._connection)
        if writable and _inode(self.path) == self._inode:
            self.witness()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it; a reader that stumbled over a row that was changed says so."""
        try:
            if self._readonly and isinstance(error, _STUMBLED):
                self.verify()  # where every row is what was written, the error is another one
        finally:
            self.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One commit. On any failure nothing of it is kept, and the head is as before."""
        self._check_usable()
        before = self._head
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._check_alone()
            yield
            self._connection.execute(
                "INSERT INTO head VALUES (1, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, chain = excluded.chain",
                (self._head.seq, self._head.chain),
            )
            self._connection.execute("COMMIT")
            self._check_log()
        except BaseException as error:
            self._head = before
            self._undo(error)
            raise

    def _undo(self, error: BaseException) -> None:
        """Roll back, and say what a storage error means. Raises the error that explains it."""
        if isinstance(error, _STORAGE_FAILED):
            self._fail(error)
        # SQLite rolls back by itself on some errors, a full disk among them.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if isinstance(error, apsw.FullError):
            raise IncompleteError(
                f"the disk that holds {self.path} is full. Everything committed is kept.",
                hint="make room, then run the same command again",
            ) from error

    def _fail(self, error: Exception) -> NoReturn:
        # After a failed fsync nobody knows what is on the disk: this handle is not used again.
        self._broken = str(error)
        raise JournalError(
            f"{self.path} could not be written: {error}. Nothing was claimed that is not kept.",
            hint="check the disk, then run the same command again",
        ) from error

    def _check_usable(self) -> None:
        if self._broken is not None:
            raise JournalError(f"{self.path} failed before ({self._broken}) and is not used again.")
        if _inode(self.path) != self._inode:
            # SQLite would go on acknowledging commits to a file that nobody can open any more.
            self._broken = "the file was removed or replaced"
            raise JournalError(
                f"{self.path} was removed or replaced while the run was writing to it.",
                hint="put the directory back, or start the run again from the beginning",
            )
        self._check_log()
        if self._guard is not None:
            try:
                self._guard()
            except IncompleteError as error:
                self._broken = error.message
                raise

    def _check_alone(self) -> None:
        """Stop where another process wrote to the chain: two heads make one broken chain."""
        if read_head(self._connection) == self._head:
            return
        self._broken = "another process wrote to it"
        raise IncompleteError(
            f"another process wrote to {self.path} while the run was going on.",
            hint="end that process, then run the same command again",
        )

    def _check_log(self) -> None:
        """Stop where the write-ahead log was deleted: what is committed into it would be gone.

        What it holds is moved into the file first. Nothing is acknowledged after that.
        """
        if _inode(self._log) == self._log_inode:
            return
        self._broken = "its write-ahead log was removed"
        kept = "All that was committed was moved into the file"
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)
        except apsw.Error as error:
            kept = f"What was committed since could not be moved into the file ({error})"
        raise IncompleteError(
            f"{self._log} was removed or replaced while the run was writing to it. {kept}.",
            hint="leave the files beside a journal alone, then run the same command again",
        )

    def _append(self, table: str, *values: Any) -> int:
        seq = self._head.seq + 1
        chain = link(self._head.chain, table, (seq, *values))
        self._connection.execute(_INSERT[table], (seq, *values, chain))
        self._head = Head(seq, chain)
        return seq


def _inode(path: Path) -> int | None:
    """Tell one file of a name from the next; None where there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
