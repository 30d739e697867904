"""A SQLite file whose rows are links of one chain: durable commits, a witness, no second chance.

What the rows mean is `store`'s business.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import apsw

from so8t.errors import IncompleteError, JournalError
from so8t.journal.chain import (
    Head,
    check_witness,
    link,
    read_head,
    verify_chain,
    write_witness,
)
from so8t.journal.connect import connect
from so8t.journal.migrations import CHAINED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_NAME = "journal.sqlite"
WITNESS_NAME = "journal.witness"
_WITNESS_EVERY = 256
_STORAGE_FAILED = (apsw.IOError, apsw.ReadOnlyError, apsw.CantOpenError, apsw.CorruptError)

_INSERT = {
    table: f"INSERT INTO {table} ({', '.join(columns)}, chain) "  # noqa: S608 - our own names
    f"VALUES ({', '.join('?' * (len(columns) + 1))})"
    for table, columns in CHAINED.items()
}


class ChainedFile:
    """The file of one journal, open for reading or for writing."""

    def __init__(self, directory: Path, *, readonly: bool = False, vfs: str | None = None) -> None:
        """Open the file in `directory`, created if absent unless `readonly`.

        Raises JournalNewerError, JournalError (damage, missing rows), PrerequisiteError (none to
        read).
        """
        self.directory = directory
        self.path = directory / FILE_NAME
        self._witness = directory / WITNESS_NAME
        self._readonly = readonly
        if not readonly:
            directory.mkdir(parents=True, exist_ok=True)
        self._connection = connect(self.path, readonly=readonly, vfs=vfs)
        self._inode = self.path.stat().st_ino
        self._broken: str | None = None
        try:
            check_witness(self._witness, self._connection)
        except JournalError:
            self._connection.close()
            raise
        self._head = read_head(self._connection)
        self._witnessed = self._head.seq

    @property
    def usable(self) -> bool:
        """Whether the journal can still be written (no failed fsync, no vanished file)."""
        return self._broken is None

    @property
    def head(self) -> Head:
        """The newest link of the chain."""
        return read_head(self._connection)

    def verify(self) -> Head:
        """Recompute the whole chain. Raises JournalError naming the first row that is wrong."""
        return verify_chain(self._connection)

    def witness(self) -> None:
        """Write count and head of the chain outside the database, and shorten the WAL."""
        if self._head.seq != self._witnessed:
            try:
                write_witness(self._witness, self._head)
            except OSError as error:
                # A full disk: the witness stays behind, which it may; the next commit says so.
                if error.errno != errno.ENOSPC:
                    raise
                return
            self._witnessed = self._head.seq
        self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _witness_now_and_then(self) -> None:
        if self._head.seq - self._witnessed >= _WITNESS_EVERY:
            self.witness()

    def close(self) -> None:
        """Close the file; a writer leaves a witness and an empty WAL. Safe to call twice."""
        if not self._readonly and self._broken is None and self._is_open():
            self.witness()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _is_open(self) -> bool:
        try:
            self._connection.db_filename("main")
        except apsw.ConnectionClosedError:
            return False
        return True

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One commit. On any failure nothing of it is kept, and the head is as before."""
        self._check_usable()
        before = self._head
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute(
                "INSERT INTO head VALUES (1, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, chain = excluded.chain",
                (self._head.seq, self._head.chain),
            )
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._head = before
            self._undo(error)
            raise

    def _undo(self, error: BaseException) -> None:
        """Roll back, and say what a storage error means. Raises the error that explains it."""
        if isinstance(error, _STORAGE_FAILED):
            # After a failed fsync nobody knows what is on the disk: this handle is not used again.
            self._broken = str(error)
            raise JournalError(
                f"{self.path} could not be written: {error}. Nothing was claimed that is not kept.",
                hint="check the disk, then run the same command again",
            ) from error
        # SQLite rolls back by itself on some errors, a full disk among them.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if isinstance(error, apsw.FullError):
            raise IncompleteError(
                f"the disk that holds {self.path} is full. Everything committed is kept.",
                hint="make room, then run the same command again",
            ) from error

    def _check_usable(self) -> None:
        if self._broken is not None:
            raise JournalError(f"{self.path} failed before ({self._broken}) and is not used again.")
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            inode = None
        if inode != self._inode:
            # SQLite would go on acknowledging commits to a file that nobody can open any more.
            self._broken = "the file was removed or replaced"
            raise JournalError(
                f"{self.path} was removed or replaced while the run was writing to it.",
                hint="put the directory back, or start the run again from the beginning",
            )

    def _append(self, table: str, *values: Any) -> int:
        seq = self._head.seq + 1
        chain = link(self._head.chain, table, (seq, *values))
        self._connection.execute(_INSERT[table], (seq, *values, chain))
        self._head = Head(seq, chain)
        return seq
