"""The audit log: every row that was touched is named, nothing is answered unlogged or kept."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from random import Random

import apsw
import pytest

from so8t.errors import IncompleteError, JournalDamagedError, JournalError, PrerequisiteError
from so8t.journal.audit import AuditLog, AuditRow, keyed_hash, verify_audit
from so8t.system.secret_file import make_secret, read_secret

KEY = b"k" * 64


def row(number, **changed):
    """Make a row that differs from its neighbours."""
    plain = {
        "at": f"2026-01-01T00:00:{number:02d}.000+00:00",
        "monotonic": float(number),
        "id": f"id-{number}",
        "outcome": "answered",
        "label": "ALLOW",
        "reason": None,
        "query": keyed_hash(KEY, "query", str(number)),
        "thinking": keyed_hash(KEY, "thinking", str(number)),
        "answer": keyed_hash(KEY, "answer", str(number)),
        "model": "sha256:m",
        "engine": "scripted 1",
        "seconds": 0.5,
    }
    return AuditRow(**{**plain, **changed})


@pytest.fixture
def log(tmp_path):
    """A log of ten rows, closed."""
    with AuditLog(tmp_path, KEY) as audit:
        for number in range(1, 11):
            assert audit.append(row(number)) == number
    return tmp_path


def tampered(directory, *statements):
    """Change the file as somebody would who has it but not the key; return what verify says."""
    connection = apsw.Connection(str(directory / "audit.sqlite"))
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return [(finding.row, finding.what) for finding in verify_audit(directory, KEY)[1]]


def test_a_log_that_nobody_touched_is_whole(log):
    """All rows verify, and the log goes on where it ended."""
    assert verify_audit(log, KEY) == (10, [])
    with AuditLog(log, KEY) as audit:
        audit.append(row(11))
    assert verify_audit(log, KEY) == (11, [])


COLUMNS = {
    "at": "'2020-01-01'",
    "monotonic": "99.0",
    "id": "'other'",
    "outcome": "'failed'",
    "label": "'REFUSE'",
    "reason": "'x'",
    "query": "'00'",
    "thinking": "NULL",
    "answer": "'00'",
    "model": "'sha256:n'",
    "engine": "'other'",
    "seconds": "0.0",
    "mac": "'00'",
}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("number", [1, 5, 10])
def test_a_changed_column_is_found_in_its_row(log, column, number):
    """Whatever is changed, wherever: the row is named."""
    found = tampered(log, f"UPDATE request SET {column} = {COLUMNS[column]} WHERE seq = {number}")  # noqa: S608 - of this test
    assert found[0][0] == number
    assert "changed" in found[0][1]


_COPY = "INSERT INTO request SELECT {seq}, at, monotonic, 'new', outcome, label, reason, query, "
_COPY += "thinking, answer, model, engine, seconds, mac FROM request WHERE seq = {source}"
_SHIFT = (
    "UPDATE request SET seq = -seq WHERE seq > {0}",
    "UPDATE request SET seq = -seq {1} WHERE seq < 0",
)


@pytest.mark.parametrize(
    ("statements", "first", "word"),
    [
        (["DELETE FROM request WHERE seq = 4"], 4, "removed"),
        (["DELETE FROM request WHERE seq IN (4, 5, 6)"], 4, "rows 4 to 6"),
        (["DELETE FROM request WHERE seq = 1"], 1, "removed"),
        (["DELETE FROM request WHERE seq = 10"], 10, "removed at the end"),
        (["DELETE FROM request"], 1, "removed at the end"),
        # removed, and the rest renumbered to hide it
        (
            ["DELETE FROM request WHERE seq = 4", *[s.format(4, "- 1") for s in _SHIFT]],
            4,
            "changed",
        ),
        ([_COPY.format(seq=11, source=10)], 11, "inserted"),
        # inserted in the middle, and the rest renumbered to make room
        (
            [*[s.format(4, "+ 1") for s in _SHIFT], _COPY.format(seq=5, source=4)],
            5,
            "inserted",
        ),
        # two rows changed places
        (
            [
                "UPDATE request SET seq = 100 WHERE seq = 3",
                "UPDATE request SET seq = 3 WHERE seq = 7",
                "UPDATE request SET seq = 7 WHERE seq = 100",
            ],
            3,
            "moved",
        ),
    ],
    ids=[
        "one",
        "three",
        "first",
        "tail",
        "all",
        "renumbered",
        "appended",
        "inserted",
        "reordered",
    ],
)
def test_removed_inserted_and_reordered_rows_are_found(log, statements, first, word):
    """The first finding names the place and what was done."""
    found = tampered(log, *statements)
    assert found[0][0] == first
    assert word in found[0][1]


def swap(one, other):
    numbers = ((one, 100), (other, one), (100, other))
    return [f"UPDATE request SET seq = {new} WHERE seq = {old}" for old, new in numbers]  # noqa: S608 - of this test


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (swap(3, 7), {3: "written as row 7", 7: "written as row 3"}),
        (swap(5, 6), {5: "written as row 6", 6: "written as row 5"}),
        (swap(1, 9), {1: "written as row 9", 9: "written as row 1"}),
        ([*swap(2, 3), *swap(8, 9)], {2: "row 3", 3: "row 2", 8: "row 9", 9: "row 8"}),
        # one changed besides: the row behind it is whole, and nobody named it
        ([*swap(3, 7), "UPDATE request SET label = 'REFUSE' WHERE seq = 5"],
         {3: "row 7", 5: "changed", 7: "row 3"}),
        # only its MAC: the row behind it proves that the rest of it is right, and itself
        (["UPDATE request SET mac = 'é' WHERE seq = 5"], {5: "changed"}),
        # moved to the end: it is missing in its place, and what stood behind it is whole
        (["UPDATE request SET seq = 11 WHERE seq = 4"],
         {4: "missing before row 5", 11: "written as row 4"}),
        # removed, and the rest renumbered to hide it
        (["DELETE FROM request WHERE seq = 8",
          "UPDATE request SET seq = 8 WHERE seq = 9", "UPDATE request SET seq = 9 WHERE seq = 10"],
         {8: "changed", 9: "written as row 10", 10: "removed at the end"}),
        # another one in the place of one that is gone: what stood behind it can prove nothing
        (["DELETE FROM request WHERE seq = 4", "UPDATE request SET seq = 4 WHERE seq = 9"],
         {4: "written as row 9", 5: "cannot be checked", 9: "missing before row 10"}),
    ],
)  # fmt: skip
def test_exactly_the_rows_that_were_touched_are_named(log, statements, named):
    """Rows that changed places, and not those behind them, which break links as well."""
    found = dict(tampered(log, *statements))
    assert found.keys() == named.keys()
    assert all(words in found[number] for number, words in named.items())


def test_whatever_is_done_to_the_rows_is_found_and_nothing_else(log):
    """Rows shuffled, changed and removed at random: each that is another one now is named."""
    path, random = log / "audit.sqlite", Random(1)
    honest, whole = path.read_bytes(), rows_of(log)
    for _ in range(60):
        path.write_bytes(honest)
        places = random.sample(range(1, 11), random.randint(2, 4))
        statements = [s for pair in pairwise(places) for s in swap(*pair)]
        if random.random() < 0.5:
            statements.append(f"UPDATE request SET id = 'x' WHERE seq = {random.randint(1, 10)}")  # noqa: S608 - as above
        if random.random() < 0.3:
            statements.append(f"DELETE FROM request WHERE seq = {random.randint(1, 10)}")  # noqa: S608 - as above
        found = dict(tampered(log, *statements))
        now = rows_of(log)
        for place in range(1, 11):
            said = found.get(place, "")
            if now.get(place) != whole[place]:
                behind = place - 1 not in now and "cannot be checked" in found.get(place - 1, "")
                assert said or behind, (statements, place)
            else:
                # A row is only doubted where the one that was written before it is gone.
                assert not said or said.startswith("cannot be checked"), (statements, place)


def rows_of(directory):
    connection = apsw.Connection(str(directory / "audit.sqlite"))
    rows = {row[0]: row for row in connection.execute("SELECT * FROM request")}
    connection.close()
    return rows


def test_every_other_key_finds_every_row(log):
    """The key is not in the database: without it no link can be made."""
    count, findings = verify_audit(log, b"other" * 8)
    assert [finding.row for finding in findings] == list(range(1, count + 1))


def test_an_older_copy_is_found_against_the_witness(log, tmp_path_factory):
    """Log put back as it was yesterday: the witness knows of more rows; the server refuses too."""
    copy = tmp_path_factory.mktemp("old") / "audit.sqlite"
    shutil.copyfile(log / "audit.sqlite", copy)
    with AuditLog(log, KEY) as audit:
        audit.append(row(11))
    shutil.copyfile(copy, log / "audit.sqlite")
    assert [finding.row for finding in verify_audit(log, KEY)[1]] == [11]
    with pytest.raises(JournalDamagedError, match="witness"):
        AuditLog(log, KEY)


def test_a_witness_that_is_gone_or_of_another_log_is_said(log):
    """Without a witness a removed end could not be seen."""
    (log / "audit.witness").write_text(json.dumps({"seq": 10, "chain": "00"}))
    assert [finding.row for finding in verify_audit(log, KEY)[1]] == [10]
    (log / "audit.witness").unlink()
    assert "no witness" in verify_audit(log, KEY)[1][0].what


def test_a_log_that_vanished_takes_no_more_rows(log):
    """SQLite would go on acknowledging rows in a file that nobody can open any more."""
    with AuditLog(log, KEY) as audit:
        (log / "audit.sqlite").unlink()
        assert not audit.usable
        with pytest.raises(JournalError):
            audit.append(row(11))


def test_keys_are_for_their_owner_alone(tmp_path):
    """Made once, readable by nobody else; one that others can read is refused."""
    made = make_secret(tmp_path / "keys" / "a")
    assert make_secret(tmp_path / "keys" / "a") == made
    assert made != make_secret(tmp_path / "keys" / "b")
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / "keys" / "a").stat().st_mode) == 0o600
        (tmp_path / "keys" / "a").chmod(0o640)
        with pytest.raises(PrerequisiteError, match="owner"):
            read_secret(tmp_path / "keys" / "a")


def test_equal_texts_have_unequal_hashes_for_two_purposes_and_two_keys():
    """A hash tells nothing to who has not the key, not even that two texts are the same."""
    hashes = {
        keyed_hash(key, purpose, "123456") for key in (KEY, b"x" * 64) for purpose in ("query", "a")
    }
    assert len(hashes) == 4


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 256 KiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root on Linux")
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    mounted = subprocess.run(["mount", *options], check=False, capture_output=True)  # noqa: S607 - the system's
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.decode()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)  # noqa: S607 - the system's


def _fill(path):
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def _append_many(audit):
    for number in range(2, 50):
        audit.append(row(number))


def test_a_full_disk_refuses_and_can_go_on(small_disk, tmp_path):
    """A real file system that is full: nothing is claimed; with room again it goes on."""
    disk = small_disk
    with AuditLog(disk / "log", KEY, witness=tmp_path / "witness") as audit:
        audit.append(row(1))
        _fill(disk / "filler")
        with pytest.raises(IncompleteError, match="no more"):
            _append_many(audit)
        kept = audit.head.seq
        (disk / "filler").unlink()
        audit.append(row(99))
        assert audit.head.seq == kept + 1
    assert verify_audit(disk / "log", KEY, witness=tmp_path / "witness") == (kept + 1, [])
