"""The journal keeps what it acknowledged, refuses what it must, and says which."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace

import apsw
import pytest
from journals import Clock, graded, sample, small_journal

from so8t.domain.exchange import Arm, Form, Status
from so8t.domain.plan import Phase
from so8t.domain.sample import Score
from so8t.errors import (
    IncompleteError,
    JournalDamagedError,
    JournalError,
    JournalNewerError,
    PrerequisiteError,
)
from so8t.journal.chained import FILE_NAME
from so8t.journal.migrations import JOURNAL, VERSION
from so8t.journal.store import Journal, system_now


@pytest.fixture
def journal(tmp_path):
    with small_journal(tmp_path, [sample(n) for n in range(4)]) as opened:
        yield opened


def reopen(journal: Journal) -> Journal:
    journal.close()
    return Journal(journal.directory, now=Clock())


def test_everything_comes_back_after_reopening(journal):
    """Run, samples, events, phases and answers are the same in the next process."""
    settings = journal.settings({"model": "x"})
    journal.event("choice", slots=2)
    journal.phase_step(Phase.PREPARE_A, 1, "started", "in", {})
    journal.phase_step(Phase.PREPARE_A, 1, "done", "in", {"path": "p"})
    journal.record([graded(Arm.A, 0, 1.0, settings=settings)])
    before = (journal.run, list(journal.samples()), journal.events(), journal.phases())
    answers, head = list(journal.answers()), journal.head
    with reopen(journal) as again:
        assert (again.run, list(again.samples()), again.events(), again.phases()) == before
        assert list(again.answers()) == answers
        assert again.head == head == again.verify()
        assert again.phase(Phase.PREPARE_A).result == {"path": "p"}
        assert again.phase(Phase.REGISTER) is None
        assert [event.data for event in again.events("choice")] == [{"slots": 2}]
        assert again.all_settings() == {settings: {"model": "x"}}


def test_questions_that_ask_for_a_form_are_found_without_the_others(tmp_path):
    """Only theirs are the positions, within the stretch that is asked for."""
    formed = [replace(sample(n), form=Form(choices=("A", "B"))) for n in (1, 3)]
    with small_journal(tmp_path, [sample(0), formed[0], sample(2), formed[1]]) as journal:
        assert list(journal.formed_positions(0, 4)) == [1, 3]
        assert list(journal.formed_positions(2, 3)) == []


def test_every_connection_is_durable(journal):
    """WAL with synchronous=FULL, on the connection that writes."""
    assert journal._connection.pragma("journal_mode") == "wal"
    assert journal._connection.pragma("synchronous") == 2


def test_settings_are_kept_once(journal):
    """The same settings have one row and one digest."""
    assert journal.settings({"a": 1}) == journal.settings({"a": 1})
    assert len(journal.all_settings()) == 1


def test_an_answer_counts_once(journal):
    """A second answer to the same question is refused and nothing of its commit is kept."""
    settings = journal.settings({})
    journal.record([graded(Arm.A, 0, settings=settings)])
    head = journal.head
    with pytest.raises(JournalError, match="twice"):
        journal.record([graded(Arm.A, 1, settings=settings), graded(Arm.A, 0, settings=settings)])
    assert journal.head == head
    assert journal.open_positions(Arm.A, 0, 4) == [1, 2, 3]
    journal.record([graded(Arm.A, 1, settings=settings)])
    assert journal.verify() == journal.head


def test_a_failed_answer_leaves_room_for_its_retry(journal):
    """A failure is kept, its retry replaces it, and both can be seen."""
    settings = journal.settings({})
    journal.record(
        [graded(Arm.B, 2, None, status=Status.FAILED, reason="reset", settings=settings)]
    )
    assert journal.open_positions(Arm.B, 0, 4) == [0, 1, 3]
    assert journal.open_positions(Arm.B, 0, 4, failed=True) == [0, 1, 2, 3]
    assert journal.answer_counts() == {(Arm.B, Status.FAILED): 1}
    journal.record([graded(Arm.B, 2, 0.0, settings=settings)])
    (answer,) = journal.answers(Arm.B)
    assert (answer.attempts, answer.reply.status, answer.score) == (
        2,
        Status.COMPLETED,
        Score.number(0.0),
    )
    assert journal.answer_counts() == {(Arm.B, Status.COMPLETED): 1}


def test_repeats_are_answers_of_their_own(journal):
    """The second answer of an A/A pair does not stand in for the first."""
    settings = journal.settings({})
    journal.record([graded(Arm.A, 0, settings=settings, repeat=1)])
    assert journal.open_positions(Arm.A, 0, 4) == [0, 1, 2, 3]
    assert journal.open_positions(Arm.A, 0, 4, repeat=1) == [1, 2, 3]
    assert [a.repeat for a in journal.answers(repeat=None)] == [1]
    assert list(journal.answers()) == []


def test_answers_under_other_settings_are_counted(journal):
    """What was asked of another model or engine can be told apart."""
    old, new = journal.settings({"v": 1}), journal.settings({"v": 2})
    journal.record([graded(Arm.A, 0, settings=old), graded(Arm.B, 0, settings=new)])
    assert journal.answers_under_other_settings(Arm.A, new) == 1
    assert journal.answers_under_other_settings(Arm.B, new) == 0


def test_unscored_is_kept_as_such(journal):
    """A grader that could not decide is no zero in the journal either."""
    settings = journal.settings({})
    journal.record([graded(Arm.A, 0, settings=settings, score=Score.unscored("no reference"))])
    (answer,) = journal.answers()
    assert answer.score == Score.unscored("no reference")


def test_samples_are_frozen_once(journal):
    """A second plan is refused."""
    with pytest.raises(apsw.ConstraintError):
        journal.freeze([sample(0)])
    assert journal.sample_count() == 4


def test_a_range_of_samples_can_be_read(journal):
    """Positions start and stop (excluded) as everywhere in Python."""
    assert [s.id for s in journal.samples(1, 3)] == ["t/1", "t/2"]


def test_last_written_is_the_newest_row(journal):
    """The time of the newest answer, step or event tells how long a run was away."""
    before = journal.last_written()
    journal.record([graded(Arm.A, 0, settings=journal.settings({}))])
    assert journal.last_written() > before


def test_an_empty_journal_has_no_last_row(tmp_path):
    """Unknown is None."""
    with Journal(tmp_path) as empty:
        assert empty.last_written() is None
        assert empty.run is None
        assert system_now().tzinfo is not None


def test_closing_twice_is_harmless(journal):
    """A second close does nothing."""
    journal.close()
    journal.close()


def test_a_reader_needs_a_journal(tmp_path):
    """Reading where there is none is an error that names the place, and makes no file."""
    with pytest.raises(PrerequisiteError, match=str(tmp_path)):
        Journal(tmp_path, readonly=True)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_of_a_file_that_was_only_just_begun_is_told(tmp_path):
    """Between the making of the file and its first commit there is nothing to read yet."""
    connection = apsw.Connection(str(tmp_path / FILE_NAME))
    connection.pragma("journal_mode", "wal")
    connection.close()
    with pytest.raises(PrerequisiteError, match="no run yet"):
        Journal(tmp_path, readonly=True)


def test_a_reader_sees_what_is_committed_and_writes_nothing(journal):
    """A second process can look while the first writes."""
    with Journal(journal.directory, readonly=True) as reader:
        journal.event("later")
        assert reader.events("later")
        with pytest.raises(JournalError, match="could not be written"):
            reader.event("mine")


def test_a_newer_journal_is_refused_untouched(journal):
    """A file of a later version is not migrated, not opened, not changed by a byte."""
    path = journal.path
    journal.close()
    with sqlite3.connect(path) as other:
        other.execute(f"PRAGMA user_version = {VERSION + 1}")
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(JournalNewerError, match=f"version {VERSION + 1}"):
        Journal(journal.directory)
    assert path.read_bytes() == before


@pytest.mark.parametrize("marks", [(0, 0), (0, 2), (0, VERSION), (0, 9), (77, 0)])
def test_a_database_of_another_program_is_refused_untouched(tmp_path, marks):
    """Most programs set neither an application id nor a version; their tables tell."""
    path = tmp_path / FILE_NAME
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE run (x)")
    other.execute(f"PRAGMA application_id = {marks[0]}")
    other.execute(f"PRAGMA user_version = {marks[1]}")
    other.close()
    before = path.read_bytes()
    for readonly in (False, True):
        with pytest.raises(JournalError, match="another program"):
            Journal(tmp_path, readonly=readonly)
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_text_is_refused_untouched(tmp_path):
    """A file that SQLite did not make is no journal."""
    path = tmp_path / FILE_NAME
    path.write_bytes(b"hello" * 100)
    with pytest.raises(JournalError, match="no SQLite file"):
        Journal(tmp_path)
    assert path.read_bytes() == b"hello" * 100


@pytest.mark.parametrize("version", range(VERSION + 1))
def test_a_file_that_was_cut_off_before_it_had_its_mark_is_finished(tmp_path, version):
    """Earlier versions made the tables first, each in a commit, and could be killed in between."""
    connection = apsw.Connection(str(tmp_path / FILE_NAME))
    connection.pragma("journal_mode", "wal")
    for number, step in enumerate(JOURNAL.steps[:version], 1):
        connection.execute(step)
        connection.pragma("user_version", number)
    connection.close()
    with Journal(tmp_path) as journal:
        journal.create_run("x", {}, "0")
    with Journal(tmp_path, readonly=True) as journal:
        assert journal.run.name == "x"
        assert journal.connection.pragma("application_id") == JOURNAL.application_id
        assert journal.connection.pragma("user_version") == VERSION


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DROP INDEX answer_once", r"index answer_once \(removed\)"),
        ("CREATE INDEX mine ON event (at)", r"index mine \(added\)"),
        ("CREATE VIEW mine AS SELECT 1", r"view mine \(added\)"),
        (
            "CREATE TRIGGER mine AFTER INSERT ON answer BEGIN DELETE FROM score; END",
            r"trigger mine \(added\)",
        ),
        ("ALTER TABLE event ADD COLUMN mine TEXT", r"table event \(changed\)"),
        ("DROP TABLE resource_sample", r"table resource_sample \(removed\)"),
    ],
)
def test_a_changed_schema_is_damage(journal, statement, words):
    """An index, a trigger or a table that the version does not have, or that it lacks."""
    journal.close()
    with sqlite3.connect(journal.path) as other:
        other.execute(statement)
    other.close()
    with pytest.raises(JournalDamagedError, match=words):
        Journal(journal.directory)
    with (
        Journal(journal.directory, readonly=True) as reader,
        pytest.raises(JournalDamagedError, match=words),
    ):
        reader.verify()


def test_a_torn_database_is_an_error_not_a_crash(journal):
    """A header followed by garbage is reported with the file's name."""
    path = journal.path
    journal.close()
    content = path.read_bytes()
    path.write_bytes(content[:100] + os.urandom(len(content) - 100))
    with pytest.raises(JournalError, match=FILE_NAME):
        Journal(journal.directory)


