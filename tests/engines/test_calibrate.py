"""Threads and slots are chosen by measuring, within a budget, and the same way each time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from so8t.domain.exchange import Arm, LoadProfile, ServedModel
from so8t.engines.calibrate import (
    TOLERANCE,
    Calibration,
    Candidate,
    Measurement,
    calibrate,
    candidates,
    choose,
    worth_trying,
)
from so8t.engines.embedded import EmbeddedEngine
from so8t.engines.scripted import Faults, ScriptedEngine
from so8t.errors import EngineCrashed, EngineError, ModelError

MODEL = ServedModel(Arm.A, "script", "sha256:script")
GRID = candidates(cores=4)


def _rate(threads, slots, rate):
    return Measurement(threads, slots, rate, answers=4, seconds=1.0)


class Machine:
    """A pretended machine: a clock, and an engine whose speed depends on threads and slots."""

    def __init__(self, seconds_per_answer, load=0.1):
        self.now = 0.0
        self.opened = []
        self._seconds, self._load = seconds_per_answer, load
        self.info = ScriptedEngine(str).info

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def open(self, model, profile):
        self.opened.append(Candidate(profile.threads, profile.slots))
        self.now += self._load
        delay = self._seconds(profile.threads, profile.slots)
        if delay is None:
            raise EngineCrashed("out of memory")
        engine = ScriptedEngine(lambda _: "yes", Faults(delay=delay), sleep=self.sleep)
        return engine.open(model, profile)


def _calibrate(machine, question, *, budget=1000.0, grid=GRID, requests=16):
    return calibrate(
        machine,
        MODEL,
        candidates=grid,
        requests=[question(n) for n in range(requests)],
        budget_seconds=budget,
        clock=machine.clock,
    )


def test_candidates_go_from_few_to_many():
    """The first candidate is one thread and one slot, the last all cores and most slots."""
    assert GRID[0] == Candidate(1, 1)
    assert GRID[-1] == Candidate(4, 8)
    assert len(GRID) == len(set(GRID)) == 16


def test_candidates_never_exceed_the_cores_and_stay_few():
    """However many cores, all of them are a candidate, none more, and the list stays short."""
    for cores in (1, 2, 6, 16, 96):
        threads = sorted({candidate.threads for candidate in candidates(cores=cores)})
        assert (threads[0], threads[-1]) == (1, cores)
        assert len(threads) <= 14


def test_candidates_fit_in_memory():
    """Slots whose context does not fit are left out, but one count always stays."""
    fit = candidates(cores=1, free_memory=5_000, slot_memory=1_000)
    assert [candidate.slots for candidate in fit] == [1, 2, 4]
    tight = candidates(cores=1, free_memory=10, slot_memory=1_000)
    assert [candidate.slots for candidate in tight] == [1]


def test_the_fastest_is_chosen():
    """A clearly faster candidate wins however many threads it needs."""
    assert choose([_rate(1, 1, 10.0), _rate(4, 8, 20.0)]).threads == 4


def test_ties_go_to_fewer_threads_and_slots():
    """Within the tolerance, fewer threads win, then fewer slots."""
    chosen = choose([_rate(2, 1, 10.0), _rate(1, 4, 9.8), _rate(1, 2, 9.7)])
    assert (chosen.threads, chosen.slots) == (1, 2)


@given(
    st.lists(
        st.tuples(st.integers(1, 8), st.integers(1, 8), st.floats(1, 1000)), min_size=1
    ).flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows)))
)
def test_the_choice_does_not_depend_on_the_order(both):
    """Any order of the same measurements gives the same threads and slots, near the best rate."""
    rows, shuffled = both
    first, second = (choose([_rate(*row) for row in order]) for order in (rows, shuffled))
    assert (first.threads, first.slots) == (second.threads, second.slots)
    assert first.tokens_per_second >= (1 - TOLERANCE) * max(row[2] for row in rows)


def test_nothing_measured_is_an_error():
    """Without one finished answer there is no choice, and the error has a hint."""
    with pytest.raises(EngineError) as caught:
        choose([Measurement(1, 1, None, 0, 1.0, "crashed")])
    assert caught.value.hint


def test_more_of_what_was_worse_is_not_tried():
    """Two threads clearly worse than one rule out four, but not more slots at one thread."""
    done = [_rate(1, 1, 100.0), _rate(2, 1, 3.0)]
    assert not worth_trying(Candidate(4, 1), done)
    assert not worth_trying(Candidate(2, 8), done)
    assert worth_trying(Candidate(1, 8), done)


def test_a_machine_with_busy_cores(question):
    """Where a second thread is 30 times slower, it is tried once, cut, and not chosen."""
    machine = Machine(lambda threads, slots: (1.0 if threads == 1 else 30.0) / min(slots, 4))
    result = _calibrate(machine, question)
    assert (result.threads, result.slots) == (1, 4)
    assert [candidate for candidate in machine.opened if candidate.threads > 1] == [Candidate(2, 1)]
    assert len(result.measurements) + len(result.skipped) == len(GRID)
    assert result.measurements[-1].answers < 16


def test_a_machine_with_free_cores(question):
    """Where threads and slots pay, most of both are chosen."""
    result = _calibrate(Machine(lambda threads, slots: 1.0 / (threads * slots)), question)
    assert (result.threads, result.slots) == (4, 8)


def test_the_budget_ends_the_search(question):
    """No candidate is begun after the budget, and the overshoot is less than one candidate."""
    machine = Machine(lambda threads, slots: 1.0 / (threads * slots))
    result = _calibrate(machine, question, budget=25.0)
    assert result.skipped
    assert result.seconds == machine.now < 25.0 + 16.0


def test_a_slow_machine_still_chooses(question):
    """One answer of the first candidate is finished even if it takes longer than the budget."""
    result = _calibrate(Machine(lambda *_: 60.0), question, budget=1.0)
    assert (result.threads, result.slots) == (1, 1)
    assert result.measurements[0].answers >= 1


def test_a_candidate_that_crashes_is_passed_over(question):
    """A crash counts against its candidate with its reason, not against the calibration."""
    machine = Machine(lambda _, slots: None if slots > 2 else 1.0 / slots)
    result = _calibrate(machine, question)
    assert result.slots == 2
    failed = [m for m in result.measurements if m.tokens_per_second is None]
    assert [m.failure for m in failed] == ["out of memory"]


def test_a_broken_model_is_not_measured(question):
    """ModelError goes through at once."""
    engine = ScriptedEngine(lambda _: "yes", Faults(refuse=frozenset({MODEL.location})))
    with pytest.raises(ModelError):
        calibrate(engine, MODEL, candidates=GRID, requests=[question(1)])


def test_the_choice_is_applied_to_a_profile():
    """Only threads and slots of a profile change."""
    chosen = Calibration(2, 4, (), (), 1.0).applied_to(LoadProfile(context=999, gpu_layers=3))
    assert chosen == LoadProfile(slots=4, context=999, threads=2, gpu_layers=3)


def test_a_real_engine_is_calibrated_within_its_budget(tiny_model, question):
    """The embedded engine is measured for real, and the time stays near the budget."""
    result = calibrate(
        EmbeddedEngine(),
        tiny_model,
        candidates=candidates(cores=2, slots=(1, 2)),
        requests=[question(n) for n in range(16)],
        budget_seconds=3.0,
        profile=LoadProfile(context=512),
    )
    assert result.seconds < 10.0
    assert result.measurements[0].answers == 16
    assert result.measurements[0].tokens_per_second > 0
