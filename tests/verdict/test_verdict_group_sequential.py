"""GS, the exact alpha-spending McNemar test."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from so8t.errors import VerdictInputError
from so8t.verdict import alpha_spent, group_sequential, mcnemar_exact

REFERENCE = json.loads((Path(__file__).parent / "reference_values.json").read_text("utf-8"))

signs = st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=120)


@pytest.mark.parametrize(
    ("name", "pattern", "n"),
    [
        ("GS N=100 all +1", [1], 100),
        ("GS N=1000 all +1", [1], 1000),
        ("GS N=1319 all +1", [1], 1319),
        ("GS N=1319 pattern (+,0,0,0,0)", [1, 0, 0, 0, 0], 1319),
        ("GS N=1000 pattern (+,+,-)", [1, 1, -1], 1000),
        ("GS N=1000 pattern (+,+,-,0,0,0,0)", [1, 1, -1, 0, 0, 0, 0], 1000),
        ("GS N=200 pattern (+,-) never", [1, -1], 200),
        ("GS N=1000 pattern (-,-,-,+,0)*", [-1, -1, -1, 1, 0], 1000),
        ("GS N=100 first 12 all +, rest 0 -> at which item", [1] * 12 + [0] * 88, 100),
        ("GS N=6 all +", [1], 6),
        ("GS N=5 all +", [1], 5),
    ],
)
def test_reference(name, pattern, n):
    """The item and the direction of the first crossing agree with the known answers."""
    found = group_sequential(np.resize(pattern, n), n)
    assert [found.decided_at, found.direction] == REFERENCE[name]


def test_spending_reference():
    """The spending function agrees with the known answers, from nothing to everything."""
    known = REFERENCE["alpha_spend(.5,.025)"], REFERENCE["alpha_spend(.1,.025)"]
    assert (alpha_spent(0.5, 0.025), alpha_spent(0.1, 0.025)) == pytest.approx(known, abs=1e-9)
    assert alpha_spent(0.0, 0.025) == 0.0
    assert alpha_spent(1.0, 0.025) == 0.025


@pytest.mark.parametrize("look_every", [1, 3, 5])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_exact_error(look_every, alpha):
    """Over all 2^10 equally likely signs, the error is at most alpha and half on each side."""
    found = [
        group_sequential(d, 10, alpha=alpha, look_every=look_every).direction
        for d in itertools.product((-1, 1), repeat=10)
    ]
    up, down = found.count(1), found.count(-1)
    assert up == down
    assert 0 < up / 2**10 <= alpha / 2


def test_exact_error_with_ties():
    """Ties between the pairs, even at the end, do not change that."""
    found = [
        group_sequential([*d[:4], 0, *d[4:], 0], 12, alpha=0.1).direction
        for d in itertools.product((-1, 1), repeat=10)
    ]
    assert 0 < found.count(1) / 2**10 <= 0.05


@given(signs)
def test_symmetry(d):
    """Exchanging the arms mirrors the answer."""
    ours, mirrored = (group_sequential(sign * np.array(d), len(d)) for sign in (1, -1))
    assert (ours.decided_at, ours.direction) == (mirrored.decided_at, -mirrored.direction)


@given(signs, st.data())
def test_prefix_purity(d, data):
    """A prefix knows what the whole run knew by then: nothing later reaches back."""
    n = data.draw(st.integers(0, len(d) - 1))
    whole = group_sequential(d, len(d), stop=False)
    prefix = group_sequential(d[:n], len(d), stop=False)
    k = prefix.items.size
    assert np.array_equal(prefix.items, whole.items[:k])
    assert np.array_equal(prefix.boundary, whole.boundary[:k])
    assert np.array_equal(prefix.net_wins, whole.net_wins[:k])


@given(signs)
def test_boundary_is_monotone(d):
    """B's wins needed never fall until N; there they are no laxer than the fixed test's."""
    found = group_sequential([1, *d], len(d) + 1, stop=False)
    pairs = np.cumsum(np.abs([1, *d]))[found.items - 1]
    needed = (found.boundary + pairs) / 2
    assert np.all(np.diff(needed[:-1]) >= 0)
    last = int(needed[-1])
    assert last > pairs[-1] or mcnemar_exact(last, int(pairs[-1]) - last) <= 0.05


@given(signs, st.integers(1, 30))
def test_looks_at_block_ends(d, every):
    """Boundaries exist at block ends and at N only."""
    found = group_sequential(d, len(d), look_every=every, stop=False)
    assert all(item % every == 0 or item == len(d) for item in found.items.tolist())


def test_lost_pairs():
    """When pairs were lost, what is left of alpha is spent on the last item there is."""
    d = [1] * 6
    assert group_sequential(d, 20).decided_at is None
    assert group_sequential(d, 20, last=True).decided_at == 6


def test_nothing():
    """No items, or ties alone, decide nothing."""
    assert group_sequential([], 10).items.size == 0
    assert group_sequential([], 0).decided_at is None
    assert group_sequential([0, 0, 0], 3).direction == 0
    assert group_sequential([0, 0], 3).items.size == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (([0.5], 3), r"0\.5"),
        (([1, 1], 1), "2 differences but only 1"),
        (([1], 2.5), r"2\.5"),
    ],
)
def test_bad_input(arguments, named):
    """Bad input is refused by an error that names the value."""
    with pytest.raises(VerdictInputError, match=named):
        group_sequential(*arguments)
    with pytest.raises(VerdictInputError, match="look_every is 0"):
        group_sequential([1], 3, look_every=0)
    with pytest.raises(VerdictInputError, match=r"alpha is 0\.5"):
        group_sequential([1], 3, alpha=0.5)
