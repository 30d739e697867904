"""Copies of a journal beside it, made whole or not at all, the newest few kept.

A backup is SQLite's own online copy, in one file without a write-ahead log. Beside it stands a
witness of its own: how many rows, the newest link, and the digest of the file's bytes, so that a
damaged backup is known as one before anything rests on it.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from so8t.errors import JournalDamagedError
from so8t.journal.chain import Head, read_head, verify_chain
from so8t.system.files import atomic_file, file_digest, remove_file, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY = "backups"
KEPT = 3
_PAGES_A_STEP = 4096


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup: its file, the newest link in it, and the digest of its bytes."""

    path: Path
    head: Head
    digest: str

    def check(self) -> None:
        """Verify bytes, structure and chain. Raises JournalDamagedError with what is wrong."""
        if file_digest(self.path) != self.digest:
            raise JournalDamagedError(f"{self.path} was changed after it was written.")
        with self.connected() as connection:
            if verify_chain(connection) != self.head:
                raise JournalDamagedError(f"{self.path} is not the backup that was witnessed.")

    @contextmanager
    def connected(self) -> Iterator[apsw.Connection]:
        """Open it for reading; nothing is made beside a backup by looking at it."""
        connection = apsw.Connection(
            f"{self.path.absolute().as_uri()}?immutable=1",
            flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
        )
        try:
            yield connection
        finally:
            connection.close()


def write_backup(source: apsw.Connection, directory: Path) -> Backup:
    """Copy the journal behind `source` into `directory`/backups, and drop all but the newest few.

    The copy appears under its name when it is whole and on the disk, its witness after it: a
    backup without a witness is one that was interrupted, and does not count. Call it on the
    connection that writes, outside a transaction.

    Raises apsw.FullError or OSError where the disk has no room.
    """
    head = read_head(source)
    path = directory / DIRECTORY / f"journal-{head.seq:012d}.sqlite"
    with atomic_file(path) as partial:
        copy = apsw.Connection(str(partial))
        try:
            # `atomic_file` writes the whole through to the disk; on the way there is no need to.
            copy.pragma("synchronous", 0)
            with copy.backup("main", source, "main") as copying:
                while not copying.done:
                    copying.step(_PAGES_A_STEP)
            # One file that can be read anywhere, without a log beside it.
            copy.pragma("journal_mode", "delete")
        finally:
            copy.close()
        digest = file_digest(partial)
    backup = Backup(path, head, digest)
    write_atomic(_witness(path), json.dumps(asdict(head) | {"digest": digest}) + "\n")
    _prune(directory)
    return backup


def backups(directory: Path) -> Iterator[Backup]:
    """Yield the backups of the journal in `directory`, newest first, unchecked.

    One whose witness is absent or unreadable is left out.
    """
    for path in _files(directory):
        try:
            told = json.loads(_witness(path).read_text("utf-8"))
            yield Backup(path, Head(told["seq"], told["chain"]), told["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            continue


def _files(directory: Path) -> list[Path]:
    return sorted((directory / DIRECTORY).glob("journal-*.sqlite"), reverse=True)


def _witness(path: Path) -> Path:
    return path.with_suffix(".witness")


def _prune(directory: Path) -> None:
    whole = [path for path in _files(directory) if _witness(path).exists()]
    for path in _files(directory):
        if path not in whole[:KEPT]:
            # The witness first: without it the file does not count any more.
            remove_file(_witness(path))
            remove_file(path)
