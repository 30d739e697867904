"""Measure the error rates, the power and the economy of the verdict, with fixed seeds.

    python benchmarks/verdict_simulation.py            all rows, both cores, some minutes
    python benchmarks/verdict_simulation.py --quick    a tenth of the runs

Every run is a fresh random order of a fresh sample, looked at after each item. Rows marked "as
shipped" go through `so8t.verdict.decide`; the others play the same bets for many runs at once,
after checking on a few of them that `decide` says the same.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

import verdict_claims as claims
from so8t.verdict import (
    DIRECTION,
    EQUIVALENCE,
    Horizons,
    Outcome,
    Settings,
    decide,
    group_sequential,
    mcnemar_exact,
    paired_mean,
)
from so8t.verdict.hedge import LARGEST_STAKE, play, predicted_spread
from verdict_claims import Row, at_most

Floats = NDArray[np.float64]
ALPHA = 0.05
LOST_AT_MOST = 0.03
SMALL_GAINS = 0.9
DIRECTIONS = (Outcome.B_BETTER, Outcome.A_BETTER)


def binary(random: np.random.Generator, n: int, runs: int, q: float, difference: float) -> Floats:
    """Differences of binary scores, shape (n, runs): discordance q, mean `difference`."""
    u = random.random((n, runs))
    return np.where(u < (q + difference) / 2, 1.0, np.where(u < q, -1.0, 0.0))


def skewed(random: np.random.Generator, n: int, runs: int) -> Floats:
    """Graded scores without a difference: many small gains, few large losses."""
    return np.where(random.random((n, runs)) < SMALL_GAINS, 0.1, -0.9)


def best_wealth(x: Floats, bound: float, alpha: float, horizons: Horizons) -> Floats:
    """Largest wealth of each run's bettor on "the mean is above bound"; shape (runs,)."""
    n, runs = x.shape
    before = np.cumsum(x, axis=0) - x
    squares = np.cumsum(x * x, axis=0) - x * x
    seen = np.arange(n)
    ahead = np.array(horizons.shares) * n - seen[:, None]
    reach = np.where(ahead > 0, 1.0 / np.sqrt(np.maximum(ahead, 1e-9)), 0.0)
    totals, _ = play(
        x - bound,
        np.full((n, 1), LARGEST_STAKE / (1.0 + bound)),
        reach[:, :, None],
        threshold=np.full(runs, 1.0 / alpha),
        weights=np.array(horizons.weights)[:, None],
        pace=1.0 / predicted_spread(seen[:, None], before, squares),
    )
    return np.asarray(totals.max(axis=0))


