"""The balancer's decisions: down fast, up slowly, never for the sake of our own work."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from so8t.resources.policy import Quiet, ResourceLimits, State, decide, unwatched
from so8t.resources.readings import Gpu, ResourceSample

NOON = time(12)
LIMITS = ResourceLimits(most=8, reductions=3)
SHARES = st.none() | st.floats(0, 1)


# No deadlines: a test machine may be busy.
MANY = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
FEW = settings(MANY, max_examples=20)


def sample(at: float, **seen) -> ResourceSample:
    return ResourceSample(at=at, monotonic=at, **seen)


def play(seen: list[dict], state: State, limits: ResourceLimits = LIMITS, now: time = NOON):
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
        assert state.reduction <= LIMITS.reductions
        if state.level > before.level:
            assert state.level == before.level + 1 or state.level <= before.harmless
            assert since_step >= 6 or reason == "resumed"
        assert (state.level, state.reduction) == (before.level, before.reduction) or reason
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
    assert states[-1].reduction == 1
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


def test_quiet_hours_from_a_time_to_the_same_time_are_all_day():
    """09:00 to 09:00 is the whole day, and not no time at all."""
    assert all(Quiet(time(9), time(9)).holds(time(hour)) for hour in range(24))


def test_on_battery_the_run_keeps_low_and_then_still():
    """On battery one answer at a time; nearly empty, none."""
    states, _ = play([{"battery": 0.6, "on_battery": True}], State(level=8))
    assert states[0].level == 1
    states, reasons = play([{"battery": 0.1, "on_battery": True}], State(level=8))
    assert (states[0].level, reasons[0]) == (0, "battery_low")


CARD = {"memory": 0.5, "gpus": (Gpu(0, memory_used=99, memory_total=100),)}
LOST = {"memory": 0.5, "gpus": (Gpu(0, fault="lost from the bus"),)}


@pytest.mark.parametrize(
    ("known", "lost", "level"),
    [
        ({"memory": 0.97}, {}, 0),
        (CARD, LOST, 0),
        (CARD, {"memory": 0.5}, 0),
        ({"memory": 0.5, "cpu_others": 0.9}, {"memory": 0.5}, 1),
        ({"memory": 0.5, "pressure": 0.9}, {"memory": 0.5}, 1),
        ({"memory": 0.5, "gpus": (Gpu(0, temperature=95.0),)}, LOST, 1),
        ({"memory": 0.5, "memory_warning": "critical"}, {"memory": 0.5}, 0),
    ],
)
def test_a_sensor_that_is_lost_holds_what_it_told_last(known, lost, level):
    """For ten minutes nothing rises after a reading that spoke against it; then the rest counts."""
    before = [known] * 60
    states, _ = play(before + [lost] * 119, State(level=8))
    assert {state.level for state in states[60:]} == {level}
    states, _ = play(before + [lost] * 780, State(level=8))
    assert states[-1].level > level


def test_while_the_machines_memory_is_unknown_one_answer_is_the_most():
    """A pause does not last for ever without a sensor, but nobody goes up blindly."""
    states, _ = play([{"memory": 0.97}] * 3 + [{}] * 700, State(level=8))
    assert max(state.level for state in states) == states[-1].level == 1
    states, reasons = play([{"memory": 0.5}] + [{}] * 60, State(level=4))
    assert states[-1].level == 4
    assert set(reasons) == {None}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            LOST | {"memory": 0.3},
            {"memory": 0.3, "gpus": (Gpu(0, memory_used=87, memory_total=100),)},
        ),
        ({}, {"memory": 0.87}),
        (
            {"memory": 0.3, "gpus": (Gpu(1, memory_used=20, memory_total=100),)},
            {"memory": 0.3, "gpus": (Gpu(0, memory_used=87, memory_total=100),)},
        ),
    ],
)
def test_a_sensor_that_returns_has_not_filled(before, after):
    """Growth is that of one sensor between two readings: what comes back is judged as it is."""
    states, reasons = play([before] * 6 + [after] * 6, State(level=8))
    assert set(reasons) == {None}
    assert states[-1].level == 8


def test_of_all_that_applies_the_lowest_holds():
    """Quiet hours hide no dying battery, and of two that overlap the pause wins in any order."""
    low, pause = Quiet(time(9), time(18)), Quiet(time(9), time(18), pause=True)
    dying = {"memory": 0.3, "on_battery": True, "battery": 0.05}
    states, reasons = play([dying], State(level=8), replace(LIMITS, quiet=(low,)))
    assert (states[0].level, reasons[0]) == (0, "battery_low")
    for both in ((low, pause), (pause, low)):
        assert play([{}], State(level=8), replace(LIMITS, quiet=both))[0][0].level == 0


@pytest.mark.parametrize("cause", ["quiet", "battery", "others"])
@pytest.mark.parametrize("most", [8, 32])
def test_after_the_hour_the_battery_or_others_the_level_is_soon_back(cause, most):
    """None of the three says that the level did harm: it doubles, and is back in 3 minutes."""
    limits = replace(LIMITS, most=most, quiet=(Quiet(time(9), time(10)),))
    seen = {"quiet": {}, "battery": {"on_battery": True}, "others": {"cpu_others": 0.9}}[cause]
    state, history = State(level=most), []
    for number in range(60):
        low = number < 24
        one = {"memory": 0.3} | (seen if low else {"cpu_others": 0.0})
        history.append(sample(5.0 * number, level=state.level, **one))
        clock = time(9, 30) if low and cause == "quiet" else NOON
        state = decide(history[-12:], state, limits, clock).state
        assert state.level == 1 or number < 3 or not low
    assert state.level == most


@pytest.mark.parametrize(
    ("limit", "pause", "half"),
    [(0.9, 0.961, 0.931), (0.94, 0.977, 0.959), (0.97, 0.9885, 0.98), (1.0, 0.997, 0.9935)],
)
def test_the_marks_above_a_high_threshold_stay_below_one(limit, pause, half):
    """At 0.9 pause above 0.96, half above 0.93; nearer to 1 they move together, and none is off."""
    for name in ("memory", "gpu_memory"):
        limits = replace(LIMITS, **{name: limit})
        for used, wanted in ((pause, 0), (half, 4), (half - 0.002, None)):
            card = (Gpu(0, memory_used=round(used * 10_000), memory_total=10_000),)
            seen = {"memory": used} if name == "memory" else {"memory": 0.1, "gpus": card}
            level = play([seen], State(level=8), limits)[0][0].level
            assert level == wanted if wanted is not None else level > 4


@pytest.mark.parametrize("limit", [0.02, 0.05, 0.08, 0.5])
def test_below_a_low_threshold_there_is_a_way_up(limit):
    """A threshold under 0.16 leaves room below it too: at a third of it the level rises."""
    states, _ = play([{"memory": limit / 3}] * 20, State(level=1), replace(LIMITS, memory=limit))
    assert states[-1].level > 1


def test_a_warning_of_the_system_is_no_room():
    """macOS warns: from one answer nothing rises while it does, nor the pause after a crisis."""
    warned = {"memory": 0.5, "memory_warning": "warning"}
    states, reasons = play([warned] * 300, State(level=1), ResourceLimits(most=8))
    assert {state.level for state in states} == {1}
    assert set(reasons) == {None}
    crisis = [warned | {"memory_warning": "critical"}]
    states, _ = play(crisis + [warned] * 100, State(level=8), ResourceLimits(most=8))
    assert {state.level for state in states} == {0}


def test_a_forecast_is_called_one():
    """Memory that will be full is not called full."""
    seen = [{"memory": 0.60}, {"memory": 0.70}]
    assert play(seen, State(level=8))[1][1] == "memory_filling_fast"
    assert play([{"memory": 0.94}], State(level=8))[1] == ["memory_full"]


def test_without_a_watch_nothing_stays_paused():
    """From a pause to one answer, not further; quiet hours still pause; ten steps are ten."""
    assert unwatched(State(level=0), LIMITS, 9.0, NOON).state.level == 1
    assert unwatched(State(level=3), LIMITS, 9.0, NOON).reason is None
    quiet = replace(LIMITS, quiet=(Quiet(time(9), time(18), pause=True),))
    assert unwatched(State(level=0), quiet, 9.0, NOON).reason is None
    many = State(level=0, steps=tuple(map(float, range(8))))
    assert unwatched(many, LIMITS, 9.0, NOON).reason is None
    assert unwatched(many, LIMITS, 3607.0, NOON).reason == "unwatched"


@FEW
@given(TRACES)
def test_steps_in_an_hour_are_few(trace):
    """Whatever comes, in any hour at most ten steps, pauses and smaller loads included."""
    _, reasons = play((trace * 720)[:1440], State(level=8))
    taken = [number for number, reason in enumerate(reasons) if reason]
    assert all(sum(0 <= other - one < 720 for other in taken) <= 10 for one in taken)


@pytest.mark.parametrize("seed", range(12))
def test_steps_are_few_on_a_machine_that_comes_and_goes(seed):
    """Memory, others and the mains change every few minutes, sensors fail: ten an hour at most."""
    chance = random.Random(seed)
    limits = ResourceLimits(most=8, reductions=chance.choice((0, 2, 6)))
    one: dict = {"memory": 0.5, "cpu_others": 0.0, "on_battery": False, "battery": 0.5}
    trace = []
    for _ in range(2160):
        if chance.random() < 0.02:
            one |= {"memory": chance.choice((0.3, 0.5, 0.85, 0.89, 0.92, 0.94, 0.97, None))}
        if chance.random() < 0.02:
            one |= {"cpu_others": chance.choice((0, 0.4, 0.9, None))}
        if chance.random() < 0.01:
            one |= {"on_battery": chance.random() < 0.3}
        trace.append(dict(one))
    states, reasons = play(trace, State(level=8), limits)
    taken = [number for number, reason in enumerate(reasons) if reason]
    assert taken
    assert all(sum(0 <= other - first < 720 for other in taken) <= 10 for first in taken)
    full = [number for number, seen in enumerate(trace) if (seen["memory"] or 0) > 0.96]
    assert all(states[number].level == 0 for number in full)
