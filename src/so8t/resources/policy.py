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

    from so8t.resources.readings import ResourceSample

# Shares of memory, relative to the threshold that a person sets (0.9): the pause, the halving,
# the single step down, and the mark below which one more is tried. Where there is less room than
# this above a threshold, or below it, the distances shrink with it (`_over`).
_ROOM_ABOVE = 0.1
_ROOM_BELOW = 0.16
_HIGHEST = 0.99
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
# Steps in one hour, of all kinds: beyond the first number none up, beyond the second no way out of
# a pause and no smaller load either, and each step down goes to one. What is left then is that step
# and a pause, so there are never more than ten, and no pause is ever held back.
_HOUR = 3600.0
_STEPS_UP = 6
_STEPS = 8
# What a sensor told last stands for so long after it was lost: longer than a driver's restart. A
# card that is gone for good must not hold up a run on the CPU for ever.
_HELD = 600.0
_WARNINGS = {"normal": 0.0, "warning": 1.0, "critical": 2.0}
# With so much room one more may be twice as many, up to a level that did no harm before.
_ROOMY = -0.25
# Longer than a burst, shorter than a night: at the lowest level and still too full for so long,
# only loading the models smaller can help.
_SQUEEZE_AFTER = 120.0
_TRY_AGAIN_AFTER = 600.0


@dataclass(frozen=True, slots=True)
class Quiet:
    """Hours in which the run keeps low or still: local time.

    Over midnight where `end` is less than `start`, all day where they are equal.
    """

    start: time
    end: time
    pause: bool = False

    def holds(self, now: time) -> bool:
        """Whether `now` is within the hours."""
        if self.start < self.end:
            return self.start <= now < self.end
        return now >= self.start or now < self.end


@dataclass(frozen=True, slots=True)
class ResourceLimits:
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
        reductions: how many smaller ways to load the models there are.

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
    reductions: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What was last known of a quantity, and at which monotonic second."""

    name: str
    value: float
    at: float


@dataclass(frozen=True, slots=True)
class State:
    """What was decided so far.

    Attributes:
        level: answers in flight; 0 is a pause.
        reduction: which of the smaller ways to load the models is wanted, 0 for none.
        calm_until: no step before this monotonic second, except further down for safety.
        good: samples in a row that would allow one more.
        tight_since: since when memory has been too full at the lowest level, None while it is not.
        harmless: a level up to which nothing spoke against it but others' work, the hour or the
            battery.
        steps: monotonic seconds of the steps of the last hour.
        seen: monotonic second of the newest sample that was judged.
        known: what each sensor told last.

    """

    level: int
    reduction: int = 0
    calm_until: float = -math.inf
    good: int = 0
    tight_since: float | None = None
    harmless: int = 0
    steps: tuple[float, ...] = ()
    seen: float = -math.inf
    known: tuple[Known, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now. `reason` is a key for words ("memory_full"), None when nothing changes."""

    state: State
    reason: str | None


def decide(
    history: Sequence[ResourceSample], state: State, limits: ResourceLimits, now: time
) -> Decision:
    """Judge the newest sample of `history` (oldest first), at the local time of day `now`.

    One call a sample: a sample that was judged before changes nothing. An unknown quantity is no
    reason for a step in either direction: what was known of it last stands in the way of a step up
    for ten minutes more; while the machine's memory is unknown, the level rises to one and no
    further.
    """
    if not history or history[-1].monotonic <= state.seen:
        return Decision(state, None)
    sample = history[-1]
    kept = tuple(step for step in state.steps if sample.monotonic - step < _HOUR)
    known = _remembered(history, state, limits)
    state = replace(state, seen=sample.monotonic, steps=kept, known=known)
    decision = _judged(history, state, limits, now)
    if decision.reason is None:
        return decision
    steps = (*decision.state.steps, sample.monotonic)
    return Decision(replace(decision.state, steps=steps), decision.reason)


def unwatched(state: State, limits: ResourceLimits, monotonic: float, now: time) -> Decision:
    """Judge without a sample: nothing that can be seen any more may keep the run paused for ever.

    From a pause to one answer at a time, unless it is the hour that pauses; else nothing.
    """
    steps = tuple(step for step in state.steps if monotonic - step < _HOUR)
    ceiling, _ = min(_hours(limits, now), default=(1, ""))
    if state.level or ceiling == 0 or len(steps) >= _STEPS:
        return Decision(state, None)
    after = replace(state, level=1, good=0, tight_since=None, steps=(*steps, monotonic))
    return Decision(after, "unwatched")


def _judged(
    history: Sequence[ResourceSample], state: State, limits: ResourceLimits, now: time
) -> Decision:
    sample = history[-1]
    ceiling, reason = _rest(sample, limits, now)
    if state.level > ceiling:
        harmless = max(state.harmless, state.level)
        after = replace(state, level=ceiling, harmless=harmless, good=0, tight_since=None)
        return Decision(after, reason)
    if ceiling == 0:
        return Decision(replace(state, good=0, tight_since=None), None)
    return _down(history, state, limits) or _up(history, state, limits, ceiling)


