"""The chain that makes a lost, changed or moved row visible, and its witness outside."""

from __future__ import annotations

import hashlib
import heapq
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from so8t.domain.canonical import canonical_json
from so8t.errors import JournalError
from so8t.journal.migrations import CHAINED
from so8t.system.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import apsw

GENESIS = "so8t-journal-v1"


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


def walk(connection: apsw.Connection) -> Iterator[tuple[str, tuple[Any, ...], str]]:
    """Yield (table, values, chain) of every chained row in the order of `seq`."""

    def rows(table: str) -> Iterator[tuple[int, str, tuple[Any, ...], str]]:
        columns = ", ".join(CHAINED[table])
        for row in connection.execute(f"SELECT {columns}, chain FROM {table} ORDER BY seq"):  # noqa: S608 - our own names
            yield row[0], table, row[:-1], row[-1]

    for _, table, values, chain in heapq.merge(*(rows(table) for table in CHAINED)):
        yield table, values, chain


def verify_chain(connection: apsw.Connection) -> Head:
    """Check the file's structure and recompute every link.

    Raises JournalError naming the first row that does not fit. SQLite's own check comes first:
    a damaged index can hide rows from a query while the table, and so the chain, is whole.
    """
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != ("ok",):
        raise JournalError(f"the journal's file is damaged: {found}")
    previous = Head(0, GENESIS)
    for table, values, chain in walk(connection):
        seq = values[0]
        if seq != previous.seq + 1:
            raise JournalError(f"the journal lacks row {previous.seq + 1}; {table} {seq} follows.")
        if link(previous.chain, table, values) != chain:
            raise JournalError(
                f"row {seq} of the journal ({table}) was changed after it was written."
            )
        previous = Head(seq, chain)
    head = read_head(connection)
    if head != previous:
        raise JournalError(
            f"the journal ends at row {previous.seq}, its head says {head.seq}: rows are missing."
        )
    return head


def write_witness(path: Path, head: Head) -> None:
    """Keep count and head outside the database, where damage to its files cannot reach."""
    write_atomic(path, json.dumps(asdict(head)) + "\n")


def check_witness(path: Path, connection: apsw.Connection) -> None:
    """Compare the witness with the journal.

    The witness may be behind (it is written now and then) but never ahead, and the row that it
    names must have the digest that it names. Raises JournalError otherwise.
    """
    if not path.exists():
        return
    try:
        witness = Head(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise JournalError(f"{path} is no witness file: {error}") from error
    head = read_head(connection)
    if witness.seq > head.seq:
        raise JournalError(
            f"the journal has {head.seq} rows, but {witness.seq} were witnessed in {path}: "
            f"{witness.seq - head.seq} committed rows are lost.",
            hint="check the disk; restore the run's directory from a backup, or start a new run",
        )
    if _chain_at(connection, witness.seq) != witness.chain:
        raise JournalError(
            f"row {witness.seq} of the journal is not the one that was witnessed in {path}."
        )


def _chain_at(connection: apsw.Connection, seq: int) -> str:
    for table in CHAINED:
        row = connection.execute(f"SELECT chain FROM {table} WHERE seq = ?", (seq,)).fetchone()  # noqa: S608 - our own names
        if row:
            return str(row[0])
    return GENESIS
