"""How far a run is comes out of its journal alone, and a reboot changes nothing of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from scripted_run import config, samples

from so8t.domain.exchange import Arm, EngineReply, Status
from so8t.domain.plan import Phase
from so8t.domain.sample import Grade, Score
from so8t.journal.lease import Lease
from so8t.journal.rows import GradedReply
from so8t.journal.store import Journal
from so8t.pipeline.run.observer import Observer, Outbox
from so8t.pipeline.run.progress import Silent
from so8t.pipeline.run.progress_log import CHECKLIST, LOG, TABLE, ProgressLog, read_log
from so8t.pipeline.run.progress_state import read_live, read_progress
from so8t.pipeline.run.progress_text import interruption_line, summary_lines
from so8t.pipeline.run.rundir import open_run
from so8t.pipeline.run.sessions import CRASHED
from so8t.report.text import Text

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
QUESTIONS = 20


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Run:
    """A run's journal, written as the pipeline writes it, at times that the test chooses."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.journal = Journal(directory, now=self.clock)
        self.journal.create_run("night", config().model_dump(mode="json"), "0")
        self.journal.freeze(samples(QUESTIONS))
        self._next = 0

    def session(self, boot: str, *, last_written: datetime | None = None) -> None:
        if last_written is not None:
            self.journal.event("interruption", last_written=last_written.isoformat())
        self.journal.event("session_started", pid=1, host="x", version="0", boot=boot)

    def end(self, how: str) -> None:
        self.journal.event("session_ended", how=how)

    def phase(self, phase: Phase, *seconds: float) -> None:
        """Start a phase; with its seconds, also end it."""
        self.journal.phase_step(phase, 1, "started", "in", {})
        if seconds:
            self.clock.pass_(seconds[0])
            self.journal.phase_step(phase, 1, "done", "in", {"phase_seconds": seconds[0]})

    def answer(self, count: int, every: float, *, status: Status = Status.COMPLETED) -> None:
        settings = self.journal.settings({"x": 1})
        for _ in range(count):
            self.clock.pass_(every)
            arm, position = (Arm.A, Arm.B)[self._next % 2], self._next // 2
            reply = EngineReply("k", status, "yes", None, 10, 3, every)
            score = None if status is Status.FAILED else Score(Grade.SCORED, 1.0, None)
            self.journal.record([GradedReply(arm, position, 0, reply, settings, score, "g")])
            self._next += 1


@pytest.fixture
def run(tmp_path):
    """A run that is being written."""
    found = Run(tmp_path / "night")
    yield found
    found.journal.close()


def test_an_undisturbed_run_is_counted(run):
    """M of N, rate, time left, tokens, phases: what was recorded, nothing else."""
    run.session("one")
    for phase in (Phase.PREPARE_A, Phase.PREPARE_B, Phase.REGISTER):
        run.phase(phase, 60)
    run.phase(Phase.BENCHMARK)
    run.answer(11, every=30)
    progress = read_progress(run.journal, held=True)
    assert (progress.answers, progress.planned, progress.state) == (11, 2 * QUESTIONS, "running")
    assert progress.per_second == pytest.approx(1 / 30)
    noise_floor = 2 * 4
    assert progress.eta_seconds == pytest.approx((2 * QUESTIONS - 11 + noise_floor) * 30)
    assert (progress.prompt_tokens, progress.completion_tokens) == (110, 33)
    assert [phase.state for phase in progress.phases] == ["done", "done", "done", "started"]
    assert [phase.seconds for phase in progress.phases] == [60, 60, 60, None]
    assert progress.interruptions == ()


def test_a_pause_is_told_with_its_reason_and_no_time_left(run):
    """Level, why and since when; nobody knows how long a pause lasts; a new start knows none."""
    run.session("one")
    run.phase(Phase.BENCHMARK)
    run.answer(4, every=30)
    assert read_progress(run.journal, held=True).load is None
    run.journal.event("resources_adjusted", reason="others_work", before=4, after=1, reduction=0)
    low = read_progress(run.journal, held=True)
    assert (low.load.level, low.load.reason) == (1, "others_work")
    assert low.eta_seconds is not None
    run.clock.pass_(600)
    since = run.clock.now
    run.journal.event("resources_adjusted", reason="quiet_hours", before=1, after=0, reduction=0)
    run.clock.pass_(600)
    run.journal.event("resources_adjusted", reason="memory_tight", before=0, after=0, reduction=1)
    paused = read_progress(run.journal, held=True)
    assert (paused.load.level, paused.load.reason, paused.load.since) == (0, "quiet_hours", since)
    assert paused.eta_seconds is None
    assert paused.plain()["load"]["reason"] == "quiet_hours"
    clock = f"{since.astimezone():%H:%M}"
    assert f"Paused since {clock}: quiet hours" in summary_lines(paused, Text("en"))
    assert read_progress(run.journal, held=False).load is None
    run.journal.event("resources_adjusted", reason="resumed", before=0, after=1, reduction=1)
    assert read_progress(run.journal, held=True).load.level == 1
    run.session("two", last_written=run.clock.now)
    assert read_progress(run.journal, held=True).load is None