def _rest(sample: ResourceSample, limits: ResourceLimits, now: time) -> tuple[int, str]:
    """Return the highest level that the hour and the battery allow both, and why."""
    found = [(limits.most, "limit"), *_hours(limits, now)]
    if sample.on_battery:
        low = sample.battery is not None and sample.battery < limits.low_battery
        found.append((0, "battery_low") if low else (1, "on_battery"))
    return min(found, key=lambda one: one[0])


def _hours(limits: ResourceLimits, now: time) -> list[tuple[int, str]]:
    return [(0 if one.pause else 1, "quiet_hours") for one in limits.quiet if one.holds(now)]


def _down(
    history: Sequence[ResourceSample], state: State, limits: ResourceLimits
) -> Decision | None:
    """Return the step down that the samples ask for; None when they ask for none."""
    sample, now = history[-1], history[-1].monotonic
    present = _fullness(sample, limits)
    full = max(present, _soon(history, limits))
    if full > _PAUSE_ABOVE or sample.memory_warning == "critical":
        if state.level == 0:
            return _tight(state, sample, full, limits)
        fast = present <= _PAUSE_ABOVE and sample.memory_warning != "critical"
        return _to(state, 0, now, "memory_filling_fast" if fast else "memory_critical")
    if state.level <= 1:
        warned = sample.memory_warning == "warning"
        reduced = full > _STEP_ABOVE or warned or _pressed(sample, limits)
        return _tight(state, sample, full, limits) if reduced else None
    wanted = _wanted(history, state.level, full, limits)
    if wanted is None:
        return None
    if now < state.calm_until:
        return Decision(replace(state, good=0), None)
    level, reason, calm = wanted
    harmless = max(state.harmless, state.level) if reason == "others_work" else level
    if len(state.steps) >= _STEPS:
        level = 1
    return _to(replace(state, harmless=harmless), level, now, reason, calm)


