"""Several answers to a question, equal answers, and both or neither."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError
from scripted_run import Listener, config, prepared_journal, registration, runner, samples

from so8t.domain.exchange import Arm, Status
from so8t.engines.scripted import Faults, ScriptedEngine
from so8t.errors import Interrupted
from so8t.journal.evidence import gather
from so8t.pipeline.benchmark.phase4 import Phase4BenchmarkRunner
from so8t.pipeline.run.progress import StopRequest

COUNT = 40


def repeated(times: int, *, reuse: bool = False):
    benchmark = {"repeats": times, "reuse_baseline": reuse}
    return config(benchmark=benchmark, generation={"temperature": 0.7})


def by_seed(request):
    """Right for every second seed: half of an even number of repeats."""
    return "yes" if request.decoding.seed % 2 else "no"


def test_repeats_need_a_temperature():
    """Greedy answers repeat themselves, so asking again is refused with the reason."""
    with pytest.raises(ValidationError, match="temperature above 0"):
        config(benchmark={"repeats": 2})


def test_each_question_is_answered_as_often_as_asked_and_its_mean_counts(tmp_path):
    """Every repeat is one row with a seed of its own; the verdict sees one mean a question."""
    asked = repeated(3)
    journal = prepared_journal(tmp_path, asked, samples(COUNT), repeated=3)
    engine = ScriptedEngine({Arm.A: by_seed, Arm.B: lambda _: "yes"})
    evidence = runner(journal, engine, asked).run()
    rows = [(a.arm, a.position, a.repeat) for a in journal.answers(repeat=None)]
    assert len(rows) == len(set(rows)) == 2 * (3 * COUNT + 4)
    assert evidence.repeats == 3
    assert evidence.coverage[Arm.A].total == evidence.coverage[Arm.A].answered == 3 * COUNT
    assert evidence.planned == len(evidence.pairs) == COUNT
    # repeats 0, 2 and 3 have the seeds 1, 3 and 4
    assert all(pair.score_a == pytest.approx(2 / 3) for pair in evidence.pairs)
    assert {pair.score_b for pair in evidence.pairs} == {1.0}
    assert evidence.overall.difference == pytest.approx(1 / 3)
    assert evidence.overall.discordant is None  # means are not binary


def test_a_stop_between_repeats_loses_and_doubles_nothing(tmp_path):
    """Interrupted anywhere and resumed, the rows are those of an uninterrupted run."""

    def rows(journal):
        return {
            (a.arm, a.position, a.repeat): (a.reply.text, a.score, a.attempts)
            for a in journal.answers(repeat=None)
        }

    asked = repeated(3)
    engine = ScriptedEngine({Arm.A: by_seed, Arm.B: lambda _: "yes"})
    straight = prepared_journal(tmp_path, asked, samples(COUNT), "straight", repeated=3)
    runner(straight, engine, asked).run()
    journal = prepared_journal(tmp_path, asked, samples(COUNT), "stopped", repeated=3)
    for stop_at in (20, 71):
        stop = StopRequest()
        with pytest.raises(Interrupted):
            runner(journal, engine, asked, Listener(stop, stop_at), stop).run()
    runner(journal, engine, asked).run()
    assert rows(journal) == rows(straight)


def test_the_baselines_repeats_are_reused_one_by_one(tmp_path):
    """Each repeat of A's answers is taken over as that repeat."""
    asked = repeated(2, reuse=True)
    engine = ScriptedEngine(by_seed)
    first = prepared_journal(tmp_path, asked, samples(COUNT), "first", repeated=2)
    runner(first, engine, asked).run()
    second = prepared_journal(tmp_path, asked, samples(COUNT), "second", repeated=2)
    runner(second, engine, asked).run()
    found = {(a.position, a.repeat): a for a in second.answers(Arm.A, repeat=None)}
    assert sum(a.reused_from is not None for a in found.values()) == 2 * COUNT
    assert {a.repeat for a in found.values() if a.reused_from} == {0, 2}


