"""The audit log of /think: one row a request, none of its words, chained by a key.

Its own SQLite file. Each row carries HMAC-SHA256 of itself and of the row before it under a key
that is not in the database, so that who can write the file but not read the key can change nothing
unseen. Count and head go to a witness file after every row: a chain cannot show that its own end
was cut off.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Self

import apsw

from so8t.domain.canonical import canonical_json
from so8t.errors import IncompleteError, JournalDamagedError, JournalError
from so8t.journal.audit_placement import MOST, Stray, same, written_as
from so8t.journal.chain import Head, read_witness, write_witness
from so8t.journal.connect import connect
from so8t.journal.schema import DatabaseForm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_NAME = "audit.sqlite"
WITNESS_NAME = "audit.witness"
_GENESIS = "so8t-audit-v1"
_TABLES = """
CREATE TABLE request (
    seq INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    monotonic REAL NOT NULL,
    id TEXT NOT NULL UNIQUE,
    outcome TEXT NOT NULL,
    label TEXT NOT NULL CHECK (label IN ('ALLOW', 'ESCALATE', 'REFUSE')),
    reason TEXT,
    query TEXT NOT NULL,
    thinking TEXT,
    answer TEXT,
    model TEXT NOT NULL,
    engine TEXT NOT NULL,
    seconds REAL NOT NULL,
    mac TEXT NOT NULL
) STRICT;
"""
# "SO8A": an audit log is not taken for a journal, nor a journal for one.
_FORM = DatabaseForm(0x534F3841, (_TABLES,))


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One request.

    Attributes:
        at: wall clock, ISO 8601.
        monotonic: seconds of a clock that never jumps, within one start of the machine.
        id: the request's own, also in its response.
        outcome: answered, refused, failed or timeout.
        label: what left with it: ALLOW, ESCALATE or REFUSE.
        reason: why nothing was answered, as a word.
        query: keyed hash of what was asked.
        thinking: keyed hash of the thinking, None where the model said nothing.
        answer: keyed hash of what the client got.
        model: digest of the model.
        engine: name and version.
        seconds: from acceptance to the answer.

    """

    at: str
    monotonic: float
    id: str
    outcome: str
    label: str
    reason: str | None
    query: str
    thinking: str | None
    answer: str | None
    model: str
    engine: str
    seconds: float


_COLUMNS = ", ".join(("seq", *(field.name for field in fields(AuditRow))))
_SELECT = f"SELECT {_COLUMNS}, mac FROM request ORDER BY seq"  # noqa: S608 - our own names
_INSERT = f"INSERT INTO request ({_COLUMNS}, mac) VALUES ({', '.join('?' * 14)})"  # noqa: S608 - our own names


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """A place where the log is not as it was written; `row` None for the witness or the file."""

    row: int | None
    what: str


def keyed_hash(key: bytes, purpose: str, text: str) -> str:
    """HMAC-SHA256 of a text (hex); equal texts of two purposes have different hashes.

    A plain digest would let anyone try likely texts: a six-digit number in a known sentence was
    found in 0.8 s.
    """
    said = f"{purpose}\0{text}".encode(errors="surrogatepass")
    return hmac.new(key, said, hashlib.sha256).hexdigest()


def _link(key: bytes, previous: str, values: tuple[object, ...]) -> str:
    return keyed_hash(key, "so8t-audit-row", f"{previous}\n{canonical_json(list(values))}")


