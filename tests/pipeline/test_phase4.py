"""What is asked is found out from the journal alone, whatever happens to the engine."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from scripted_run import Listener, config, prepared_journal, runner, samples

from so8t.domain.exchange import Arm, Status
from so8t.domain.sample import Origin
from so8t.engines.scripted import Faults, ScriptedEngine
from so8t.errors import EngineCrashed, Interrupted
from so8t.pipeline.benchmark.interim import deadline_of
from so8t.pipeline.run.progress import StopRequest
from so8t.verdict.settings import Ending, Outcome

COUNT = 60


def yes(_request) -> str:
    return "yes"


def no(_request) -> str:
    return "no"


@pytest.fixture
def journal(tmp_path):
    with prepared_journal(tmp_path, config(), samples(COUNT)) as opened:
        yield opened


def texts(journal):
    return {(a.arm, a.position): a.reply.text for a in journal.answers()}


def test_both_models_answer_everything_once(journal):
    """Every question has one answer of each arm, graded, and the better arm is named."""
    evidence = runner(journal, ScriptedEngine({Arm.A: no, Arm.B: yes})).run()
    assert evidence.overall.outcome is Outcome.B_BETTER
    assert (evidence.group.mean_a, evidence.group.mean_b) == (0.0, 1.0)
    assert journal.answer_counts() == {(arm, Status.COMPLETED): COUNT for arm in Arm}
    assert evidence.noise_floor[Arm.A].pairs == 4


def test_blocks_alternate_which_arm_is_first(journal):
    """A B, B A, A B: as the journal's order of rows shows."""
    runner(journal, ScriptedEngine(yes)).run()
    arms = [a.arm for a in sorted(journal.answers(), key=lambda a: a.seq)]
    changes = [arms[0], *(two for one, two in itertools.pairwise(arms) if one != two)]
    assert changes == [Arm.A, Arm.B, Arm.A, Arm.B, Arm.A]
    assert arms[:32] == [Arm.A] * 16 + [Arm.B] * 16
    assert arms[32:48] == [Arm.B] * 16


@pytest.mark.parametrize("crashes", [(1,), (0, 0, 5), (7, 0, 3, 11, 1), (40,)])
def test_a_crash_loses_no_answer_and_asks_none_twice(journal, crashes):
    """The engine's process may end at any answer; the rows are those of an undisturbed run."""
    listener = Listener()
    engine = ScriptedEngine(lambda request: request.key, Faults(crash_after=crashes))
    runner(journal, engine, listener=listener).run()
    assert texts(journal) == {(arm, n): f"{arm.value}/{n}/0" for arm in Arm for n in range(COUNT)}
    assert [kind for kind, _ in listener.notes].count("engine_crashed") == len(crashes)
    assert all(a.attempts == 1 for a in journal.answers())


def test_a_question_that_kills_the_engine_is_found_and_takes_no_other_with_it(tmp_path):
    """One poisonous question is recorded as failed with its reason; all others are answered."""

    def answer(request):
        if request.messages[0].content.endswith("question 7"):
            raise EngineCrashed("native code aborted")
        return "yes"

    with prepared_journal(tmp_path, config(), samples(20)) as journal:
        evidence = runner(journal, ScriptedEngine(answer)).run()
        failed = [a for a in journal.answers() if a.reply.status is Status.FAILED]
        assert len(failed) == 2
        assert {a.reply.reason for a in failed} == {"engine crashed 5 times"}
        assert evidence.group.missing == 1
        assert evidence.group.pairs == 19


def test_a_failed_answer_is_asked_once_more_and_then_left_as_missing(journal):
    """What fails alone is retried at the end; a second failure is a missing pair, not a zero."""
    engine = ScriptedEngine(yes, Faults(fail={"b/3/0": "no answer"}))
    evidence = runner(journal, engine).run()
    (failed,) = [a for a in journal.answers() if a.reply.status is Status.FAILED]
    assert (failed.arm, failed.position, failed.attempts) == (Arm.B, 3, 2)
    assert evidence.group.missing == 1
    assert runner(journal, ScriptedEngine(yes)).retry() == 1
    assert journal.answer_counts() == {(arm, Status.COMPLETED): COUNT for arm in Arm}
    assert runner(journal, ScriptedEngine(yes)).retry() == 0


def test_a_stop_finishes_what_is_in_flight_and_the_next_start_goes_on(journal):
    """After a stop request nothing new is asked; the second start asks only what is open."""
    stop = StopRequest()
    listener = Listener(stop, stop_at=21)
    asked = []

    def answer(request):
        asked.append(request.key)
        return "yes"

    with pytest.raises(Interrupted):
        runner(journal, ScriptedEngine(answer), listener=listener, stop=stop).run()
    before = sum(journal.answer_counts().values())
    assert 21 <= before <= 23
    again = Listener()
    runner(journal, ScriptedEngine(answer), listener=again).run()
    assert len(asked) == len(set(asked)) == 2 * COUNT + 8
    assert ("answers", before, 2 * COUNT, before) in again.told


def test_an_early_stop_says_what_was_not_asked(tmp_path):
    """With a plain difference the run ends at a block's end, well before the last question."""
    asked = config(verdict={"stop": "early"})
    listener = Listener()
    with prepared_journal(tmp_path, asked, samples(400)) as journal:
        engine = ScriptedEngine({Arm.A: no, Arm.B: yes})
        evidence = runner(journal, engine, asked, listener).run()
        assert evidence.overall.ending is Ending.DECIDED
        assert evidence.overall.outcome is Outcome.B_BETTER
        assert evidence.coverage[Arm.A].open > 300
    assert listener.notes[-1][0] == "stopped_early"
    assert listener.notes[-1][1]["of"] == 400


