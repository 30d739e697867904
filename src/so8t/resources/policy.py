"""How hard the run may work: a pure function of what was seen and of what was decided before.

Down fast, up slowly: additive increase, multiplicative decrease, with a dead band between the two
and a time of calm after each step down, so that the effect of a step is seen before the next one.
Work of our own at 100 % of the CPU is what a machine is for, and no reason for anything. The
figures are those that did best in a simulation of many days (docs/design/balancer.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.resources.readings import Sample

# Shares of memory, relative to the threshold that a person sets (0.9): the pause, the halving,
# the single step down, and the mark below which one more is tried.
_PAUSE_ABOVE = 0.06
_HALVE_ABOVE = 0.03
_STEP_ABOVE = -0.02
_RISE_BELOW = -0.08
_CALM_AFTER_HALVING = 60.0
_CALM_AFTER_STEP = 30.0
_GOOD_SAMPLES = 6
_SMOOTHED = 3
# Memory that fills is judged by where it will be: answers in flight hold theirs until they end.
_LOOK_AHEAD = 15.0
_FILLING = 0.02
_SLOPE_OVER = 4.5
_NEAR = -0.05
# Steps in one hour: beyond the first number none up, beyond the second each step down is the last.
_HOUR = 3600.0
_STEPS_UP = 6
_STEPS = 8
# With so much room one more may be twice as many, up to a level that did no harm before.
_ROOMY = -0.25
# Longer than a burst, shorter than a night: at the lowest level and still too full for so long,
# only loading the models smaller can help.
_SQUEEZE_AFTER = 120.0
_TRY_AGAIN_AFTER = 600.0


@dataclass(frozen=True, slots=True)
class Quiet:
    """Hours in which the run keeps low or still: local time, over midnight where `end` is less."""

    start: time
    end: time
    pause: bool = False

    def holds(self, now: time) -> bool:
        """Whether `now` is within the hours."""
        if self.start <= self.end:
            return self.start <= now < self.end
        return now >= self.start or now < self.end


@dataclass(frozen=True, slots=True)
class Limits:
    """What the policy goes by.

    Attributes:
        most: the highest level, in answers in flight.
        memory, gpu_memory: shares in use that count as full.
        pressure: share of time waiting for memory (PSI) that counts as high.
        others: share of the CPU or of a card that others take and that makes us give way.
        others_gone: share below which they count as gone.
        hot, cool: degrees Celsius of a card: one less above `hot`, one more only below `cool`.
        give_way: whether others' work counts at all.
        low_battery: charge below which a machine on battery pauses.
        squeezes: how many smaller ways to load the models there are.

    """

    most: int
    memory: float = 0.9
    gpu_memory: float = 0.9
    pressure: float = 0.2
    others: float = 0.5
    others_gone: float = 0.35
    hot: float = 87.0
    cool: float = 84.0
    give_way: bool = True
    low_battery: float = 0.2
    quiet: tuple[Quiet, ...] = ()
    squeezes: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What was decided so far.

    Attributes:
        level: answers in flight; 0 is a pause.
        squeeze: which of the smaller ways to load the models is wanted, 0 for none.
        calm_until: no step before this monotonic second, except further down for safety.
        good: samples in a row that would allow one more.
        tight_since: since when memory has been too full at the lowest level, None while it is not.
        harmless: a level up to which nothing spoke against it but others' work.
        steps: monotonic seconds of the steps of the last hour.
        seen: monotonic second of the newest sample that was judged.

    """

    level: int
    squeeze: int = 0
    calm_until: float = -math.inf
    good: int = 0
    tight_since: float | None = None
    harmless: int = 0
    steps: tuple[float, ...] = ()
    seen: float = -math.inf


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now. `reason` is a key for words ("memory_full"), None when nothing changes."""

    state: State
    reason: str | None


def decide(history: Sequence[Sample], state: State, limits: Limits, now: time) -> Decision:
    """Judge the newest sample of `history` (oldest first), at the local time of day `now`.

    One call a sample: a sample that was judged before changes nothing. An unknown quantity is no
    reason for a step in either direction.
    """
    if not history or history[-1].monotonic <= state.seen:
        return Decision(state, None)
    sample = history[-1]
    kept = tuple(step for step in state.steps if sample.monotonic - step < _HOUR)
    decision = _judged(history, replace(state, seen=sample.monotonic, steps=kept), limits, now)
    if decision.reason is None:
        return decision
    steps = (*decision.state.steps, sample.monotonic)
    return Decision(replace(decision.state, steps=steps), decision.reason)


def _judged(history: Sequence[Sample], state: State, limits: Limits, now: time) -> Decision:
    sample = history[-1]
    ceiling, reason = _rest(sample, limits, now)
    if state.level > ceiling:
        return Decision(replace(state, level=ceiling, good=0, tight_since=None), reason)
    if ceiling == 0:
        return Decision(replace(state, good=0, tight_since=None), None)
    return _down(history, state, limits) or _up(history, state, limits, ceiling)


def _rest(sample: Sample, limits: Limits, now: time) -> tuple[int, str]:
    """Return the highest level that the hour and the battery allow, and why."""
    for quiet in limits.quiet:
        if quiet.holds(now):
            return (0, "quiet_hours") if quiet.pause else (1, "quiet_hours")
    if sample.on_battery:
        if sample.battery is not None and sample.battery < limits.low_battery:
            return 0, "battery_low"
        return 1, "on_battery"
    return limits.most, "limit"


def _down(history: Sequence[Sample], state: State, limits: Limits) -> Decision | None:
    """Return the step down that the samples ask for; None when they ask for none."""
    sample, now = history[-1], history[-1].monotonic
    full = max(_fullness(sample, limits), _soon(history, limits))
    if full > _PAUSE_ABOVE or sample.memory_warning == "critical":
        if state.level == 0:
            return _tight(state, now, full, limits)
        return _to(state, 0, now, "memory_critical")
    if state.level <= 1:
        squeezed = full > _STEP_ABOVE or _pressed(sample, limits)
        return _tight(state, now, full, limits) if squeezed else None
    wanted = _wanted(history, state.level, full, limits)
    if wanted is None:
        return None
    if now < state.calm_until:
        return Decision(replace(state, good=0), None)
    level, reason, calm = wanted
    harmless = state.level if reason == "others_work" else level
    if len(state.steps) >= _STEPS:
        level = 1
    return _to(replace(state, harmless=harmless), level, now, reason, calm)


def _wanted(
    history: Sequence[Sample], level: int, full: float, limits: Limits
) -> tuple[int, str, float] | None:
    """Return the level below `level` that the samples ask for, why, and the calm after it."""
    sample, half = history[-1], max(1, level // 2)
    others = limits.give_way and _others(history) > limits.others
    rules = (
        (full > _HALVE_ABOVE, half, "memory_full", _CALM_AFTER_HALVING),
        (_pressed(sample, limits), half, "memory_pressure", _CALM_AFTER_HALVING),
        (others, 1, "others_work", _CALM_AFTER_STEP),
        (full > _STEP_ABOVE, level - 1, "memory_filling", _CALM_AFTER_STEP),
        (sample.memory_warning == "warning", level - 1, "memory_filling", _CALM_AFTER_STEP),
        (_hot(sample, limits), level - 1, "gpu_hot", _CALM_AFTER_STEP),
    )
    return next((rule[1:] for rule in rules if rule[0]), None)


def _up(history: Sequence[Sample], state: State, limits: Limits, ceiling: int) -> Decision:
    """Count a good sample, and allow one more after enough of them."""
    sample = history[-1]
    state = replace(state, tight_since=None)
    # After a pause it is enough that the reason has gone; for more than that there must be room.
    mark = _RISE_BELOW if state.level else _STEP_ABOVE
    fits = _fullness(sample, limits) <= mark and not _pressed(sample, limits)
    cool = sample.temperature is None or sample.temperature < limits.cool
    alone = not limits.give_way or _others(history) < limits.others_gone or state.level == 0
    spent = len(state.steps) >= (_STEPS_UP if state.level else _STEPS)
    if state.level >= ceiling or spent or not (fits and cool and alone and not sample.throttled):
        return Decision(replace(state, good=0), None)
    good = state.good + 1
    if good < _GOOD_SAMPLES or sample.monotonic < state.calm_until:
        return Decision(replace(state, good=good), None)
    reason = "resumed" if state.level == 0 else "room_again"
    level = state.level + 1
    if _fullness(sample, limits) < _ROOMY:
        level = max(level, min(2 * state.level, state.harmless, ceiling))
    return Decision(replace(state, level=level, good=0), reason)


def _to(
    state: State, level: int, now: float, reason: str, calm: float = _CALM_AFTER_HALVING
) -> Decision:
    after = replace(state, level=level, calm_until=now + calm, good=0, tight_since=None)
    return Decision(after, reason)


def _tight(state: State, now: float, full: float, limits: Limits) -> Decision:
    """Memory is too full and nothing is left to step down to; load smaller when that lasts."""
    since = now if state.tight_since is None else state.tight_since
    state = replace(state, tight_since=since, good=0)
    if now - since < _SQUEEZE_AFTER:
        return Decision(state, None)
    if state.squeeze >= limits.squeezes:
        waited = now - since >= _TRY_AGAIN_AFTER and len(state.steps) < _STEPS
        if state.level == 0 and full <= _HALVE_ABOVE and waited:
            # Others fill the memory for good; one answer at a time still fits below the pause.
            return _to(state, 1, now, "resumed")
        return Decision(state, None)
    squeezed = replace(
        state, squeeze=state.squeeze + 1, tight_since=None, calm_until=now + _CALM_AFTER_HALVING
    )
    return Decision(squeezed, "memory_tight")


def _fullness(sample: Sample, limits: Limits) -> float:
    """How far memory, or a card's, is above its threshold; the worse of the two."""
    above = [
        used - limit
        for used, limit in (
            (sample.memory, limits.memory),
            (sample.gpu_memory, limits.gpu_memory),
        )
        if used is not None
    ]
    return max(above, default=-1.0)