def _wanted(
    history: Sequence[ResourceSample], level: int, full: float, limits: ResourceLimits
) -> tuple[int, str, float] | None:
    """Return the level below `level` that the samples ask for, why, and the calm after it."""
    sample, half = history[-1], max(1, level // 2)
    others = limits.give_way and max(_others(history).values(), default=0.0) > limits.others
    fast = _fullness(sample, limits) <= _HALVE_ABOVE
    rules = (
        (
            full > _HALVE_ABOVE,
            half,
            "memory_filling_fast" if fast else "memory_full",
            _CALM_AFTER_HALVING,
        ),
        (_pressed(sample, limits), half, "memory_pressure", _CALM_AFTER_HALVING),
        (others, 1, "others_work", _CALM_AFTER_STEP),
        (full > _STEP_ABOVE, level - 1, "memory_filling", _CALM_AFTER_STEP),
        (sample.memory_warning == "warning", level - 1, "memory_filling", _CALM_AFTER_STEP),
        (_hot(sample, limits), level - 1, "gpu_hot", _CALM_AFTER_STEP),
    )
    return next((rule[1:] for rule in rules if rule[0]), None)


def _up(
    history: Sequence[ResourceSample], state: State, limits: ResourceLimits, ceiling: int
) -> Decision:
    """Count a good sample, and allow one more after enough of them."""
    sample = history[-1]
    state = replace(state, tight_since=None)
    if sample.memory is None and any(one.name == "memory" for one in state.known):
        ceiling = min(ceiling, 1)
    spent = len(state.steps) >= (_STEPS_UP if state.level else _STEPS)
    if state.level >= ceiling or spent or sample.throttled or not _room(state, limits):
        return Decision(replace(state, good=0), None)
    good = state.good + 1
    if good < _GOOD_SAMPLES or sample.monotonic < state.calm_until:
        return Decision(replace(state, good=good), None)
    reason = "resumed" if state.level == 0 else "room_again"
    level = state.level + 1
    if _fullness(sample, limits) < _ROOMY:
        level = max(level, min(2 * state.level, state.harmless, ceiling))
    return Decision(replace(state, level=level, good=0), reason)


def _room(state: State, limits: ResourceLimits) -> bool:
    """Whether all that is known, or was known of late, leaves room for one more."""
    known = {one.name: one.value for one in state.known if state.seen - one.at < _HELD}
    full = max((value for name, value in known.items() if _is_memory(name)), default=-1.0)
    # After a pause it is enough that the reason has gone; for more than that there must be room.
    if full > (_RISE_BELOW if state.level else _STEP_ABOVE):
        return False
    if known.get("memory_warning", 0.0) >= _WARNINGS["warning"]:
        return False
    if known.get("pressure", 0.0) > limits.pressure:
        return False
    if known.get("temperature", -math.inf) >= limits.cool:
        return False
    others = max(known.get("cpu_others", 0.0), known.get("gpu_others", 0.0))
    return not limits.give_way or others < limits.others_gone or state.level == 0


def _to(
    state: State, level: int, now: float, reason: str, calm: float = _CALM_AFTER_HALVING
) -> Decision:
    after = replace(state, level=level, calm_until=now + calm, good=0, tight_since=None)
    return Decision(after, reason)


def _tight(state: State, sample: ResourceSample, full: float, limits: ResourceLimits) -> Decision:
    """Memory is too full and nothing is left to step down to; load smaller when that lasts."""
    now = sample.monotonic
    since = now if state.tight_since is None else state.tight_since
    state = replace(state, tight_since=since, good=0)
    if now - since < _SQUEEZE_AFTER or len(state.steps) >= _STEPS:
        return Decision(state, None)
    if state.reduction >= limits.reductions:
        waited = now - since >= _TRY_AGAIN_AFTER and sample.memory_warning != "critical"
        if state.level == 0 and full <= _HALVE_ABOVE and waited:
            # Others fill the memory for good; one answer at a time still fits below the pause.
            return _to(state, 1, now, "resumed")
        return Decision(state, None)
    reduced = replace(
        state, reduction=state.reduction + 1, tight_since=None, calm_until=now + _CALM_AFTER_HALVING
    )
    return Decision(reduced, "memory_tight")


def _remembered(
    history: Sequence[ResourceSample], state: State, limits: ResourceLimits
) -> tuple[Known, ...]:
    """Return what was last known of each quantity; that memory was ever known is not forgotten."""
    sample = history[-1]
    found = _memories(sample, limits) | _others(history)
    for name in ("pressure", "temperature"):
        value = sample.metric(name)
        if value is not None:
            found[name] = value
    if sample.memory_warning in _WARNINGS:
        found["memory_warning"] = _WARNINGS[sample.memory_warning]
    now = sample.monotonic
    kept = {one.name: one for one in state.known if one.name == "memory" or now - one.at < _HELD}
    kept |= {name: Known(name, value, now) for name, value in found.items()}
    return tuple(kept.values())


def _memories(sample: ResourceSample, limits: ResourceLimits) -> dict[str, float]:
    """How far the machine's memory and each card's are above their thresholds, where known."""
    found = {} if sample.memory is None else {"memory": _over(sample.memory, limits.memory)}
    for gpu in sample.gpus:
        if gpu.memory is not None:
            name, over = f"card {gpu.index}", _over(gpu.memory, limits.gpu_memory)
            found[name] = max(over, found.get(name, over))
    return found


def _is_memory(name: str) -> bool:
    return name == "memory" or name.startswith("card ")


def _over(used: float, limit: float) -> float:
    """How far `used` is above a threshold, as if there were the usual room on both sides of it.

    Above 0.9 the marks move together so that all stay below 1 (1 counts as 0.99), and below 0.16
    so that all stay above 0.
    """
    limit = min(limit, _HIGHEST)
    above = used - limit
    room, usual = (1 - limit, _ROOM_ABOVE) if above > 0 else (limit, _ROOM_BELOW)
    return above * max(1.0, usual / room)


def _fullness(sample: ResourceSample, limits: ResourceLimits) -> float:
    """How far memory, or a card's, is above its threshold; the worst. -1 when nothing is known."""
    return max(_memories(sample, limits).values(), default=-1.0)


def _soon(history: Sequence[ResourceSample], limits: ResourceLimits) -> float:
    """Where memory will be in `_LOOK_AHEAD` seconds, relative to its threshold, if it fills on.

    Growth is that of one sensor between two readings; one that comes back has grown by nothing.
    """
    last = history[-1]
    earlier = [sample for sample in history if last.monotonic - sample.monotonic >= _SLOPE_OVER]
    ours = any(sample.level != last.level for sample in history[-4:])
    if not earlier or ours:
        return -1.0
    passed = last.monotonic - earlier[-1].monotonic
    before = _memories(earlier[-1], limits)
    return max(
        (
            _ahead(over, over - before[name], passed)
            for name, over in _memories(last, limits).items()
            if name in before
        ),
        default=-1.0,
    )


def _ahead(over: float, grown: float, passed: float) -> float:
    if grown < _FILLING:
        return -1.0
    soon = over + grown / passed * _LOOK_AHEAD
    # One large step of somebody's is no trend yet: far from the end it halves, and does not pause.
    return soon if over > _NEAR else min(soon, _PAUSE_ABOVE)


def _pressed(sample: ResourceSample, limits: ResourceLimits) -> bool:
    return sample.pressure is not None and sample.pressure > limits.pressure


def _hot(sample: ResourceSample, limits: ResourceLimits) -> bool:
    if "heat" in sample.throttled or "hardware" in sample.throttled:
        return True
    return sample.temperature is not None and sample.temperature > limits.hot


def _others(history: Sequence[ResourceSample]) -> dict[str, float]:
    """Shares of the CPU and of a card that others take, over three samples, where known."""
    last = history[-_SMOOTHED:]
    means = {}
    for name in ("cpu_others", "gpu_others"):
        known = [value for value in (sample.metric(name) for sample in last) if value is not None]
        if len(known) == _SMOOTHED:
            means[name] = sum(known) / len(known)
    return means
