"""A token budget that is too small is warned of before the night, and never hidden."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted_run import Listener, config, prepared_journal, runner, samples

from so8t.domain.exchange import Arm, Continuation, Form
from so8t.engines.scripted import Faults, ScriptedEngine
from so8t.pipeline.plan.truncation import Cut, in_earlier_runs, without_room
from so8t.verdict.settings import Outcome

COUNT = 100


@pytest.mark.parametrize(("cut", "warned"), [(0, False), (1, True), (4, True)])
def test_the_first_answers_of_a_run_tell(tmp_path, cut, warned):
    """More than 2 % truncated among the noise floor's answers is said at once, once for an arm."""
    asked = config(benchmark={"noise_floor": 40})
    faults = Faults(truncate=frozenset(f"b/{n}/1" for n in range(cut)))
    with prepared_journal(tmp_path, asked, samples(COUNT)) as journal:
        listener = Listener()
        runner(journal, ScriptedEngine(lambda _: "yes yes", faults), asked, listener).run()
        notes = [detail for kind, detail in listener.notes if kind == "budget_short"]
        expected = [{"arm": "b", "truncated": cut, "answers": 40}]
        assert notes == (expected if warned else [])
        runner(journal, ScriptedEngine(lambda _: "yes"), asked, again := Listener()).run()
        assert again.notes == []


def test_earlier_runs_tell_it_to_plan(tmp_path):
    """The same questions under the same budget count; another budget or question does not."""
    asked = config(benchmark={"noise_floor": 0})
    questions = samples(COUNT)
    faults = Faults(truncate=frozenset(f"a/{n}/0" for n in range(7)))
    with prepared_journal(tmp_path, asked, questions) as journal:
        runner(journal, ScriptedEngine(lambda _: "yes yes", faults), asked).run()
    runs = tmp_path / "runs"
    found = in_earlier_runs(asked, questions, runs)
    assert found == Cut(2 * COUNT, 7)
    assert found.warns
    other = config(benchmark={"noise_floor": 0}, generation={"max_tokens": 9})
    assert in_earlier_runs(other, questions, runs) == Cut(0, 0)
    assert in_earlier_runs(asked, samples(3, task="new"), runs) == Cut(0, 0)
    assert not Cut(0, 0).warns
    assert Cut(0, 0).share is None


def test_prompts_that_leave_no_room_are_named():
    """A question whose prompt and budget exceed the context is found before it is asked."""
    asked = config(engine={"context": 300}, generation={"max_tokens": 256})
    short = samples(2)
    assert without_room(asked, short) == []
    assert without_room(config(engine={"context": 256}), short) == [s.id for s in short]


def test_what_a_measured_question_takes_is_its_longest_continuation():
    """Context and continuation count, without an answer's budget; a chat counts its messages."""
    first = samples(1)[0]
    asked = config(generation={"max_tokens": 64}, engine={"context": 300})

    def takes(room, **form):
        return without_room(asked, [replace(first, form=Form(**form))], room) == []

    texts = (Continuation("x" * 800, "y" * 40), Continuation("x" * 800, "y" * 80))
    assert takes(220, continuations=texts)
    assert not takes(219, continuations=texts)
    assert takes(1, continuations=(Continuation(None, "x" * 8000),))
    assert takes(264, prompt="x" * 800)
    assert not takes(263, prompt="x" * 800)
    served = config(engine={"kind": "ollama", "context": 300}, generation={"max_tokens": 64})
    long = [replace(first, form=Form(continuations=texts, choices=("A", "B")))]
    assert without_room(served, long, 219) == []


@pytest.mark.parametrize(
    ("cut_b", "flips"),
    [(0, set()), (COUNT, {"truncated_best_for_b"})],
)
def test_a_verdict_that_truncation_could_turn_is_flagged(tmp_path, cut_b, flips):
    """Truncated is not correct; the best and the worst reading stand beside it, with a flag."""
    asked = config(benchmark={"noise_floor": 0})
    faults = Faults(truncate=frozenset(f"b/{n}/0" for n in range(cut_b)))
    with prepared_journal(tmp_path, asked, samples(COUNT)) as journal:
        evidence = runner(journal, ScriptedEngine(lambda _: "yes", faults), asked).run()
    assert evidence.coverage[Arm.B].truncated == cut_b
    assert evidence.coverage[Arm.A].truncated == 0
    primary = Outcome.A_BETTER if cut_b else Outcome.UNDECIDED
    assert evidence.overall.outcome is primary
    assert set(evidence.sensitivity.flips) == flips