def _soon(history: Sequence[Sample], limits: Limits) -> float:
    """Where memory will be in `_LOOK_AHEAD` seconds, relative to its threshold, if it fills on."""
    last = history[-1]
    earlier = [sample for sample in history if last.monotonic - sample.monotonic >= _SLOPE_OVER]
    if not earlier:
        return -1.0
    before = earlier[-1]
    passed = last.monotonic - before.monotonic
    grown = _fullness(last, limits) - _fullness(before, limits)
    ours = any(sample.level != last.level for sample in history[-4:])
    if passed <= 0 or grown < _FILLING or ours:
        return -1.0
    soon = _fullness(last, limits) + grown / passed * _LOOK_AHEAD
    # One large step of somebody's is no trend yet: far from the end it halves, and does not pause.
    return soon if _fullness(last, limits) > _NEAR else min(soon, _PAUSE_ABOVE)


def _pressed(sample: Sample, limits: Limits) -> bool:
    return sample.pressure is not None and sample.pressure > limits.pressure


def _hot(sample: Sample, limits: Limits) -> bool:
    if "heat" in sample.throttled or "hardware" in sample.throttled:
        return True
    return sample.temperature is not None and sample.temperature > limits.hot


def _others(history: Sequence[Sample]) -> float:
    """Share of the CPU or of a card that others take, over three samples; 0 when unknown."""
    last = history[-_SMOOTHED:]
    means = []
    for name in ("cpu_others", "gpu_others"):
        known = [value for value in (sample.metric(name) for sample in last) if value is not None]
        if len(known) == _SMOOTHED:
            means.append(sum(known) / len(known))
    return max(means, default=0.0)
