"""Hedge, the finite-horizon bets, and the interval by inversion."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from so8t.errors import VerdictInputError
from so8t.verdict import (
    DIRECTION,
    EQUIVALENCE,
    WITHOUT_REPLACEMENT,
    Claim,
    Horizons,
    betting_interval,
    cluster_stream,
    item_stream,
    place_bets,
)

REFERENCE = json.loads((Path(__file__).parent / "reference_values.json").read_text("utf-8"))
SINGLE = Horizons((1.0,), (1.0,))

graded = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=1, max_size=40)


def one_claim(d, n, claim, **how):
    return place_bets(item_stream(np.array(d, dtype=float), n, **how), [claim]).at().ravel()


def test_single_horizon_reference():
    """One account, five items: the wealth agrees with the known answers."""
    claim = Claim(1, 0.0, 0.05, SINGLE)
    path = one_claim([1, 0, 1, -1, 1], 100, claim)
    first = REFERENCE["Hedge N=100 single horizon, alpha=.05, var0=.25, after +1"]
    closed = REFERENCE[" closed form first step: 1 + phi(z)/(0.025*0.5*10), z=Phi^-1(.025)"]
    assert path[0] == pytest.approx(first, abs=1e-9)
    assert path[0] == pytest.approx(closed, abs=1e-9)
    assert path[4] == pytest.approx(REFERENCE[" after +1,0,+1,-1,+1"], abs=1e-9)
    lost = one_claim([-1], 100, claim)
    assert lost[0] == pytest.approx(REFERENCE[" after -1"], abs=1e-9)


@pytest.mark.parametrize("alpha", [0.05, 0.025])
def test_without_replacement_reference(alpha):
    """Ten items, all +1, without replacement: proven at the known item."""
    path = one_claim(np.ones(10), 10, Claim(1, 0.0, alpha, WITHOUT_REPLACEMENT), replace=False)
    assert int(np.argmax(path >= 1 / alpha)) + 1 == REFERENCE["WoR N=10 all +1: rejected at"]


@pytest.mark.parametrize("horizons", [DIRECTION, EQUIVALENCE, WITHOUT_REPLACEMENT])
def test_weights(horizons):
    """The shares of the money sum to one."""
    assert sum(horizons.weights) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("low", "high", "bound"), [(-1, 1, 0.0), (-1, 0.5, 0.2), (-0.2, 1, -0.1)])
def test_fair_game(low, high, bound):
    """With two values whose mean is the bound, the expected wealth stays one at every step."""
    chance = (bound - low) / (high - low)
    expected = np.zeros(8)
    for ups in itertools.product((0, 1), repeat=8):
        weight = np.prod([chance if up else 1 - chance for up in ups])
        d = [high if up else low for up in ups]
        expected += weight * one_claim(d, 8, Claim(1, bound, 0.05, DIRECTION))
    assert expected == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("bets", [3, 10_000])
def test_fair_game_without_replacement(bets):
    """Over all orders of a population whose mean is the bound, the expected wealth stays one."""
    population = [1.0, -1.0, 0.5, 0.0, -0.3, 0.7]
    claim = Claim(1, float(np.mean(population)), 0.05, WITHOUT_REPLACEMENT)
    orders = list(itertools.permutations(population))
    looks = np.arange(1, 7)
    total = sum(
        place_bets(item_stream(np.array(d), 6, bets=bets, replace=False), [claim]).at(looks)
        for d in orders
    )
    assert total / len(orders) == pytest.approx(1.0, abs=1e-9)


def flat(clusters):
    return list(itertools.chain.from_iterable(clusters))


def test_fair_game_clusters_without_replacement():
    """The same over all orders of clusters of unequal size, whose items weigh alike."""
    clusters = [[1.0, 0.2], [-0.6], [0.1, -0.4, 0.3], [-1.0, 0.4]]
    mean = float(np.mean(flat(clusters)))
    claim = Claim(1, mean, 0.05, WITHOUT_REPLACEMENT)
    orders = list(itertools.permutations(clusters))
    total = 0.0
    for order in orders:
        d, sizes = np.array(flat(order)), [len(cluster) for cluster in order]
        total = total + place_bets(cluster_stream(d, sizes, replace=False), [claim]).at()
    assert total / len(orders) == pytest.approx(1.0, abs=1e-9)


@given(graded, st.floats(-0.9, 0.9))
def test_symmetry(d, bound):
    """A bet on B is a bet on A with the arms exchanged."""
    d = np.array(d)
    ours = one_claim(d, d.size, Claim(1, bound, 0.05, DIRECTION))
    theirs = one_claim(-d, d.size, Claim(-1, bound, 0.05, DIRECTION))
    assert np.array_equal(ours, theirs)
    assert np.all(ours >= 0)


@given(graded, st.data())
def test_prefix_purity(d, data):
    """The wealth after n items is the same whatever came later, block or no block."""
    n = data.draw(st.integers(1, len(d)))
    claims = [Claim(1, 0.1, 0.05, EQUIVALENCE), Claim(-1, 0.0, 0.025, DIRECTION)]
    for bets in (5, 10_000):
        whole = place_bets(item_stream(np.array(d), 50, bets=bets), claims)
        prefix = place_bets(item_stream(np.array(d[:n]), 50, bets=bets), claims)
        looks = np.arange(1, n + 1)
        assert np.allclose(whole.at(looks), prefix.at(looks), rtol=1e-12)


def test_blocks_are_fair():
    """With one bet for several items, the expected wealth is one at every item all the same."""
    looks = np.arange(1, 9)
    expected = 0.0
    for d in itertools.product((-1.0, 1.0), repeat=8):
        bets = place_bets(item_stream(np.array(d), 8, bets=5), [Claim(1, 0.0, 0.05, DIRECTION)])
        expected = expected + bets.at(looks) / 2**8
    assert expected == pytest.approx(1.0, abs=1e-9)


def test_blocks_lose_little():
    """Ten items a bet reach a decision within 2 % of N of where one bet each does."""
    random = np.random.default_rng(4)
    d = random.choice([-1.0, 0.0, 1.0], p=[0.07, 0.8, 0.13], size=4000)
    claim = [Claim(1, 0.0, 0.025, DIRECTION)]
    looks = np.arange(1, 4001)
    first = [
        int(np.argmax(place_bets(item_stream(d, 4000, bets=bets), claim).at(looks) >= 40))
        for bets in (500, 10_000)
    ]
    assert abs(first[0] - first[1]) <= 80


def test_clusters_of_one_are_items():
    """Clusters of one item each are bet on as items."""
    d = np.array([0.3, -0.2, 0.9, 0.0, -1.0])
    claims = [Claim(1, 0.1, 0.05, DIRECTION), Claim(-1, 0.1, 0.05, DIRECTION)]
    for replace in (True, False):
        clusters = place_bets(cluster_stream(d, [1] * 9, replace=replace), claims).at()
        items = place_bets(item_stream(d, 9, replace=replace), claims).at()
        assert np.allclose(clusters, items, rtol=1e-12)


def test_unfinished_cluster_waits():
    """A cluster counts when all of its items are in."""
    stream = cluster_stream(np.array([0.1, 0.2, 0.3]), [2, 2])
    assert stream.gains.size == 1
    assert not stream.complete


def test_impossible_is_infinite():
    """When the rest of the population cannot undo it, the claim is certain."""
    path = one_claim([1, 1, 1, -1, -1], 5, Claim(1, 0.0, 0.05, WITHOUT_REPLACEMENT), replace=False)
    assert np.isinf(path[2:]).all()
    exact = one_claim([1, -1, 0], 3, Claim(1, 0.0, 0.05, WITHOUT_REPLACEMENT), replace=False)
    assert not np.isinf(exact).any()


def test_long_winning_streak_stays_finite():
    """A thousand wins against a bound near the end of the scale neither overflow nor fail."""
    with np.errstate(all="raise", under="ignore"):
        path = one_claim(np.ones(1500), 1500, Claim(1, -0.999, 0.05, DIRECTION))
        lost = one_claim(-np.ones(1500), 1500, Claim(1, 0.9, 0.05, DIRECTION))
    assert np.isfinite(path).all()
    assert (lost > 0).all()


@given(graded, st.booleans())
def test_interval_is_the_kept_set(d, replace):
    """What lies well inside the interval is not rejected, what lies well outside is."""
    stream = item_stream(np.array(d), 60, replace=replace)
    low, high = betting_interval(stream, 0.1)
    assert -1 <= low <= high <= 1
    horizons = DIRECTION if replace else WITHOUT_REPLACEMENT
    slack = 0.01 * (high - low) + 1e-6
    for bound, side in ((low, 1), (-high, -1)):
        outside, inside = bound - slack, bound + slack
        if outside > -1:
            best = place_bets(stream, [Claim(side, outside, 0.05, horizons)]).at().max()
            assert best >= 20
        if bound > -1 and inside < side * (low + high) / 2:
            best = place_bets(stream, [Claim(side, inside, 0.05, horizons)]).at().max()
            assert best < 20


def test_interval_ends():
    """Nothing seen gives no interval; everything seen of a population gives a point."""
    assert betting_interval(item_stream(np.array([]), 5), 0.05) is None
    d = np.array([0.2, 0.4, 0.0])
    ends = betting_interval(item_stream(d, 3, replace=False), 0.05)
    assert ends == pytest.approx((0.2, 0.2))
    low, high = betting_interval(item_stream(np.ones(80), 80), 0.05)
    assert 0.8 < low < 1.0
    assert high == 1.0


def test_interval_after_the_mean_moved():
    """When the mean drifts out of what earlier looks allowed, the interval errs outward."""
    d = np.concatenate([np.ones(150), -np.ones(450)])
    low, high = betting_interval(item_stream(d, 600), 0.05)
    assert low <= d.mean() <= high


def test_interval_width_at_the_end():
    """At N the interval is about as wide as the fixed 95 % interval."""
    n, q = 1319, 0.2
    random = np.random.default_rng(1)
    ratios = []
    for _ in range(30):
        u = random.random(n)
        d = np.where(u < q / 2, 1.0, np.where(u < q, -1.0, 0.0))
        low, high = betting_interval(item_stream(d, n), 0.05)
        ratios.append((high - low) / (2 * 1.96 * d.std(ddof=1) / np.sqrt(n)))
    assert 0.95 <= float(np.mean(ratios)) <= 1.15


@pytest.mark.parametrize(
    ("sizes", "named"), [([2, 0], "a cluster size is 0"), ([1], "the clusters hold 1 items")]
)
def test_bad_clusters(sizes, named):
    """Cluster sizes that cannot be are refused by an error that names the value."""
    with pytest.raises(VerdictInputError, match=named):
        cluster_stream(np.array([0.1, 0.2]), sizes)