def test_a_paused_training_is_told_as_a_pause(run):
    """A training counts no answers in flight: its pause is known, and ends with its own event."""
    run.session("one")
    run.phase(Phase.PREPARE_B)
    on, off = {"paused": True}, {"paused": False}
    step = {"step": 3}
    run.journal.event("training_setting", reason="memory_critical", before=off, after=on, **step)
    paused = read_progress(run.journal, held=True).load
    assert (paused.level, paused.reason) == (0, "memory_critical")
    run.journal.event("training_setting", reason="resumed", before=on, after=off, **step)
    assert read_progress(run.journal, held=True).load is None


def test_the_time_left_survives_a_reboot(run):
    """Eight hours without power change neither the rate nor the time left."""
    run.session("one")
    run.phase(Phase.BENCHMARK)
    run.answer(10, every=30)
    before = read_progress(run.journal, held=True)
    cut = run.clock.now
    run.clock.pass_(8 * 3600)
    run.session("two", last_written=cut)
    after = read_progress(run.journal, held=True)
    assert after.per_second == before.per_second
    assert after.eta_seconds == before.eta_seconds
    run.answer(1, every=500)  # the model is loaded again; that is no pause between two answers
    assert read_progress(run.journal, held=True).per_second == before.per_second


def test_sleep_and_a_clock_that_jumps_do_not_spoil_the_rate(run):
    """An hour's sleep and a clock put back by a day leave the rate as it was."""
    run.session("one")
    run.phase(Phase.BENCHMARK)
    run.answer(5, every=30)
    run.clock.pass_(3600)
    run.answer(5, every=30)
    run.clock.pass_(-86_400)
    run.answer(5, every=30)
    assert read_progress(run.journal, held=True).per_second == pytest.approx(1 / 30)


def test_every_interruption_says_when_how_long_and_what_is_redone(run):
    """A power cut in training, a stop by a person, a crash in the benchmark."""
    run.session("one")
    run.phase(Phase.PREPARE_A, 10)
    run.phase(Phase.PREPARE_B)
    run.clock.pass_(1000)
    run.journal.event("note")
    cut = run.clock.now
    run.clock.pass_(500)
    run.session("two", last_written=cut)
    run.phase(Phase.PREPARE_B, 2000)
    run.end("Interrupted")
    run.clock.pass_(60)
    run.session("two")
    run.phase(Phase.BENCHMARK)
    run.answer(4, every=10)
    crash = run.clock.now
    run.clock.pass_(10)
    run.session("two", last_written=crash)
    progress = read_progress(run.journal, held=True)
    first, second, third = progress.interruptions
    assert progress.plain()["interruptions"][0]["at"] == first.at.isoformat()
    assert (first.how, first.away_seconds, first.reboot) == (CRASHED, 500, True)
    assert (first.redone, first.redone_seconds) == (Phase.PREPARE_B, 1000)
    assert (second.how, second.away_seconds, second.reboot) == ("Interrupted", 60, False)
    assert second.redone is None
    assert (third.how, third.away_seconds, third.redone) == (CRASHED, 10, None)


def test_a_training_that_goes_on_from_its_checkpoint_was_not_begun_again(run):
    """Where a checkpoint was found, its step is told, and no lost work."""
    run.session("one")
    run.phase(Phase.PREPARE_B)
    run.end("Interrupted")
    run.session("two")
    run.phase(Phase.PREPARE_B)
    run.journal.event("training_resumed", step=120, steps=250)
    (cut,) = read_progress(run.journal, held=True).interruptions
    assert (cut.redone, cut.resumed_step) == (None, 120)
    said = interruption_line(cut, Text("en"))
    assert said.endswith("the training went on from its checkpoint at step 120")


def test_a_run_that_nobody_holds_is_stopped(run):
    """Without a holder a phase that was begun is interrupted, and no unit is at work."""
    run.session("one")
    run.phase(Phase.PREPARE_B)
    progress = read_progress(run.journal, held=False)
    assert progress.state == "stopped"
    assert progress.phases[1].state == "interrupted"
    assert progress.eta_seconds is None


