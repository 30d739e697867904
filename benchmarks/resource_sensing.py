"""What looking at the machine and judging costs: CPU a sample, and time a decision.

    python benchmarks/resource_sensing.py [--looks 200]

Promised: under 0.5 % of one core at one look in 5 s (25 ms a look), a decision in under 1 ms.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import time as time_of_day

from so8t.resources.policy import ResourceLimits, State, decide
from so8t.resources.readings import ResourceSample
from so8t.resources.sensors import Sensors

INTERVAL = 5.0
MOST_SHARE, MOST_SECONDS = 0.005, 1e-3


def main() -> int:
    """Measure and print; fail where a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--looks", type=int, default=200)
    looks = parser.parse_args().looks
    sensors = Sensors()
    sensors.read()
    began = time.process_time()
    for _ in range(looks):
        sensors.read()
    sensing = (time.process_time() - began) / looks
    state, slowest, spent = State(level=4), 0.0, 0.0
    history: list[ResourceSample] = []
    for number in range(10_000):
        memory = 0.5 + 0.45 * (number % 97) / 97
        at = number * INTERVAL
        history = [*history, ResourceSample(at=at, monotonic=at, memory=memory, cpu_others=0.2)][
            -12:
        ]
        start = time.perf_counter()
        state = decide(history, state, ResourceLimits(most=8), time_of_day(12)).state
        took = time.perf_counter() - start
        slowest, spent = max(slowest, took), spent + took
    share = sensing / INTERVAL
    print(f"a look: {sensing * 1e3:.2f} ms of CPU, {share:.3%} of one core at {INTERVAL:.0f} s")
    print(f"a decision: {spent / 10_000 * 1e6:.0f} us on average, {slowest * 1e3:.2f} ms at most")
    return 0 if share < MOST_SHARE and spent / 10_000 < MOST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