def test_a_file_begun_but_never_committed_is_taken_over(tmp_path):
    """A process that died before its first commit leaves a file that the next one can use."""
    connection = apsw.Connection(str(tmp_path / FILE_NAME))
    connection.pragma("journal_mode", "wal")
    connection.close()
    with Journal(tmp_path) as journal:
        journal.create_run("x", {}, "0")
        assert journal.run.name == "x"


def test_a_vanished_journal_stops_the_run(journal):
    """Commits to a file that nobody can open any more are not acknowledged."""
    journal.path.rename(journal.directory / "elsewhere")
    with pytest.raises(JournalError, match="removed or replaced"):
        journal.event("x")
    assert not journal.usable
    with pytest.raises(JournalError, match="not used again"):
        journal.event("x")


def test_a_replaced_journal_stops_the_run(journal):
    """Another file under the same name is not mistaken for ours."""
    content = journal.path.read_bytes()
    journal.path.rename(journal.directory / "elsewhere")
    journal.path.write_bytes(content)
    with pytest.raises(JournalError, match="removed or replaced"):
        journal.event("x")


def test_a_full_disk_loses_nothing_and_can_go_on(journal):
    """The commit that did not fit is rolled back whole; with room again the same handle goes on."""
    pages = journal._connection.pragma("page_count")
    journal._connection.pragma("max_page_count", pages)
    head = journal.head
    with pytest.raises(IncompleteError, match="full"):
        journal.event("big", text="x" * 100_000)
    assert journal.head == head
    journal._connection.pragma("max_page_count", 1_000_000)
    journal.event("small")
    assert journal.verify() == journal.head