def test_failed_and_truncated_repeats_count_as_they_should(tmp_path):
    """A failed repeat leaves the mean of the others; a truncated one is wrong, with its bounds."""
    asked = repeated(2)
    journal = prepared_journal(tmp_path, asked, samples(COUNT), repeated=2)
    faults = Faults(fail={"b/0/0": "lost"}, truncate=frozenset(f"b/{n}/2" for n in range(1, COUNT)))
    engine = ScriptedEngine(lambda _: "yes", faults)
    evidence = runner(journal, engine, asked).run()
    first, *others = evidence.pairs
    assert (first.score_b, first.status_b) == (1.0, Status.COMPLETED)
    assert {pair.score_b for pair in others} == {0.5}
    assert {pair.cut_b for pair in others} == {0.5}
    assert evidence.group.missing == 0
    assert evidence.coverage[Arm.B].failed == 1
    # read in B's favour the cut halves are right: no difference is left
    assert "truncated_best_for_b" in evidence.sensitivity.flips


def test_equal_answers_are_graded_once(tmp_path):
    """A text that the other arm gave has its very score, even from a grader that would differ."""
    asked = config(benchmark={"noise_floor": 0})
    journal = prepared_journal(tmp_path, asked, samples(COUNT))
    texts = {"hf question 3": "yes"}
    runner(journal, ScriptedEngine(lambda r: texts.get(r.messages[0].content, "no")), asked).run()
    scores = {arm: [a.score for a in journal.answers(arm)] for arm in Arm}
    assert scores[Arm.A] == scores[Arm.B]
    assert {arm: journal.graded_text(arm, 0, 0)[1] for arm in Arm} == dict.fromkeys(Arm, "no")
    assert journal.graded_text(Arm.A, COUNT, 0) is None


def with_profile(journal, asked, engine, listener=None, stop=None, **profile):
    known = registration()
    return Phase4BenchmarkRunner(
        asked,
        journal,
        engine,
        replace(known, profile=replace(known.profile, **profile)),
        reporter=listener or Listener(),
        stop=stop or StopRequest(),
        back_off=(0.0,),
    )


def test_after_a_change_of_settings_both_arms_answer_again_or_neither(tmp_path):
    """Pairs cut in two by another context are asked again under it; whole pairs stay."""
    asked = config(benchmark={"noise_floor": 0, "block": 0.5})
    journal = prepared_journal(tmp_path, asked, samples(COUNT))
    engine = ScriptedEngine(lambda _: "yes")
    stop = StopRequest()
    with pytest.raises(Interrupted):  # after A's block and half of B's
        with_profile(journal, asked, engine, Listener(stop, 30), stop, context=2048).run()
    before = {a.position for a in journal.answers(Arm.B)}
    listener = Listener()
    evidence = with_profile(journal, asked, engine, listener, context=1024).run()
    assert ("asked_again", {"arm": "a", "answers": 20 - len(before)}) in listener.notes
    assert evidence.unequal == 0
    assert len(evidence.pairs) == COUNT
    attempts = {a.position: a.attempts for a in journal.answers(Arm.A)}
    assert {attempts[p] for p in before} == {1}
    assert sorted(attempts.values()) == [1] * (20 + len(before)) + [2] * (20 - len(before))


def test_what_cannot_be_asked_again_is_left_out_and_said(tmp_path):
    """Between the change and the second answer, a pair of unequal halves counts for nothing."""
    asked = config(benchmark={"noise_floor": 0, "block": 1.0})
    journal = prepared_journal(tmp_path, asked, samples(COUNT))
    engine = ScriptedEngine(lambda _: "yes")
    for context, stop_at in ((2048, COUNT + 10), (1024, 2 * COUNT)):
        stop = StopRequest()
        with pytest.raises(Interrupted):
            with_profile(
                journal, asked, engine, Listener(stop, stop_at), stop, context=context
            ).run()
    evidence = gather(journal)
    assert evidence.unequal == evidence.group.missing > 0
    assert evidence.group.pairs == COUNT - evidence.unequal
    assert with_profile(journal, asked, engine, context=1024).run().unequal == 0


def test_another_number_of_slots_is_no_other_condition(tmp_path):
    """How many answers are in flight decides when one comes: no question is asked again."""
    asked = config(benchmark={"noise_floor": 0, "block": 1.0})
    journal = prepared_journal(tmp_path, asked, samples(COUNT))
    engine = ScriptedEngine(lambda _: "yes")
    stop = StopRequest()
    with pytest.raises(Interrupted):
        with_profile(journal, asked, engine, Listener(stop, COUNT + 10), stop, slots=4).run()
    listener = Listener()
    evidence = with_profile(journal, asked, engine, listener, slots=1).run()
    assert evidence.unequal == 0
    assert listener.notes == []