def test_failed_answers_are_counted_once_and_reused_ones_cost_nothing(run):
    """A failure that was answered later is no failure; unknown tokens are unknown, not zero."""
    empty = read_progress(run.journal, held=False)
    assert (empty.prompt_tokens, empty.per_second, empty.state) == (None, None, "empty")
    run.session("one")
    run.answer(2, every=1, status=Status.FAILED)
    run._next = 0
    run.answer(1, every=1)
    progress = read_progress(run.journal, held=True)
    assert (progress.answers, progress.failed) == (2, 1)


def test_log_and_checklist_are_made_from_the_journal(run, tmp_path):
    """An entry is JSON and Markdown; a torn line or a lost file is made good by the next entry."""
    directory = tmp_path / "night"
    run.session("one")
    run.phase(Phase.PREPARE_A, 60)
    failed: list[str] = []
    log = ProgressLog(directory, Text("en"), failed.append)
    log.entry()
    with (directory / LOG).open("a") as file:
        file.write('{"at": "torn')
    (directory / TABLE).unlink()
    run.phase(Phase.BENCHMARK)
    run.answer(3, every=30)
    log.entry()
    assert failed == []
    entries = read_log(directory)
    assert [entry["answers"] for entry in entries] == [0, 3]
    assert all(json.loads(line) for line in (directory / LOG).read_text().splitlines())
    assert len((directory / TABLE).read_text().splitlines()) == 2 + len(entries)
    checklist = (directory / CHECKLIST).read_text()
    assert "- [x] phase 1: prepare A" in checklist
    assert "- [ ] phase 4: benchmark" in checklist
    assert "answers: 3 of 40" in checklist
    ProgressLog(directory, Text("ja"), failed.append).entry()
    assert "- [x] フェーズ1" in (directory / CHECKLIST).read_text(encoding="utf-8")


def test_entries_come_by_time_and_a_log_that_cannot_be_written_is_told(run, tmp_path):
    """The thread writes an entry every so often; a failure reaches who asked, and nobody else."""
    failed: list[str] = []
    directory = tmp_path / "night"
    (directory / LOG).mkdir()
    with ProgressLog(directory, Text("en"), failed.append, every=0.05) as log:
        for _ in range(200):
            if failed:
                break
            log._thread.join(0.05)
    assert failed
    assert run.journal.usable


class NoNotifier:
    """Sends nothing."""

    def send(self, _notification) -> None: ...
    def undelivered(self) -> list:
        return []

    def close(self) -> None: ...


def observer(journal: Journal) -> Observer:
    log = ProgressLog(journal.directory, Text("en"), lambda _: None)
    parts = (config(), Text("en"), NoNotifier(), log, Outbox())
    return Observer(Silent(), journal, *parts)


def test_training_steps_are_seen_from_outside_and_their_loss_is_counted(tmp_path):
    """What is at work is told beside the journal; after a crash the next session records it."""
    asked = config().model_copy(update={"output": tmp_path})
    directory = tmp_path / asked.name
    with open_run(asked) as (_, journal):
        journal.phase_step(Phase.PREPARE_B, 1, "started", "in", {})
        observer(journal).progress("fine-tuning", 7, 100)
        unit = read_progress(journal, held=True).unit
        assert (unit.what, unit.done, unit.total) == ("fine-tuning", 7, 100)
    # The same session again, but without its end: as SIGKILL leaves it.
    with Lease(directory, now=START), Journal(directory) as journal:
        journal.event("session_started", pid=1, host="x", version="0", boot="one")
        journal.phase_step(Phase.PREPARE_B, 2, "started", "in", {})
        observer(journal).progress("fine-tuning", 8, 100)
    assert read_live(directory) is not None
    with open_run(asked) as (_, journal):
        observer(journal)
        assert read_live(directory) is None
        seen = journal.events("last_seen")[-1]
        assert seen.data["unit"]["done"] == 8
        assert read_progress(journal, held=True).interruptions[-1].redone is Phase.PREPARE_B


def test_what_other_threads_leave_is_recorded_by_the_owner(run):
    """The journal has one writer: an event waits in the outbox until that thread comes by."""
    outbox = Outbox()
    outbox.put("notification_failed", channel="sound")
    assert run.journal.events("notification_failed") == []
    outbox.flush(run.journal)
    assert run.journal.events("notification_failed")[0].data == {"channel": "sound"}