class FailingSync(apsw.VFSFile):
    fail = False

    def __init__(self, vfs, name, flags):
        super().__init__(vfs, name, flags)

    def xSync(self, flags):  # noqa: N802 - SQLite's name
        if FailingSync.fail:
            raise apsw.IOError("fsync failed")
        return super().xSync(flags)


class FailingSyncVFS(apsw.VFS):
    def __init__(self):
        super().__init__("failing-sync", "")

    def xOpen(self, name, flags):  # noqa: N802 - SQLite's name
        return FailingSync("", name, flags)


def test_a_failed_fsync_is_the_end_of_the_handle(tmp_path):
    """After a failed fsync nothing is acknowledged and the handle is never used again."""
    vfs = FailingSyncVFS()
    journal = Journal(tmp_path, vfs="failing-sync")
    journal.create_run("x", {}, "0")
    FailingSync.fail = True
    try:
        with pytest.raises(JournalError, match="could not be written"):
            journal.event("lost")
        assert not journal.usable
        with pytest.raises(JournalError, match="not used again"):
            journal.event("later")
    finally:
        FailingSync.fail = False
        journal.close()
    with Journal(tmp_path) as again:
        assert again.events("lost") == []
        assert again.verify()
    vfs.unregister()


@pytest.mark.skipif(sys.platform == "win32", reason="the VFS without shared memory is Unix's own")
def test_a_file_system_without_wal_is_refused(tmp_path):
    """Where write-ahead logging is not to be had, the promise cannot be kept: say so."""

    with pytest.raises(JournalError, match="write-ahead logging"):
        Journal(tmp_path, vfs="unix-dotfile")


