"""Days on a workstation, simulated: the balancer's policy beside fixed levels.

    python tests/lab/balancer_day.py [--seeds 40] [--first 0]

One day is 17,280 samples of 5 s. Other people start programs that fill memory and take cores; we
hold the models and something more for each answer in flight, and give it back only when an answer
has ended. What is over 100 % of memory is an out-of-memory kill: a fixed level is dead from then
on, and the policy must have none. Nothing here is measured: it is a model of a machine, to
compare rules with each other under the same circumstances. The policy was tuned on the days 0 to
11; what it is worth is seen on others (`--first 1000`).
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
from collections import deque
from dataclasses import dataclass
from datetime import time

from so8t.resources.policy import ResourceLimits, State, decide
from so8t.resources.readings import Gpu, ResourceSample

STEP = 5.0
SAMPLES = 24 * 720
GIB = 1.0
CAPACITY, MODELS, ANSWER, DESKTOP = 32 * GIB, 6 * GIB, 1.2 * GIB, 5 * GIB
CORES, MOST = 8, 8
ANSWER_SAMPLES = 2  # an answer in flight ends within 10 s


@dataclass(frozen=True)
class Program:
    """Somebody else's program: when it runs, what it takes at its height, how fast it grows."""

    start: int
    stop: int
    memory: float
    cores: float
    growth: float  # GiB a sample


@dataclass(frozen=True)
class Day:
    """What came of one day. `work` is answers, in units of one worker's speed for one sample."""

    work: float
    changes: int
    most_changes_in_an_hour: int
    out_of_memory: int
    peak: float
    paused: int


def programs(seed: int) -> list[Program]:
    """Draw a day's programs: at most two of them at a time are large."""
    chance = random.Random(seed)
    made, at = [], 0.0
    while (at := at + chance.expovariate(1 / 500)) < SAMPLES:
        hours = chance.choice((0.1, 0.3, 0.7, 1.5))
        large = chance.random() < 0.5
        made.append(
            Program(
                int(at),
                int(at + hours * 720),
                chance.uniform(4, 11) * GIB if large else chance.uniform(0.2, 1.5) * GIB,
                chance.choice((0.5, 1, 2, 6)),
                chance.uniform(0.05, 0.9) * GIB,
            )
        )
    return made


class Machine:
    """The machine on one day; `load` gives what others take at a sample."""

    def __init__(self, seed: int) -> None:
        self._programs = programs(seed)
        self._noise = random.Random(f"noise {seed}")

    def load(self, now: int) -> tuple[float, float]:
        """Memory in GiB and cores that others take."""
        memory, cores = DESKTOP + self._noise.gauss(0, 0.1), max(0.0, self._noise.gauss(0.3, 0.1))
        for one in self._programs:
            if one.start <= now < one.stop:
                memory += min(one.memory, one.growth * (now - one.start + 1))
                cores += one.cores
        # A machine that its owner's programs alone overfill says nothing about us.
        return min(memory, CAPACITY - MODELS - 1.5 * ANSWER), min(cores, float(CORES))


def simulate(seed: int, fixed: int | None = None) -> Day:
    """Play one day, under the policy or at a fixed level."""
    machine, limits = Machine(seed), ResourceLimits(most=MOST)
    state = State(level=fixed or MOST)
    flying: deque[int] = deque([0] * ANSWER_SAMPLES, maxlen=ANSWER_SAMPLES)
    history: deque[ResourceSample] = deque(maxlen=12)
    work, kills, peak, paused, when = 0.0, 0, 0.0, 0, []
    for now in range(SAMPLES):
        others_memory, others_cores = machine.load(now)
        flying.append(state.level)
        held = MODELS + ANSWER * max(flying)
        used = (others_memory + held) / CAPACITY
        peak = max(peak, used)
        if used > 1.0:
            kills += 1
            if fixed is not None:
                break
            flying.extend([0] * ANSWER_SAMPLES)
        free = CORES - others_cores
        # Each answer uses one core; where others compute, we get what is left, and a little more.
        work += min(state.level, max(free, 0.15 * CORES)) if state.level else 0.0
        paused += state.level == 0
        if fixed is not None:
            continue
        history.append(
            ResourceSample(
                at=now * STEP,
                monotonic=now * STEP,
                cpu=1.0,
                cpu_others=others_cores / CORES,
                memory=min(1.0, used),
                level=state.level,
                gpus=(Gpu(0, temperature=70.0),),
            )
        )
        decision = decide(list(history), state, limits, time(12))
        if decision.reason is not None:
            when.append(now)
        state = decision.state
    busiest = max((sum(0 <= t - s < 720 for t in when) for s in when), default=0)
    return Day(work, len(when), busiest, kills, peak, paused)


def main() -> int:
    """Print the table; fail where a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=40, help="how many days")
    parser.add_argument("--first", type=int, default=0, help="seed of the first day")
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.seeds)
    rows = {f"fixed {level}": [simulate(s, level) for s in seeds] for level in range(1, MOST + 1)}
    rows["balanced"] = [simulate(s) for s in seeds]
    print("rule      work/day   died  changes/h  most in an hour  peak memory  paused")
    for name, days in rows.items():
        died = sum(day.out_of_memory > 0 for day in days)
        work = statistics.mean(day.work for day in days)
        changes = statistics.mean(day.changes for day in days) / 24
        busiest = max(day.most_changes_in_an_hour for day in days)
        peak = max(day.peak for day in days)
        still = statistics.mean(day.paused for day in days) / SAMPLES
        print(
            f"{name:9} {work:8.0f}  {died:4}  {changes:9.2f}  {busiest:15}  {peak:11.1%}"
            f"  {still:6.2%}"
        )
    fixed = {name: days for name, days in rows.items() if name != "balanced"}
    surviving = {
        name: statistics.mean(day.work for day in days)
        for name, days in fixed.items()
        if not any(day.out_of_memory for day in days)
    }
    best = max(surviving.values(), default=-math.inf)
    mine = rows["balanced"]
    promises = {
        "no out-of-memory": not any(day.out_of_memory for day in mine),
        "at most 10 changes an hour": all(day.most_changes_in_an_hour <= 10 for day in mine),
        "work at least that of the best fixed level that survives every day": statistics.mean(
            day.work for day in mine
        )
        >= best,
    }
    for promise, holds in promises.items():
        print(f"{'holds' if holds else 'BROKEN'}: {promise}")
    return 0 if all(promises.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
