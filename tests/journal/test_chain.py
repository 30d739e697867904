"""A row that was lost, changed or moved is found, and which one it was."""

from __future__ import annotations

import json
import shutil

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journals import Clock, graded, sample, small_journal

from so8t.domain.exchange import Arm
from so8t.errors import JournalError
from so8t.journal.chain import GENESIS, link, walk
from so8t.journal.chained import FILE_NAME
from so8t.journal.store import Journal


@pytest.fixture
def directory(tmp_path):
    """A closed journal with a few rows of every kind."""
    with small_journal(tmp_path / "run", [sample(n) for n in range(5)]) as journal:
        digest = journal.settings({"m": 1})
        for position in range(5):
            journal.record([graded(arm, position, settings=digest) for arm in Arm])
    return tmp_path / "run"


def tamper(directory, *statements):
    connection = apsw.Connection(str(directory / FILE_NAME))
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE score SET value = 0.0 WHERE seq = (SELECT min(seq) FROM score)", "was changed"),
        ("UPDATE answer SET text = 'better' WHERE position = 3 AND arm = 'b'", "was changed"),
        ("UPDATE sample SET body = replace(body, 'yes', 'no') WHERE position = 1", "was changed"),
        ("DELETE FROM score WHERE seq = (SELECT min(seq) FROM score)", "lacks row"),
        ("DELETE FROM score WHERE seq = (SELECT max(seq) FROM score)", "rows are missing"),
        ("UPDATE settings SET seq = 900", "lacks row"),
    ],
)
def test_tampering_is_found(directory, statement, words):
    """Each kind of change to each kind of row is reported by `verify`."""
    tamper(directory, "PRAGMA foreign_keys = OFF", statement)
    (directory / "journal.witness").unlink()
    with (
        Journal(directory, readonly=True) as journal,
        pytest.raises(JournalError, match=words),
    ):
        journal.verify()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE run SET config = '{}'",
        "UPDATE run SET name = 'y'",
        "DELETE FROM run",
        "UPDATE event SET data = '{}' WHERE kind = 'run_created'",
    ],
)
def test_a_changed_run_record_is_found_on_opening(directory, statement):
    """What is asked for is compared before anybody goes by it, and by whoever verifies."""
    tamper(directory, statement)
    for readonly in (True, False):
        with pytest.raises(JournalError, match="run's own record"):
            Journal(directory, readonly=readonly)
    with (
        Journal(directory, readonly=True, check=False) as journal,
        pytest.raises(JournalError, match=r"run's own record|was changed"),
    ):
        journal.verify()


def test_an_untouched_journal_verifies(directory):
    """No alarm without cause."""
    with Journal(directory, readonly=True) as journal:
        assert journal.verify() == journal.head
        assert journal.head.seq == sum(1 for _ in walk(journal._connection))


def test_lost_rows_are_found_by_the_witness(directory):
    """A journal that is consistent in itself but shorter than what was witnessed is refused."""
    older = directory.parent / "older"
    shutil.copytree(directory, older)
    with Journal(directory, now=Clock()) as journal:
        journal.event("one more")
    shutil.copy(directory / "journal.witness", older / "journal.witness")
    with pytest.raises(JournalError, match="1 committed rows are lost"):
        Journal(older)


def test_another_runs_witness_is_noticed(directory):
    """The row that the witness names must be the one that was witnessed."""
    witness = directory / "journal.witness"
    witness.write_text(json.dumps({"seq": 3, "chain": "0" * 64}))
    with pytest.raises(JournalError, match="not the one that was witnessed"):
        Journal(directory)


def test_a_witness_that_is_none_is_an_error(directory):
    """Garbage in the witness file is reported, not ignored."""
    (directory / "journal.witness").write_text("[]")
    with pytest.raises(JournalError, match="no witness file"):
        Journal(directory)


def test_a_journal_without_a_witness_can_be_opened(directory):
    """The witness is written now and then; a run that died before the first is fine."""
    (directory / "journal.witness").unlink()
    with Journal(directory) as journal:
        assert journal.verify()


def test_an_empty_witness_fits_an_empty_journal(tmp_path):
    """Row 0 is the beginning of every chain."""
    (tmp_path / "journal.witness").write_text(json.dumps({"seq": 0, "chain": GENESIS}))
    with Journal(tmp_path) as journal:
        assert journal.head.seq == 0


def test_the_witness_follows_every_256_rows(tmp_path):
    """Without a phase's end the witness is at most some hundred rows behind."""
    with small_journal(tmp_path, [sample(n) for n in range(300)]) as journal:
        witness = tmp_path / "journal.witness"
        before = json.loads(witness.read_text())["seq"]
        digest = journal.settings({})
        for position in range(140):
            journal.record([graded(Arm.A, position, settings=digest)])
        assert before < json.loads(witness.read_text())["seq"] <= journal.head.seq


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_flipped_byte_never_goes_unnoticed_as_another_score(directory, tmp_path, data):
    """Whatever byte of the file is flipped: an error, or the very same answers and scores."""
    with Journal(directory, readonly=True) as journal:
        truth = [(a.reply, a.score) for a in journal.answers(repeat=None)]
    content = bytearray((directory / FILE_NAME).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(directory, copy)
    (copy / FILE_NAME).write_bytes(bytes(content))
    try:
        with Journal(copy, readonly=True) as journal:
            journal.verify()
            found = [(a.reply, a.score) for a in journal.answers(repeat=None)]
    except (JournalError, apsw.Error):
        return
    assert found == truth


def test_a_link_depends_on_everything_in_it():
    """Table, values and the link before it all enter the digest."""
    links = {link(p, t, v) for p in ("a", "b") for t in ("x", "y") for v in ((1,), (2,), ("1",))}
    assert len(links) == 12


def test_a_journal_of_an_earlier_version_can_be_read_and_verified(directory):
    """A table that did not exist then is no missing row, and reading changes nothing."""
    tamper(directory, "DROP TABLE load; DROP TABLE resource_sample; PRAGMA user_version = 2")
    before = (directory / FILE_NAME).read_bytes()
    with Journal(directory, readonly=True) as journal:
        assert journal.verify() == journal.head
    assert (directory / FILE_NAME).read_bytes() == before