def test_equal_models_are_never_called_different(journal):
    """The same answers on both sides give no verdict, with every question asked."""
    evidence = runner(journal, ScriptedEngine(yes)).run()
    assert evidence.overall.outcome is Outcome.UNDECIDED
    assert evidence.overall.ending is Ending.EXHAUSTED


def test_each_origin_can_be_run_by_itself(tmp_path):
    """run_hf_benchmark asks only HF questions, run_llm_benchmark only those of suites."""
    questions = samples(20, Origin.HF) + samples(20, Origin.SUITE)
    with prepared_journal(tmp_path, config(), questions) as journal:
        asked = runner(journal, ScriptedEngine(yes))
        asked.run_hf_benchmark()
        origins = {
            s.origin for n, s in enumerate(journal.samples()) if (Arm.A, n) in texts(journal)
        }
        assert origins == {Origin.HF}
        runner(journal, ScriptedEngine(yes)).run_llm_benchmark()
        assert journal.answer_counts() == {(arm, Status.COMPLETED): 40 for arm in Arm}


def test_truncated_answers_are_graded_as_not_correct(journal):
    """A right answer that ran over its budget does not count as right, and is counted apart."""
    engine = ScriptedEngine(yes, Faults(truncate=frozenset(f"b/{n}/0" for n in range(COUNT))))
    evidence = runner(journal, engine).run()
    assert evidence.group.mean_b == 0.0
    assert evidence.coverage[Arm.B].truncated == COUNT
    assert evidence.overall.outcome is Outcome.A_BETTER


def test_the_baselines_answers_are_reused(tmp_path):
    """A's answers of an earlier run are taken over where everything is the same; B is asked."""
    with prepared_journal(tmp_path, config(), samples(COUNT)) as first:
        runner(first, ScriptedEngine(no)).run()
    listener = Listener()
    asked = []

    def answer(request):
        asked.append(request.key)
        return "yes"

    questions = [*samples(COUNT - 10), *samples(10, task="new")]
    with prepared_journal(tmp_path, config(), questions, "two") as second:
        evidence = runner(second, ScriptedEngine(answer), listener=listener).run()
        reused = [a for a in second.answers(Arm.A) if a.reused_from]
        assert second.verify()
    assert len(reused) == COUNT - 10
    assert {a.reply.text for a in reused} == {"no"}
    assert sum(key.startswith("a/") and key.endswith("/0") for key in asked) == 10
    assert (
        listener.notes[0][0],
        listener.notes[0][1]["answers"],
    ) == ("baseline_reused", COUNT - 10)
    assert evidence.group.mean_b == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("change", ["engine", "grader", "off", "damaged"])
def test_a_baseline_that_is_not_the_same_is_asked_again(tmp_path, change):
    """Other settings, other rules, reuse switched off, a damaged run: everything is asked."""
    asked = config(benchmark={"reuse_baseline": change != "off"})
    questions = samples(20)
    with prepared_journal(tmp_path, asked, questions) as first:
        runner(first, ScriptedEngine(no), asked).run()
    if change == "grader":
        questions = [replace(q, grader={"type": "keywords", "any": ["yes"]}) for q in questions]
    if change == "damaged":
        (tmp_path / "runs" / "one" / "journal.sqlite").write_bytes(b"garbage")
    with prepared_journal(tmp_path, asked, questions, "two") as second:
        slots = 3 if change == "engine" else 2
        runner(second, ScriptedEngine(yes), asked, slots=slots).run()
        assert {a.reused_from for a in second.answers(Arm.A)} == {None}
        assert {a.reply.text for a in second.answers(Arm.A)} == {"yes"}


class Hours:
    """A clock that goes on by a minute with each look."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


def test_the_best_verdict_by_the_deadline(tmp_path):
    """At the deadline nothing more is asked; what was answered is judged, the rest is counted."""
    asked = config(verdict={"deadline": "07:00"})
    listener = Listener()
    with prepared_journal(tmp_path, asked, samples(COUNT)) as journal:
        deadline = deadline_of(asked, journal)
        assert deadline > datetime.fromisoformat(journal.run.created)
        assert (deadline.hour, deadline.minute) == (7, 0)
        clock = Hours(deadline - timedelta(minutes=60))
        evidence = runner(journal, ScriptedEngine(yes), asked, listener, now=clock).run()
    assert listener.notes[-1][0] == "deadline_reached"
    assert 0 < evidence.coverage[Arm.A].answered < COUNT
    assert evidence.coverage[Arm.A].open > 0


def test_time_that_is_left_goes_to_the_undecided_tasks(tmp_path):
    """After the overall verdict only tasks without one are asked on, until the deadline."""

    def some(request):
        plain = request.messages[0].content.startswith("plain")
        return "yes" if plain else "no"

    questions = [*samples(400, task="plain"), *samples(60, task="even")]
    asked = config(verdict={"stop": "early", "deadline": "07:00"})
    with prepared_journal(tmp_path, asked, questions) as journal:
        before = Hours(deadline_of(asked, journal) - timedelta(days=1))
        engine = ScriptedEngine({Arm.A: no, Arm.B: some})
        evidence = runner(journal, engine, asked, now=before).run()
    tasks = {group.name: group for group in evidence.tasks}
    assert evidence.overall.outcome is Outcome.B_BETTER
    assert tasks["plain"].claim is Outcome.B_BETTER
    assert tasks["plain"].pairs < 200
    assert tasks["even"].claim is Outcome.UNDECIDED
    assert tasks["even"].verdict.ending in {Ending.EXHAUSTED, Ending.FUTILE}


def test_a_truncated_deadline_is_refused():
    """A time of day is two digits, a colon and two digits."""
    with pytest.raises(ValueError, match="deadline"):
        config(verdict={"deadline": "7 o'clock"})
