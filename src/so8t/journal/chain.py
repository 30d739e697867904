"""The chain that makes a lost, changed or moved row visible, and its witness outside."""

from __future__ import annotations

import hashlib
import heapq
import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import apsw

from so8t.domain.canonical import canonical_json, digest_of
from so8t.domain.events import EventKind
from so8t.errors import JournalDamagedError
from so8t.journal.migrations import CHAINED, JOURNAL, RUN_COLUMNS
from so8t.system.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

GENESIS = "so8t-journal-v1"
#: What reading raises where a file's structure, its schema or a text in it is destroyed.
UNREADABLE = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, UnicodeDecodeError)


def link(previous: str, table: str, values: Sequence[Any]) -> str:
    """Digest of one row and of the link before it (hex SHA-256)."""
    text = f"{previous}\n{canonical_json([table, *values])}"
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Head:
    """The newest link: how many rows there are, and the digest of the last."""

    seq: int
    chain: str


def read_head(connection: apsw.Connection) -> Head:
    """Read the chain's head as the journal holds it."""
    row = connection.execute("SELECT seq, chain FROM head").fetchone()
    return Head(*row) if row else Head(0, GENESIS)


def walk(connection: apsw.Connection, after: int = 0) -> Iterator[tuple[str, tuple[Any, ...], str]]:
    """Yield (table, values, chain) of the chained rows beyond `after` in the order of `seq`."""

    def rows(table: str) -> Iterator[tuple[int, str, tuple[Any, ...], str]]:
        columns = ", ".join(CHAINED[table])
        for row in connection.execute(
            f"SELECT {columns}, chain FROM {table} WHERE seq > ? ORDER BY seq",  # noqa: S608 - our own names
            (after,),
        ):
            yield row[0], table, row[:-1], row[-1]

    for _, table, values, chain in heapq.merge(*(rows(table) for table in _tables(connection))):
        yield table, values, chain


def _tables(connection: apsw.Connection) -> list[str]:
    """Name the chained tables that the file has: an earlier version had fewer."""
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    return [table for table in CHAINED if table in there]


def verify_chain(connection: apsw.Connection) -> Head:
    """Check the file's structure, its schema and the run's record, and recompute every link.

    This is what "whole" means, to a start, to `verify`, to a restore and of a backup alike.

    Raises JournalDamagedError naming the first thing that does not fit. SQLite's own check comes
    first: a damaged index can hide rows from a query while the table, and so the chain, is whole.
    """
    with one_moment(connection):
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != ("ok",):
            raise JournalDamagedError(f"the journal's file is damaged: {found}")
        JOURNAL.check_schema(connection)
        head = follow(connection, Head(0, GENESIS))
        check_run_record(connection)
        return head


def check_run_record(connection: apsw.Connection) -> None:
    """Compare the run's own record (its config) with the digest that the chain holds of it.

    Raises JournalDamagedError where it is not the one that was written.
    """
    columns = ", ".join(RUN_COLUMNS)
    try:
        rows = connection.execute(f"SELECT {columns} FROM run").fetchall()  # noqa: S608 - our own names
        told = connection.execute("SELECT data FROM event WHERE kind = ?", (EventKind.RUN_CREATED,))
        created = [json.loads(data)["row"] for (data,) in told]
    except (*UNREADABLE, ValueError, KeyError, TypeError) as error:
        raise JournalDamagedError(f"the run's own record is damaged: {error}") from error
    if created != [digest_of(row) for row in rows]:
        raise JournalDamagedError(
            "the run's own record (its config) was changed after it was written."
        )


def follow(connection: apsw.Connection, start: Head) -> Head:
    """Recompute the links beyond `start` up to the head, and return the head.

    Raises JournalDamagedError naming the first row that does not fit.
    """
    previous = start
    with one_moment(connection):
        for table, values, chain in walk(connection, start.seq):
            seq = values[0]
            if seq != previous.seq + 1:
                raise JournalDamagedError(
                    f"the journal lacks row {previous.seq + 1}; {table} {seq} follows."
                )
            if link(previous.chain, table, values) != chain:
                raise JournalDamagedError(
                    f"row {seq} of the journal ({table}) was changed after it was written."
                )
            previous = Head(seq, chain)
        head = read_head(connection)
    if head != previous:
        raise JournalDamagedError(
            f"the journal ends at row {previous.seq}, its head says {head.seq}: rows are missing."
        )
    return head


@contextmanager
def one_moment(connection: apsw.Connection) -> Iterator[None]:
    """Read everything within as it was at one moment, while another process may write on."""
    nested = connection.in_transaction
    try:
        if not nested:
            connection.execute("BEGIN")
        try:
            yield
        finally:
            if not nested and connection.in_transaction:
                connection.execute("COMMIT")
    except UNREADABLE as error:
        raise JournalDamagedError(f"the journal's file is damaged: {error}") from error


def write_witness(path: Path, head: Head) -> None:
    """Keep count and head outside the database, where damage to its files cannot reach."""
    write_atomic(path, json.dumps(asdict(head)) + "\n")


def read_witness(path: Path) -> Head | None:
    """Return what was witnessed, None without a witness.

    Raises JournalDamagedError for a file that is no witness.
    """
    if not path.exists():
        return None
    try:
        return Head(**json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise JournalDamagedError(f"{path} is no witness file: {error}") from error


def check_witness(path: Path, connection: apsw.Connection) -> Head | None:
    """Compare the witness with the journal, and return it.

    The witness may be behind (it is written now and then) but never ahead, and the row that it
    names must have the digest that it names. Raises JournalDamagedError otherwise.
    """
    witness = read_witness(path)
    if witness is None:
        return None
    head = read_head(connection)
    if witness.seq > head.seq:
        raise JournalDamagedError(
            f"the journal has {head.seq} rows, but {witness.seq} were witnessed in {path}: "
            f"{witness.seq - head.seq} committed rows are lost."
        )
    if chain_at(connection, witness.seq) != witness.chain:
        raise JournalDamagedError(
            f"row {witness.seq} of the journal is not the one that was witnessed in {path}."
        )
    return witness


def chain_at(connection: apsw.Connection, seq: int) -> str | None:
    """Return the digest of row `seq`, None where there is no such row."""
    for table in _tables(connection):
        row = connection.execute(f"SELECT chain FROM {table} WHERE seq = ?", (seq,)).fetchone()  # noqa: S608 - our own names
        if row:
            return str(row[0])
    return GENESIS if seq == 0 else None
