"""The balancer's decisions: down fast, up slowly, never for the sake of our own work."""

from __future__ import annotations

from dataclasses import replace
from datetime import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from so8t.resources.policy import Limits, Quiet, State, decide
from so8t.resources.readings import Gpu, Sample

NOON = time(12)
LIMITS = Limits(most=8, squeezes=3)
SHARES = st.none() | st.floats(0, 1)


# No deadlines: a test machine may be busy.
MANY = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
FEW = settings(MANY, max_examples=20)


def sample(at: float, **seen) -> Sample:
    return Sample(at=at, monotonic=at, **seen)


def play(seen: list[dict], state: State, limits: Limits = LIMITS, now: time = NOON):
    """Play samples 5 s apart; return the states and the reasons."""
    history, states, reasons = [], [], []
    for number, one in enumerate(seen):
        history.append(sample(5.0 * number, **{"level": state.level} | one))
        decision = decide(history[-12:], state, limits, now)
        state = decision.state
        states.append(state)
        reasons.append(decision.reason)
    return states, reasons


TRACES = st.lists(
    st.fixed_dictionaries(
        {
            "memory": SHARES,
            "cpu": SHARES,
            "cpu_own": SHARES,
            "cpu_others": SHARES,
            "pressure": SHARES,
            "battery": SHARES,
            "on_battery": st.none() | st.booleans(),
            "gpus": st.lists(
                st.builds(
                    Gpu,
                    st.just(0),
                    utilization=SHARES,
                    temperature=st.none() | st.floats(0, 120),
                    memory_used=st.none() | st.integers(0, 100),
                    memory_total=st.none() | st.just(100),
                    throttled=st.none() | st.sampled_from([(), ("heat",), ("power",)]),
                ),
                max_size=2,
            ).map(tuple),
        }
    ),
    min_size=1,
    max_size=120,
)


@MANY
@given(TRACES, st.integers(0, 8))
def test_whatever_is_seen_the_level_stays_in_its_range_and_rises_slowly(trace, level):
    """0 to most; up by one (or to a level known as harmless), never before six samples."""
    before, since_step = State(level=level), 0
    states, reasons = play(trace, before)
    for state, reason in zip(states, reasons, strict=True):
        since_step += 1
        assert 0 <= state.level <= LIMITS.most
        assert state.squeeze <= LIMITS.squeezes
        if state.level > before.level:
            assert state.level == before.level + 1 or state.level <= before.harmless
            assert since_step >= 6 or reason == "resumed"
        assert (state.level, state.squeeze) == (before.level, before.squeeze) or reason
        if reason:
            since_step = 0
        before = state


@MANY
@given(TRACES, st.integers(1, 8))
def test_what_is_unknown_moves_nothing_down(trace, level):
    """Samples in which nothing could be read are no reason for a step down."""
    states, reasons = play([{} for _ in trace], State(level=level))
    assert all(state.level >= level for state in states)
    assert set(reasons) <= {None, "room_again"}


@MANY
@given(TRACES)
def test_equal_histories_give_equal_decisions(trace):
    """The decision is a function of its arguments alone, and a sample is judged once."""
    states, _ = play(trace, State(level=4))
    again, _ = play(trace, State(level=4))
    assert states == again
    last = sample(5.0 * (len(trace) - 1), **trace[-1])
    assert decide([last], states[-1], LIMITS, NOON).reason is None


@MANY
@given(st.floats(0, 1), st.integers(1, 8))
def test_our_own_work_is_no_reason_to_do_less(own, level):
    """At any CPU share of our own, 100 % included, the level never falls."""
    busy = {"cpu": own, "cpu_own": own, "cpu_others": 0.0, "memory": 0.5}
    states, _ = play([busy] * 60, State(level=level))
    assert all(state.level >= level for state in states)
    assert states[-1].level > level or level == LIMITS.most


@MANY
@given(st.integers(1, 8), st.floats(0.961, 1.0))
def test_memory_at_its_end_pauses_at_once(level, memory):
    """Above 96 % the very next decision is a pause, calm or not."""
    calm = State(level=level, calm_until=1e9)
    states, reasons = play([{"memory": memory}], calm)
    assert states[0].level == 0
    assert reasons == ["memory_critical"]