def test_a_witness_that_does_not_fit_the_disk_stays_behind(journal, monkeypatch):
    """The witness may be behind; another error than a full disk is not swallowed."""

    def fail(number):
        def write(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("so8t.journal.chained.write_witness", write)

    journal.event("x")
    fail(errno.ENOSPC)
    journal.witness()
    fail(errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        journal.witness()
    monkeypatch.undo()


@pytest.fixture
def frozen_place(tmp_path_factory):
    """Put a directory where nothing can be written: a mount for root, permissions for others."""
    place = tmp_path_factory.mktemp("frozen")
    mounted = []

    def freeze(directory):
        if os.geteuid() == 0:
            mount = ["mount", "-t", "tmpfs", "tmpfs", str(place)]
            if subprocess.run(mount, capture_output=True, check=False).returncode:
                pytest.skip("root without the right to mount")
            mounted.append(place)
            shutil.copytree(directory, place / "run")
            subprocess.run([*mount[:1], "-o", "remount,ro", str(place)], check=True)
        else:
            shutil.copytree(directory, place / "run")
            (place / "run").chmod(0o555)
        return place / "run"

    yield freeze
    if mounted:
        subprocess.run([shutil.which("umount"), str(place)], check=True)
    elif (place / "run").exists():
        (place / "run").chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="mounts and permissions as Unix has them")
def test_a_finished_run_can_be_read_where_nothing_can_be_written(journal, frozen_place):
    """On a read-only mount everything is read and verified, and nothing is made beside it."""
    journal.record([graded(Arm.A, 0, settings=journal.settings({}))])
    journal.close()
    place = frozen_place(journal.directory)
    with Journal(place, readonly=True) as reader:
        assert reader.verify() == reader.head
        assert len(list(reader.answers())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="mounts and permissions as Unix has them")
def test_a_run_that_was_not_closed_has_to_be_copied_from_there_first(journal, frozen_place):
    """Rows in the write-ahead log cannot be read there; the error says what to do."""
    journal.event("still in the log")
    place = frozen_place(journal.directory)
    with pytest.raises(PrerequisiteError, match="not closed in order") as caught:
        Journal(place, readonly=True)
    assert "copy" in caught.value.hint


def test_a_deleted_log_stops_the_run_and_loses_nothing(journal):
    """`rm journal.sqlite-wal` under a run: what was committed is kept, nothing more is claimed."""
    settings = journal.settings({})
    journal.record([graded(Arm.A, 0, settings=settings)])
    journal.path.with_name(f"{FILE_NAME}-wal").unlink()
    with pytest.raises(IncompleteError, match="was removed"):
        journal.record([graded(Arm.A, 1, settings=settings)])
    assert not journal.usable
    with reopen(journal) as again:
        assert again.verify()
        assert [answer.position for answer in again.answers()] == [0]


def test_two_writers_do_not_break_the_chain(journal):
    """Whatever let a second one in: the first notices before its next commit, and stops."""
    with Journal(journal.directory, now=Clock()) as other:
        other.event("theirs")
        with pytest.raises(IncompleteError, match="another process wrote"):
            journal.event("mine")
        assert not journal.usable
        assert other.verify() == other.head


def test_who_may_not_write_any_more_commits_nothing(tmp_path):
    """The guard is asked before each commit; closing raises nothing then."""

    def guard():
        if lost:
            raise IncompleteError("the lease is gone")

    lost = []
    with Journal(tmp_path, now=Clock(), guard=guard) as journal:
        journal.event("before")
        lost.append(True)
        with pytest.raises(IncompleteError, match="lease is gone"):
            journal.event("after")
    with Journal(tmp_path, readonly=True) as journal:
        assert [event.kind for event in journal.events()] == ["before"]