class AuditLog:
    """The log in `directory`, open for adding rows. Use from one thread at a time."""

    def __init__(self, directory: Path, key: bytes, *, witness: Path | None = None) -> None:
        """Open or begin the log.

        `witness` is where count and head are written (default: beside the log).

        Raises JournalDamagedError where its end is not what the witness and the key say.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = directory / FILE_NAME
        self.witness = witness or directory / WITNESS_NAME
        self._key = key
        self._connection = connect(self.path, form=_FORM)
        self._inode = self.path.stat().st_ino
        self._broken: str | None = None
        try:
            self._head = self._checked_head()
            if not self._head.seq and not self.witness.exists():
                # Before the first row, so that a log without a witness is one that has lost it.
                write_witness(self.witness, self._head)
        except JournalError:
            self._connection.close()
            raise

    def _checked_head(self) -> Head:
        rows = list(
            self._connection.execute(f"SELECT * FROM ({_SELECT} DESC LIMIT 2) ORDER BY seq")  # noqa: S608 - our own names
        )
        head = Head(rows[-1][0], rows[-1][-1]) if rows else Head(0, _GENESIS)
        witness = read_witness(self.witness)
        previous = rows[0][-1] if len(rows) > 1 else _GENESIS
        fits = not rows or same(_link(self._key, previous, rows[-1][:-1]), head.chain)
        seen = witness is None or witness == head or witness.seq < head.seq
        if not (fits and seen):
            raise JournalDamagedError(
                f"the end of {self.path} is not what {'the witness' if fits else 'the key'} says, "
                "so nothing is added to it.",
                hint="so8t audit verify says which rows are wrong; set the log aside to begin anew",
            )
        return head

    @property
    def head(self) -> Head:
        """Count and newest link."""
        return self._head

    @property
    def usable(self) -> bool:
        """Whether rows can still be added, as far as is known."""
        return self._broken is None and self._in_place()

    def append(self, row: AuditRow) -> int:
        """Add one row, durably; return its number. It is witnessed when this returns.

        Raises IncompleteError for a full disk (a later try may work), JournalError when the file
        can no longer be trusted to keep anything.
        """
        if not self.usable:
            raise JournalError(
                f"{self.path} cannot be written: {self._broken or 'it was removed or replaced'}.",
                hint="check the disk, then start again",
            )
        values = (self._head.seq + 1, *astuple(row))
        mac = _link(self._key, self._head.chain, values)
        try:
            self._connection.execute(_INSERT, (*values, mac))
        except apsw.FullError as error:
            raise self._full() from error
        except apsw.Error as error:
            # After a failed fsync nobody knows what is on the disk.
            self._broken = str(error)
            raise JournalError(f"{self.path} could not be written: {error}.") from error
        self._head = Head(values[0], mac)
        try:
            write_witness(self.witness, self._head)
        except OSError as error:
            raise self._full() from error
        return self._head.seq

    def _full(self) -> IncompleteError:
        return IncompleteError(
            f"the disk that holds {self.path} or its witness takes no more.", hint="make room"
        )

    def _in_place(self) -> bool:
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def verify_audit(
    directory: Path, key: bytes, *, witness: Path | None = None
) -> tuple[int, list[AuditFinding]]:
    """Recompute every link; return the number of rows and all that is wrong, row by row.

    Changes nothing. Raises PrerequisiteError where there is no log.
    """
    connection = connect(directory / FILE_NAME, readonly=True, form=_FORM)
    try:
        structure = connection.execute("PRAGMA integrity_check(1)").fetchone()
        found = (
            []
            if structure == ("ok",)
            else [AuditFinding(None, f"the file is damaged: {structure}")]
        )
        found += _check_schema(connection)
        links, strays, gaps = _follow(connection, key)
    except (apsw.Error, UnicodeDecodeError) as error:
        raise JournalDamagedError(f"{directory / FILE_NAME} cannot be read: {error}") from error
    finally:
        connection.close()
    place = witness or directory / WITNESS_NAME
    seen, last = read_witness(place), max(links, default=0)
    ends = range(last + 1, seen.seq + 1) if seen is not None else range(0)
    found += _misplaced(links, strays, gaps, ends, key)
    found += _check_witness(place, links)
    return len(links), found


def _follow(
    connection: apsw.Connection, key: bytes
) -> tuple[dict[int, str], list[Stray], list[range]]:
    """Return each row's MAC, the rows whose link does not hold, and the numbers without a row."""
    links: dict[int, str] = {}
    strays: list[Stray] = []
    gaps: list[range] = []
    previous, expected = _GENESIS, 1
    for row in connection.execute(_SELECT):
        seq, mac = row[0], row[-1]
        whole = same(_link(key, previous, row[:-1]), mac)
        if seq != expected:
            gaps.append(range(expected, seq))
        if seq != expected or not whole:
            # More than can be placed need not be kept: with another key that is all of the log.
            values = row[1:-1] if len(strays) <= MOST else ()
            strays.append(Stray(seq, values, mac, previous, behind_gap=seq != expected))
        links[seq] = mac
        previous, expected = mac, seq + 1
    return links, strays, gaps


def _misplaced(
    links: dict[int, str], strays: list[Stray], gaps: list[range], ends: range, key: bytes
) -> list[AuditFinding]:
    """Name what is missing and what is not the row that was written in its place.

    `ends` are the numbers that were witnessed beyond the last row.
    """
    few = sum(map(len, (strays, ends, *gaps))) <= MOST
    missing = [number for gap in (*gaps, ends) for number in gap] if few else []
    origins = (
        written_as(strays, missing, links, lambda mac, row: _link(key, mac, row), _GENESIS)
        if few
        else {}
    )
    at = {stray.place for stray in strays}
    # The row that was written before another one is known by its link, here or elsewhere.
    known = {0, *origins.values(), *(links.keys() - at)}
    found = []
    for gap in gaps:
        what = "row {0} is" if len(gap) == 1 else "rows {0} to {1} are"
        said = f"removed: {what.format(gap[0], gap[-1])} missing before row {gap.stop}"
        said += "" if gap[-1] in known else ", which cannot be checked without"
        found.append(AuditFinding(gap[0], said))
    for stray in strays:
        origin = origins.get(stray.place)
        if origin == stray.place:
            continue
        if origin is not None:
            found.append(AuditFinding(stray.place, f"moved: it was written as row {origin}"))
        elif stray.place - 1 in known:
            # Under its own number and behind its own predecessor the row was another one.
            what = "changed, inserted or moved: it is not the row that was written"
            found.append(AuditFinding(stray.place, what))
        elif not stray.behind_gap:
            what = f"cannot be checked: what was written as row {stray.place - 1} is not there"
            found.append(AuditFinding(stray.place, what))
    return sorted(found, key=lambda finding: finding.row or 0)


def _check_schema(connection: apsw.Connection) -> Iterator[AuditFinding]:
    try:
        _FORM.check_schema(connection)
    except JournalDamagedError as error:
        yield AuditFinding(None, error.message)


def _check_witness(path: Path, rows: dict[int, str]) -> Iterator[AuditFinding]:
    last = max(rows, default=0)
    witness = read_witness(path)
    if witness is None:
        if rows:
            yield AuditFinding(
                None, f"there is no witness at {path}: a removed end would not be seen"
            )
    elif witness.seq > last:
        yield AuditFinding(
            last + 1, f"removed at the end: {witness.seq} rows were witnessed, {last} are left"
        )
    elif witness.seq and witness.chain != rows.get(witness.seq):
        yield AuditFinding(witness.seq, "it is not the row that was witnessed")