def test_full_memory_halves_and_then_waits():
    """Above 93 %: half, then a minute in which the effect is waited for, then half again."""
    states, reasons = play([{"memory": 0.94}] * 14, State(level=8))
    assert [state.level for state in states] == [4] * 12 + [2] * 2
    assert reasons[0] == reasons[12] == "memory_full"


def test_filling_memory_takes_one_less():
    """Above 88 %: one less, and one more half a minute later."""
    states, _ = play([{"memory": 0.89}] * 8, State(level=8))
    assert [state.level for state in states] == [7] * 6 + [6] * 2


def test_between_the_marks_nothing_moves():
    """From 82 to 88 % the level neither falls nor rises."""
    states, reasons = play([{"memory": 0.85}] * 200, State(level=4))
    assert {state.level for state in states} == {4}
    assert set(reasons) == {None}


def test_memory_that_fills_fast_is_met_before_it_is_full():
    """At 70 % but rising by 7 points a sample, the run already steps back."""
    states, _ = play([{"memory": 0.63}, {"memory": 0.70}, {"memory": 0.77}], State(level=8))
    assert states[1].level < 8


def test_others_come_first_and_the_run_comes_back():
    """Half the CPU for others: one answer at a time; once they are gone it rises again."""
    others = [{"cpu_others": 0.7, "memory": 0.4}] * 10
    alone = [{"cpu_others": 0.05, "memory": 0.4}] * 40
    states, reasons = play(others + alone, State(level=8))
    assert states[9].level == 1
    assert states[-1].level == 8
    assert reasons.count("others_work") == 1


def test_giving_way_can_be_switched_off():
    """With give_way off others' work moves nothing."""
    limits = replace(LIMITS, give_way=False)
    states, _ = play([{"cpu_others": 0.9, "memory": 0.4}] * 10, State(level=8), limits)
    assert states[-1].level == 8


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (Gpu(0, temperature=91.0), "gpu_hot"),
        (Gpu(0, temperature=70.0, throttled=("heat",)), "gpu_hot"),
        (Gpu(0, memory_used=94, memory_total=100), "memory_full"),
        (Gpu(0, memory_used=97, memory_total=100), "memory_critical"),
        (Gpu(0, others_utilization=0.8), "others_work"),
    ],
)
def test_a_card_in_trouble_is_a_reason(card, reason):
    """Heat, a full card and somebody else's work on it each lower the level."""
    states, reasons = play([{"memory": 0.3, "gpus": (card,)}] * 3, State(level=8))
    assert [one for one in reasons if one] == [reason]
    assert states[-1].level < 8


def test_memory_that_stays_too_full_asks_for_a_smaller_load():
    """At one answer in flight and too full for two minutes, the next smaller load is asked for."""
    states, reasons = play([{"memory": 0.91}] * 26, State(level=1))
    assert states[-1].squeeze == 1
    assert reasons.count("memory_tight") == 1
    assert reasons.index("memory_tight") == 24


def test_quiet_hours_hold_and_end():
    """In quiet hours one answer at a time or none, over midnight too; afterwards it rises."""
    quiet = replace(LIMITS, quiet=(Quiet(time(22), time(7)),))
    pause = replace(LIMITS, quiet=(Quiet(time(9), time(18), pause=True),))
    idle = [{"memory": 0.3}]
    assert play(idle, State(level=8), quiet, time(3))[0][0].level == 1
    assert play(idle, State(level=8), quiet, time(8))[0][0].level == 8
    assert play(idle, State(level=8), pause, NOON)[0][0].level == 0
    assert play(idle * 12, State(level=0), pause, time(19))[0][-1].level >= 1


def test_on_battery_the_run_keeps_low_and_then_still():
    """On battery one answer at a time; nearly empty, none."""
    states, _ = play([{"battery": 0.6, "on_battery": True}], State(level=8))
    assert states[0].level == 1
    states, reasons = play([{"battery": 0.1, "on_battery": True}], State(level=8))
    assert (states[0].level, reasons[0]) == (0, "battery_low")


@FEW
@given(TRACES)
def test_steps_in_an_hour_are_few(trace):
    """Whatever comes, besides pauses for safety and for the owner there are at most ten steps."""
    _, reasons = play((trace * 720)[:720], State(level=8))
    owner = {"memory_critical", "battery_low", "on_battery", "quiet_hours", "memory_tight"}
    assert sum(reason is not None and reason not in owner for reason in reasons) <= 10