def chunks(n: int, runs: int) -> Iterator[int]:
    """Split runs so that an array of them stays near 20 MB."""
    size = max(1, min(runs, 2_500_000 // n))
    for start in range(0, runs, size):
        yield min(size, runs - start)


def false_direction(seed: int, runs: int, n: int, q: float) -> list[Row]:
    """Binary scores, no difference, as shipped: how often is one arm called better?"""
    random = np.random.default_rng(seed)
    settings = Settings(alpha=ALPHA, futility=False, binary=True)
    hits = 0
    for size in chunks(n, runs):
        for d in binary(random, n, size, q, 0.0).T:
            hits += decide(d, n, settings, with_interval=False).outcome in DIRECTIONS
    return [at_most(f"false direction, N {n}, discordance {q:.0%}, as shipped", ALPHA, hits, runs)]


def false_direction_graded(seed: int, runs: int, n: int) -> list[Row]:
    """Skewed graded scores, no difference."""
    random = np.random.default_rng(seed)
    hits = 0
    for size in chunks(n, runs):
        x = skewed(random, n, size)
        called = best_wealth(x, 0.0, ALPHA / 2, DIRECTION) >= 2 / ALPHA
        called |= best_wealth(-x, 0.0, ALPHA / 2, DIRECTION) >= 2 / ALPHA
        agree(x, called, Settings(alpha=ALPHA, binary=False), DIRECTIONS)
        hits += int(called.sum())
    return [at_most(f"false direction, N {n}, skewed graded scores", ALPHA, hits, runs)]


def agree(
    x: Floats, called: NDArray[np.bool_], settings: Settings, of: tuple[Outcome, ...]
) -> None:
    """Stop if `decide` says otherwise on the first runs: another thing would be measured."""
    for d, expected in zip(x.T[:3], called[:3], strict=False):
        claims = decide(d, d.size, settings, with_interval=False).claims
        if any(claim in of for claim, _ in claims) != expected:
            sys.exit("decide() and the simulation disagree: nothing is measured")


def false_equivalence(seed: int, runs: int, n: int, q: float, margin: float) -> list[Row]:
    """The true difference is the margin: how often is that called equivalent, or no worse?"""
    random = np.random.default_rng(seed)
    equivalent = no_worse = 0
    settings = Settings(alpha=ALPHA, margin=margin, binary=True)
    for size in chunks(n, runs):
        x = binary(random, n, size, q, -margin)
        low = best_wealth(x, -margin, ALPHA, EQUIVALENCE) >= 1 / ALPHA
        high = best_wealth(-x, -margin, ALPHA, EQUIVALENCE) >= 1 / ALPHA
        agree(x, low, settings, (Outcome.NON_INFERIOR,))
        equivalent += int((low & high).sum())
        no_worse += int(low.sum())
    case = f"N {n}, discordance {q:.0%}, margin {margin:.0%}"
    return [
        at_most(f"false equivalence, {case}", ALPHA, equivalent, runs),
        at_most(f"false non-inferiority, {case}", ALPHA, no_worse, runs),
    ]


def power(seed: int, runs: int, n: int, q: float, difference: float) -> list[Row]:
    """Power beside one exact McNemar test of the full run: the test alone, and with futility."""
    random = np.random.default_rng(seed)
    settings = Settings(alpha=ALPHA, binary=True)
    found = np.zeros((runs, 3))
    done = 0
    for size in chunks(n, runs):
        for d in binary(random, n, size, q, difference).T:
            verdict = decide(d, n, settings, with_interval=False)
            proven = verdict.outcome is Outcome.B_BETTER
            b, a = int((d > 0).sum()), int((d < 0).sum())
            full = b > a and mcnemar_exact(b, a) <= ALPHA
            # Had the run stopped where it was first called futile, nothing would be proven.
            found[done] = full, proven, proven and verdict.futile_at is None
            done += 1
    case = f"N {n}, discordance {q:.0%}, difference {difference:.1%}"
    rows = []
    for column, name, limit in ((1, "power lost by looking", LOST_AT_MOST), (2, "", None)):
        loss = found[:, 0] - found[:, column]
        error = float(loss.std(ddof=1)) / math.sqrt(runs)
        lost = float(loss.mean())
        holds = limit is None or lost <= limit + 3 * error
        what = f"{name or 'power lost with futility'}, {case} (full run {found[:, 0].mean():.2f})"
        rows.append(Row(what, "<= 3 points" if limit else "told", lost, error, holds))
    return rows


def stops(d: Floats, settings: Settings) -> tuple[Outcome, int]:
    """What a run that stops early ends with, and the items that it used."""
    verdict = decide(d, d.size, settings, with_interval=False)
    final = (*DIRECTIONS, Outcome.EQUIVALENT)
    if verdict.futile_at is not None:
        # Futile was said before anything was decided: the run had ended there.
        return Outcome.UNDECIDED, verdict.futile_at
    if verdict.outcome in final and verdict.decided_at is not None:
        return verdict.outcome, verdict.decided_at
    return verdict.outcome, d.size


def economy(
    seed: int, runs: int, difference: float, margin: float | None, limit: float
) -> list[Row]:
    """Share of GSM8K's 1319 items that is used at discordance 20 %, as shipped."""
    n, q = 1319, 0.2
    random = np.random.default_rng(seed)
    settings = Settings(alpha=ALPHA, margin=margin, binary=True)
    used = np.array([stops(d, settings)[1] for d in binary(random, n, runs, q, difference).T]) / n
    error = float(used.std(ddof=1)) / math.sqrt(runs)
    what = f"share of 1319 items used, difference {difference:.0%}"
    if margin:
        what = f"share of 1319 items used, equivalence within {margin:.0%}"
    holds = bool(used.mean() <= limit)
    return [Row(what, f"<= {limit:.0%}", float(used.mean()), error, holds)]


def coverage(seed: int, runs: int, n: int, q: float, shift: float) -> list[Row]:
    """How often does the shown interval, cut at zero by the direction test, ever miss the truth?"""
    random = np.random.default_rng(seed)
    truth = -shift * math.sqrt(q / n)
    missed = 0
    for size in chunks(n, runs):
        x = binary(random, n, size, q, truth)
        walks = [group_sequential(d, n, alpha=ALPHA).direction for d in x.T]
        side = np.array(walks)
        if truth == 0.0:
            # Zero is in or out as the exact test says.
            missed += int((side != 0).sum())
            continue
        low = best_wealth(x, truth, ALPHA / 2, DIRECTION) >= 2 / ALPHA
        high = best_wealth(-x, -truth, ALPHA / 2, DIRECTION) >= 2 / ALPHA
        missed += int((low | high | (side > 0)).sum())
    what = f"interval ever misses, N {n}, discordance {q:.0%}, truth {-shift:.2f} SE"
    return [at_most(what, ALPHA, missed, runs)]


def width(seed: int, runs: int, n: int, q: float) -> list[Row]:
    """Width of the interval at N over that of the fixed 95 % interval, as shipped."""
    random = np.random.default_rng(seed)
    ratios = []
    for d in binary(random, n, runs, q, 0.0).T:
        interval = decide(d, n, Settings(alpha=ALPHA, binary=True)).interval or (-1.0, 1.0)
        low, high = paired_mean(d).interval(ALPHA)
        ratios.append((interval[1] - interval[0]) / (high - low))
    error = float(np.std(ratios, ddof=1)) / math.sqrt(runs)
    what = f"width of the interval at N {n}, discordance {q:.0%}, over the fixed one"
    return [Row(what, "told", float(np.mean(ratios)), error, holds=True)]


Job = tuple[Callable[..., list[Row]], tuple[object, ...]]


def jobs(scale: float) -> list[Job]:
    """All rows, the longest first so that both cores end together."""

    def runs(full: int) -> int:
        return max(100, round(full * scale))

    listed: list[Job] = [
        (false_equivalence, (31, runs(1000), 10_000, 0.2, 0.02)),
        (power, (41, runs(1500), 10_000, 0.1, 0.009)),
        (economy, (54, runs(600), 0.0, 0.05, 0.60)),
        (coverage, (64, runs(14_000), 1319, 0.2, 0.1)),
        (coverage, (65, runs(10_000), 1319, 0.2, 0.05)),
        (coverage, (66, runs(10_000), 1319, 0.2, 0.4)),
        (false_direction, (19, runs(500), 10_000, 0.4)),
        (false_direction, (18, runs(800), 10_000, 0.2)),
        (false_direction, (17, runs(2000), 10_000, 0.02)),
        (false_direction_graded, (22, runs(1000), 10_000)),
        (width, (71, runs(100), 10_000, 0.2)),
        (width, (72, runs(400), 1319, 0.2)),
        (width, (73, runs(400), 400, 0.2)),
        (power, (42, runs(4000), 1319, 0.2, 0.035)),
        (power, (43, runs(4000), 1319, 0.2, 0.025)),
        (power, (44, runs(4000), 1319, 0.02, 0.011)),
        (power, (45, runs(4000), 200, 0.2, 0.09)),
        (power, (46, runs(4000), 200, 0.4, 0.12)),
        (false_equivalence, (32, runs(4000), 1319, 0.2, 0.05)),
        (false_equivalence, (33, runs(4000), 1319, 0.4, 0.05)),
        (false_equivalence, (34, runs(4000), 200, 0.2, 0.10)),
        (false_equivalence, (35, runs(4000), 1319, 0.06, 0.05)),
        (false_direction, (16, runs(2000), 1319, 0.4)),
        (false_direction, (15, runs(4000), 1319, 0.2)),
        (false_direction, (14, runs(4000), 1319, 0.02)),
        (false_direction, (13, runs(4000), 200, 0.4)),
        (false_direction, (12, runs(4000), 200, 0.2)),
        (false_direction, (11, runs(4000), 200, 0.02)),
        (false_direction_graded, (21, runs(4000), 1319)),
        (economy, (51, runs(1500), 0.05, None, 0.50)),
        (economy, (52, runs(1500), 0.10, None, 0.20)),
        (economy, (53, runs(1500), 0.0, None, 0.70)),
    ]
    return listed


def claim_jobs(scale: float) -> list[Job]:
    """The rows on finished, missing, reopened and early-stopped results, and on candidates."""

    def runs(full: int) -> int:
        return max(100, round(full * scale))

    return [
        (claims.early_stop, (111, runs(2000), 1319, 0.2, 0.0)),
        (claims.early_stop, (112, runs(2000), 1319, 0.2, 0.03)),
        (claims.early_stop, (113, runs(2000), 1319, 0.2, 0.06)),
        (claims.early_stop, (114, runs(3000), 200, 0.2, 0.03)),
        (claims.early_stop, (115, runs(3000), 200, 0.2, 0.10)),
        (claims.reopened, (121, runs(2000), 1319, 0.0)),
        (claims.reopened, (122, runs(2000), 1319, 0.03)),
        (claims.missing, (131, runs(3000), 1319, "at random", 0.0)),
        (claims.missing, (132, runs(3000), 1319, "where wrong", 0.0)),
        (claims.missing, (133, runs(1000), 10_000, "where wrong", 0.0)),
        (claims.missing, (134, runs(1000), 10_000, "at random", 0.0)),
        (claims.missing, (135, runs(2000), 1319, "at random", 0.06)),
        (claims.candidates, (141, runs(2000), 1319, (0.0, 0.0, 0.0, 0.0))),
        (claims.candidates, (142, runs(2000), 1319, (0.05, 0.05, 0.0))),
        (claims.candidates, (143, runs(2000), 1319, (0.08, 0.02, -0.03))),
        (claims.finished_binary, (151, runs(5000), 1319, 0.2, 0.0)),
        (claims.finished_binary, (152, runs(5000), 1319, 0.2, 0.03)),
        (claims.finished_binary, (153, runs(5000), 200, 0.2, 0.0)),
        (claims.finished_binary, (154, runs(5000), 200, 0.2, 0.10)),
        (claims.finished_binary, (155, runs(5000), 50, 0.2, 0.0)),
        (claims.finished_graded, (156, runs(5000), 200, 0.0)),
        (claims.finished_graded, (157, runs(5000), 200, 0.02)),
        (claims.finished_clusters, (158, runs(5000), 40)),
        (claims.finished_clusters, (159, runs(5000), 12)),
        (claims.finished_equivalence, (160, runs(5000), 1319, 0.2, 0.05)),
        (claims.finished_equivalence, (161, runs(5000), 200, 0.06, 0.05)),
    ]


def work(job: Job) -> list[Row]:
    measure, arguments = job
    return measure(*arguments)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs")
    parser.add_argument(
        "--claims",
        action="store_true",
        help="only the rows of verdict_claims.py",
    )
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    scale = 0.1 if options.quick else 1.0
    asked = claim_jobs(scale) + ([] if options.claims else jobs(scale))
    start = time.monotonic()
    with multiprocessing.Pool(options.workers) as pool:
        rows = [row for found in pool.imap(work, asked, chunksize=1) for row in found]
    width = max(len(row.what) for row in rows)
    print(f"{'figure':{width}}  {'asked':>13}  {'measured':>8}  {'SE':>6}")
    for row in sorted(rows, key=lambda row: row.what):
        mark = "" if row.holds else "  NOT MET"
        print(f"{row.what:{width}}  {row.asked:>13}  {row.measured:8.2%}  {row.error:6.2%}{mark}")
    print(f"{time.monotonic() - start:.0f} s on {options.workers} processes")
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
