"""A damaged journal goes back to its newest good state, and says what is done again."""

from __future__ import annotations

import json
import os
import sys

import apsw
import pytest
from journals import Clock, graded, sample, small_journal

from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm
from so8t.domain.plan import Phase
from so8t.errors import IncompleteError, JournalDamagedError, JournalError
from so8t.journal.backup import KEPT, Backup, backups
from so8t.journal.chain import check_witness
from so8t.journal.chained import FILE_NAME, SUSPECT_NAME, WITNESS_NAME
from so8t.journal.check import damage_in
from so8t.journal.restore import _AT_ONCE, open_journal
from so8t.journal.store import Journal
from so8t.system.files import file_digest

COUNT = 12


@pytest.fixture
def directory(tmp_path):
    """A closed journal: a backup after phase 3, then answers of both to all questions."""
    directory = tmp_path / "run"
    with small_journal(directory, [sample(n) for n in range(COUNT)]) as journal:
        journal.phase_step(Phase.REGISTER, 1, "done", "in", {})
        settings = journal.settings({"m": 1})
        for position in range(COUNT):
            journal.record([graded(arm, position, settings=settings) for arm in Arm])
    return directory


def files(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 255
    path.write_bytes(bytes(content))


def opened(directory):
    """Open for writing as a run does; returns (restored, answers, events) of what is there."""
    journal, restored = open_journal(directory, now=Clock())
    with journal:
        journal.verify()
        answers = [(a.arm, a.position) for a in journal.answers()]
        return (
            restored,
            answers,
            [event.data for event in journal.events(EventKind.JOURNAL_RESTORED)],
        )


def test_a_phase_that_is_done_leaves_a_backup_that_verifies(directory):
    """One file, its witness beside it, equal to the journal as it was at the phase's end."""
    (backup,) = backups(directory)
    backup.check()
    assert sorted(path.name for path in (directory / "backups").iterdir()) == [
        backup.path.name,
        backup.path.with_suffix(".witness").name,
    ]
    with Journal(directory, readonly=True) as journal:
        assert backup.head.seq < journal.head.seq


def test_the_log_is_empty_after_a_phase(directory):
    """What a phase committed is in the file: no left-over log can lose it."""
    with Journal(directory, now=Clock()) as journal:
        journal.event("x", text="y" * 50_000)
        log = directory / f"{FILE_NAME}-wal"
        assert log.stat().st_size > 0
        journal.phase_step(Phase.BENCHMARK, 1, "done", "in", {})
        assert log.stat().st_size == 0


def test_a_reader_at_work_does_not_hold_up_a_phases_end(directory):
    """The log stays a little longer then; nothing waits and nothing fails."""
    with Journal(directory, now=Clock()) as journal, Journal(directory, readonly=True) as reader:
        reader._connection.execute("BEGIN; SELECT count(*) FROM event").fetchall()
        journal.event("x")
        assert journal.secure() is not None


def test_the_newest_three_backups_are_kept(directory):
    """Older ones go, with their witnesses; an interrupted one (without a witness) goes too."""
    stray = directory / "backups" / "journal-000000000001.sqlite"
    stray.write_bytes(b"half")
    with Journal(directory, now=Clock()) as journal:
        for number in range(5):
            journal.event("x", number=number)
            journal.secure()
        newest = next(backups(directory))
        assert newest.head == journal.head
        assert journal.secure() == newest
    assert len(list(backups(directory))) == KEPT
    assert not stray.exists()


DAMAGES = {
    "garbage": lambda d: (d / FILE_NAME).write_bytes(b"garbage"),
    "truncated": lambda d: os.truncate(d / FILE_NAME, 8192),
    "empty": lambda d: os.truncate(d / FILE_NAME, 0),
    "gone": lambda d: (d / FILE_NAME).unlink(),
    "header": lambda d: flip(d / FILE_NAME, 3),
    "torn": lambda d: (d / FILE_NAME).write_bytes(
        (d / FILE_NAME).read_bytes()[:100] + os.urandom(40_000)
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_journal_goes_back_to_its_newest_backup(directory, damage):
    """The run goes on from the backup; the damaged files are kept, what is lost is counted."""
    before = files(directory)
    DAMAGES[damage](directory)
    damaged = files(directory)
    restored, answers, (event,) = opened(directory)
    assert restored.backup == next(backups(directory)).path.name
    assert answers == []
    assert event["rows_lost"] == json.loads(before[WITNESS_NAME])["seq"] - restored.rows > 0
    kept = files(directory / restored.set_aside)
    assert kept.get(FILE_NAME) == damaged.get(FILE_NAME)
    assert not (directory / SUSPECT_NAME).exists()
    again, _, events = opened(directory)
    assert again is None
    assert len(events) == 1


def test_what_was_lost_is_counted_where_it_can_be_read(directory):
    """A changed row is found after an unclean stop; the answers behind the backup are counted."""
    with Journal(directory, now=Clock()) as journal:
        journal.phase_step(Phase.BENCHMARK, 1, "started", "in", {})
        journal.event("session_started", pid=1)
        journal._connection.execute("UPDATE answer SET text = 'x' WHERE position = 3")
    restored, answers, _ = opened(directory)
    assert "row" in restored.reason
    assert "changed" in restored.reason
    assert (restored.answers_lost, restored.phases_lost) == (2 * COUNT, [])
    assert answers == []


def test_a_tail_that_was_witnessed_and_is_gone_costs_only_itself(directory):
    """Where every row that is there is right, the file itself goes on, not an older backup."""
    older = files(directory)
    with Journal(directory, now=Clock()) as journal:
        for number in range(5):
            journal.event("x", number=number)
    (directory / FILE_NAME).write_bytes(older[FILE_NAME])
    restored, answers, (event,) = opened(directory)
    assert (restored.backup, restored.rows_lost) == (None, 5)
    assert len(answers) == 2 * COUNT
    assert "5 committed rows are lost" in event["reason"]


def test_a_garbled_witness_costs_nothing(directory):
    """The journal is verified in full and goes on; the witness is set aside and written anew."""
    (directory / WITNESS_NAME).write_text("[]")
    restored, answers, _ = opened(directory)
    assert (restored.backup, restored.rows_lost) == (None, None)
    assert len(answers) == 2 * COUNT
    with Journal(directory, readonly=True) as journal:
        assert check_witness(directory / WITNESS_NAME, journal._connection) is not None


def test_another_runs_journal_is_not_taken_for_the_rest_of_this_one(directory, tmp_path):
    """A whole journal that does not continue the backup is damage like any other."""
    with small_journal(tmp_path / "other", [sample(n) for n in range(3)]) as other:
        other.event("x")
    (directory / FILE_NAME).write_bytes((tmp_path / "other" / FILE_NAME).read_bytes())
    restored, _, _ = opened(directory)
    assert restored.backup is not None


ROWS_AND_SCHEMA = {
    "config": "UPDATE run SET config = replace(config, '0.05', '0.5')",
    "name": "UPDATE run SET name = 'another'",
    "record gone": "DELETE FROM run",
    "digest": "UPDATE event SET data = '{}' WHERE kind = 'run_created'",
    "index": "DROP INDEX answer_once",
    "trigger": "CREATE TRIGGER x AFTER INSERT ON answer BEGIN DELETE FROM score; END",
    "answer": "UPDATE answer SET text = 'x' WHERE position = 3",
}


@pytest.mark.parametrize("change", ROWS_AND_SCHEMA)
def test_a_start_verify_and_a_backup_mean_the_same_by_damage(directory, change):
    """A start goes back to a good backup; a backup with the same change is none."""

    def spoil(path):
        connection = apsw.Connection(str(path))
        connection.execute(ROWS_AND_SCHEMA[change])
        connection.close()

    with Journal(directory, readonly=True) as journal:
        run = journal.run
    spoil(directory / FILE_NAME)
    assert damage_in(directory / FILE_NAME)
    restored, _, _ = opened(directory)
    assert restored.backup is not None
    with Journal(directory, readonly=True) as journal:
        assert journal.run == run
    if change == "answer":
        return  # the backup is from before the answers
    for backup in list(backups(directory)):
        spoil(backup.path)
        digest = file_digest(backup.path)
        changed = Backup(backup.path, backup.head, digest)
        with pytest.raises(JournalDamagedError):
            changed.check()
        told = json.loads(backup.path.with_suffix(".witness").read_text())
        backup.path.with_suffix(".witness").write_text(json.dumps(told | {"digest": digest}))
    spoil(directory / FILE_NAME)
    before = files(directory)
    with pytest.raises(JournalDamagedError, match="no backup"):
        open_journal(directory, now=Clock())
    assert files(directory) == before


def test_a_witness_that_is_gone_is_written_anew_and_told(directory):
    """Every row is recomputed, and the journal says that it was so."""
    (directory / WITNESS_NAME).unlink()
    assert opened(directory)[0] is None
    with Journal(directory, readonly=True) as journal:
        assert len(journal.events(EventKind.WITNESS_MISSING)) == 1
    assert (directory / WITNESS_NAME).exists()


def test_a_backup_that_is_gone_is_made_at_the_next_start(directory):
    """Killed between the end of a phase and its backup, or the backup deleted."""
    for path in (directory / "backups").iterdir():
        path.unlink()
    assert opened(directory)[0] is None
    (backup,) = backups(directory)
    backup.check()


def test_a_damaged_backup_is_passed_over(directory):
    """The newest backup that verifies is taken, not the newest."""
    with Journal(directory, now=Clock()) as journal:
        journal.secure()
    newest, older = backups(directory)
    flip(newest.path, 5000)
    (directory / FILE_NAME).write_bytes(b"garbage")
    restored, _, _ = opened(directory)
    assert restored.backup == older.path.name


def test_without_a_good_backup_nothing_is_touched(directory):
    """The error names the damage and the way to start anew; not a byte is changed."""
    for backup in list(backups(directory)):
        flip(backup.path, 5000)
    (directory / FILE_NAME).write_bytes(b"garbage")
    before = files(directory)
    with pytest.raises(JournalDamagedError, match="no backup") as caught:
        open_journal(directory, now=Clock())
    assert "--fresh" in caught.value.hint
    assert files(directory) == before


def test_every_start_verifies_every_row(directory):
    """A row changed long ago, while nothing was at work, is found before anything rests on it."""
    with Journal(directory, now=Clock()) as journal:
        journal.event("session_started", pid=1)
        journal.event("session_ended", how="finished")
        journal._connection.execute("UPDATE answer SET text = 'x' WHERE position = 3")
    restored, _, _ = opened(directory)
    assert "changed after it was written" in restored.reason
    with Journal(directory, readonly=True) as journal:
        assert journal.events(EventKind.JOURNAL_CHECKED) == []
    assert opened(directory)[0] is None
    with Journal(directory, readonly=True) as journal:
        assert len(journal.events(EventKind.JOURNAL_CHECKED)) == 1


def test_a_large_journal_is_verified_at_once_where_nothing_is_left_to_ask(tmp_path):
    """What a finished run shows next is its report, so the check must not come after it."""
    with small_journal(tmp_path, [sample(n) for n in range(_AT_ONCE + 1)]) as journal:
        journal.phase_step(Phase.BENCHMARK, 1, "started", "in", {})
        journal.phase_step(Phase.BENCHMARK, 1, "done", "in", {})
        journal._connection.execute("UPDATE sample SET body = '{}' WHERE position = 3")
    restored, _, _ = opened(tmp_path)
    assert "changed after it was written" in restored.reason


def test_a_large_journal_is_verified_beside_the_run(directory):
    """In another process, while the run writes on; what is found ends the run resumable."""
    with Journal(directory, now=Clock()) as journal:
        journal.event("session_started", pid=1)
        whole = []
        journal.check_beside(lambda: whole.append(True))
        assert journal._check.result(timeout=60) == ""
    with Journal(directory, now=Clock()) as journal:
        journal._connection.execute("UPDATE answer SET text = 'x' WHERE position = 3")
        journal.check_beside(lambda: whole.append(True))
        child = journal._check._child
        child._received.put(child.receive(60))  # heard, and still to be told
        journal.event("goes on")
        with pytest.raises(IncompleteError, match="changed after it was written"):
            journal.witness()
    assert whole == []
    restored, _, _ = opened(directory)
    assert restored.backup is not None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="fork is Unix's own")
@pytest.mark.parametrize("damage", ["garbage", "truncated"])
def test_a_restore_that_is_killed_anywhere_is_finished_by_the_next_start(tmp_path, damage):
    """Killed before each single change to the directory: the same end, and one event of it."""
    changes = 0
    while True:
        directory = tmp_path / str(changes)
        with small_journal(directory, [sample(n) for n in range(3)]) as journal:
            journal.phase_step(Phase.REGISTER, 1, "done", "in", {})
            journal.event("lost")
        DAMAGES[damage](directory)
        killed = _killed_before_change(directory, changes)
        restored, _, events = opened(directory)
        assert len(events) == 1
        assert events[0]["backup"] is not None
        assert restored is None or restored.set_aside == "damaged-1"
        assert (directory / "damaged-1" / FILE_NAME).exists()
        assert not (directory / "damaged-2").exists()
        if not killed:
            break
        changes += 1
    assert changes > 8


def _killed_before_change(directory, number):
    """Restore in a child that dies before its change `number` to files; False if it finished."""
    pid = os.fork()
    if pid == 0:
        left = [number]

        def hook(event, arguments):
            writes = event == "open" and isinstance(arguments[1], str) and arguments[1] != "rb"
            if (writes or event in {"os.rename", "os.remove", "os.mkdir"}) and str(
                directory
            ) in str(arguments[0]):
                if left[0] == 0:
                    os._exit(9)
                left[0] -= 1

        sys.addaudithook(hook)
        opened(directory)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9)
    return code == 9


def test_a_journal_without_a_backup_in_another_programs_file_is_refused(tmp_path):
    """What was never ours is not restored over."""
    (tmp_path / FILE_NAME).write_bytes(b"text" * 100)
    with pytest.raises(JournalError, match="no SQLite file"):
        open_journal(tmp_path, now=Clock())
