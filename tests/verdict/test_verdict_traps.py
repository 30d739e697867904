"""The four traps that make honest-looking benchmarks lie, and that each is avoided.

Seeds are fixed; the bounds are wide. There is no overall difference in any of them, so that every
direction called is false.
"""

import heapq

import numpy as np
import pytest

from so8t.domain.exchange import Message
from so8t.domain.plan import completed_prefix, permute
from so8t.domain.sample import Origin, Sample
from so8t.verdict import Outcome, Settings, decide, pair_scores

DIRECTIONS = (Outcome.B_BETTER, Outcome.A_BETTER)
RULES = Settings(binary=True, futility=False)


def called(d, n=None, **how):
    verdict = decide(d, n or len(d), how.pop("rules", RULES), with_interval=False, **how)
    return verdict.outcome in DIRECTIONS


def frozen_order(names, seed):
    """The order in which a run of the product would ask these items."""
    asked = (Message("user", "?"),)
    samples = [Sample(name, "t", Origin.SUITE, "c", "en", asked) for name in names]
    return [sample.id for sample in permute(samples, seed)]


def null(seed, n, q):
    u = np.random.default_rng(seed).random(n)
    return np.where(u < q / 2, 1.0, np.where(u < q, -1.0, 0.0))


def test_dataset_order():
    """Read in the data set's order, easy chapters first, it errs every time; shuffled it does not.

    B gains on the first half of the data set what it loses on the second.
    """
    n = 600
    of_item = {f"q{i}": (i % 5 == 0) * (1.0 if i < n // 2 else -1.0) for i in range(n)}
    assert called(list(of_item.values()))
    wrong = sum(
        called([of_item[key] for key in frozen_order(list(of_item), seed)]) for seed in range(200)
    )
    assert wrong / 200 <= 0.10


def completion_order(d, slots, seed):
    """Run items in order, `slots` at a time; answers that favour B happen to be the quick ones."""
    random = np.random.default_rng(seed)
    times = random.exponential(np.where(d > 0, 1.0, np.where(d < 0, 4.0, 2.0)))
    running, finished, now = [], [], 0.0
    for item, time in enumerate(times):
        if len(running) == slots:
            now, done = heapq.heappop(running)
            finished.append(done)
        heapq.heappush(running, (now + time, item))
    return finished + [item for _, item in sorted(running)]


def test_completion_order():
    """Read as answers finish, 256 at a time, most verdicts are false; the prefix's are not.

    `completed_prefix` gives the items that count while others are still running.
    """
    read, kept = 0, 0
    for seed in range(60):
        d = null(seed, 1000, 0.3)
        finished = completion_order(d, 256, seed)
        read += called(d[finished])
        half = set(finished[: d.size // 2])
        prefix = completed_prefix([item in half for item in range(d.size)])
        assert prefix < len(half)
        kept += called(d[:prefix], d.size) or called(d)
    assert read / 60 >= 0.5
    assert kept / 60 <= 0.15


def test_errors_counted_as_wrong():
    """Counting 3 % outages in one arm as wrong makes false verdicts; dropping pairs does not."""
    as_wrong, dropped = 0, 0
    for seed in range(80):
        random = np.random.default_rng(seed)
        n = 4000
        right = random.random(n) < 0.6
        differ = random.random(n) < 0.1
        a, b = right.astype(float), np.where(differ, random.random(n) < 0.6, right).astype(float)
        outage = random.random(n) < 0.03
        as_wrong += called(np.where(outage, 0.0, b) - a)
        pairs = pair_scores(a.tolist(), [None if o else s for s, o in zip(b, outage, strict=True)])
        dropped += called(pairs.differences, n, dropped=pairs.dropped)
    assert as_wrong / 80 >= 0.35
    assert dropped / 80 <= 0.15


def test_ignored_clusters():
    """Eight questions a passage that stand or fall together: as items they err, as clusters not."""
    as_items, as_clusters = 0, 0
    for seed in range(120):
        random = np.random.default_rng(seed)
        passages = null(seed, 60, 0.4)
        d = np.where(random.random(480) < 0.6, np.repeat(passages, 8), 0.0)
        as_items += called(d)
        as_clusters += called(d, cluster_sizes=[8] * 60)
    assert as_items / 120 >= 0.15
    assert as_clusters / 120 <= 0.12


@pytest.mark.parametrize(("n", "q"), [(200, 0.3), (600, 0.05)])
def test_small_simulation(n, q):
    """Looked at after every item, binary runs without a difference err in at most about 5 %."""
    wrong = sum(called(null(1000 + seed, n, q)) for seed in range(600))
    assert wrong / 600 <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5


def test_small_simulation_margin():
    """At a true difference of exactly the margin, non-inferiority errs in at most about 5 %."""
    rules = Settings(binary=True, margin=0.1)
    wrong = 0
    for seed in range(250):
        u = np.random.default_rng(seed).random(150)
        d = np.where(u < 0.05, 1.0, np.where(u < 0.2, -1.0, 0.0))
        claims = dict(decide(d, 150, rules, with_interval=False).claims)
        wrong += Outcome.NON_INFERIOR in claims
    assert wrong / 250 <= 0.05 + 3 * (0.05 * 0.95 / 250) ** 0.5


def test_small_simulation_economy():
    """At GSM8K's size a difference of 10 points is found in a fifth of the items, or nearly."""
    used = []
    for seed in range(60):
        u = np.random.default_rng(seed).random(1319)
        d = np.where(u < 0.15, 1.0, np.where(u < 0.2, -1.0, 0.0))
        verdict = decide(d, 1319, RULES, with_interval=False)
        assert verdict.outcome is Outcome.B_BETTER
        used.append(verdict.decided_at)
    assert np.mean(used) / 1319 <= 0.25
