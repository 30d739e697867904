"""Print how long the verdict takes and how that grows.

    python benchmarks/verdict_speed.py

Times are CPU seconds of one core, the best of three, so that a busy machine does not blur them.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from so8t.verdict import (
    DIRECTION,
    EQUIVALENCE,
    Claim,
    Settings,
    decide,
    group_sequential,
    item_stream,
    place_bets,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

REPEATS = 3
MARGIN = 0.02


@dataclass(frozen=True)
class Timing:
    """One timing beside its limit (None: for information)."""

    what: str
    n: int
    seconds: float
    limit: float | None


def sample(n: int, discordance: float) -> NDArray[np.float64]:
    """Return differences without a true difference, so that no early decision shortens the work."""
    random = np.random.default_rng(n)
    u = random.random(n)
    return np.where(u < discordance / 2, 1.0, np.where(u < discordance, -1.0, 0.0))


def seconds(call: Callable[[], object]) -> float:
    """CPU seconds of the fastest of three calls."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


def gs(n: int, discordance: float) -> float:
    """GS with a look after each item, boundary and all."""
    d = sample(n, discordance)
    return seconds(lambda: group_sequential(d, n, stop=False))


def hedge(n: int) -> float:
    """Hedge with a look after each item: both directions and both sides of a margin."""
    d = sample(n, 0.2)
    claims = [Claim(side, 0.0, 0.025, DIRECTION) for side in (1, -1)]
    claims += [Claim(side, -MARGIN, 0.05, EQUIVALENCE) for side in (1, -1)]
    looks = np.arange(1, n + 1)
    return seconds(lambda: place_bets(item_stream(d, n), claims).at(looks))


def look(n: int, *, with_interval: bool) -> float:
    """One look on resume: everything recomputed from the differences."""
    d = sample(n, 0.2)
    settings = Settings(margin=MARGIN, binary=True)
    return seconds(lambda: decide(d, n, settings, with_interval=with_interval))


def main() -> int:
    timings = [
        *(Timing("GS, a look after each, discordance 20 %", n, gs(n, 0.2), None) for n in SIZES),
        Timing("GS, a look after each, discordance 20 %", 100_000, gs(100_000, 0.2), 5.0),
        Timing("GS, a look after each, discordance 100 %", 100_000, gs(100_000, 1.0), 5.0),
        *(Timing("Hedge, a look after each", n, hedge(n), None) for n in SIZES),
        Timing("Hedge, a look after each", 100_000, hedge(100_000), 5.0),
        *(
            Timing("decide on resume, no interval", n, look(n, with_interval=False), None)
            for n in (*SIZES, 100_000)
        ),
        Timing("decide on resume, no interval", 1_000_000, look(1_000_000, with_interval=False), 1),
        *(
            Timing("decide on resume, with interval", n, look(n, with_interval=True), None)
            for n in (*SIZES, 100_000, 1_000_000)
        ),
    ]
    print(f"{'what':42} {'items':>9} {'CPU s':>8} {'limit':>6}")
    for row in timings:
        limit = "" if row.limit is None else f"{row.limit:.0f}"
        mark = "  NOT MET" if row.limit is not None and row.seconds > row.limit else ""
        print(f"{row.what:42} {row.n:9,} {row.seconds:8.3f} {limit:>6}{mark}")
    d = sample(1_000_000, 0.2)
    tracemalloc.start()
    decide(d, d.size, Settings(margin=MARGIN, binary=True))
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    print(f"peak memory of decide at 1,000,000 items: {peak:.0f} MiB")
    return 0 if all(row.limit is None or row.seconds <= row.limit for row in timings) else 1


SIZES = (1_319, 10_000)

if __name__ == "__main__":
    sys.exit(main())
