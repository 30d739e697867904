"""decide(), the one entry, and the course of the evidence."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from so8t.errors import SO8TError, VerdictInputError
from so8t.verdict import (
    Discordant,
    Ending,
    Outcome,
    Scope,
    Settings,
    decide,
    evidence_course,
    mcnemar_exact,
)

MIRROR = {Outcome.B_BETTER: Outcome.A_BETTER, Outcome.A_BETTER: Outcome.B_BETTER}
MARGIN = Settings(margin=0.1)

signs = st.lists(st.sampled_from([-1.0, 0.0, 0.0, 1.0]), max_size=150)
graded = st.lists(st.floats(-1, 1).map(lambda x: round(x, 2)), max_size=80)


def sample(seed, n, q, difference):
    u = np.random.default_rng(seed).random(n)
    return np.where(u < (q + difference) / 2, 1.0, np.where(u < q, -1.0, 0.0))


def test_b_better():
    """A clear gain is called, with when, how much, and an interval that leaves zero out."""
    d = sample(0, 1319, 0.2, 0.06)
    v = decide(d, 1319)
    assert (v.outcome, v.ending) == (Outcome.B_BETTER, Ending.DECIDED)
    assert v.decided_at < 1319
    assert v.difference == pytest.approx(d.mean())
    assert 0.0 <= v.interval[0] < v.difference < v.interval[1]
    assert v.p_value == mcnemar_exact(v.discordant.b_only, v.discordant.a_only)
    assert v.method == "exact McNemar test with alpha spending"
    assert (v.items_total, v.items_used, v.items_dropped) == (1319, 1319, 0)


def test_a_better():
    """A clear loss is called as such."""
    v = decide(sample(0, 1319, 0.2, -0.08), 1319)
    assert v.outcome is Outcome.A_BETTER
    assert v.interval[1] <= 0.0


def test_equivalent():
    """No difference within the margin is called equivalent, early."""
    v = decide(sample(1, 1319, 0.1, 0.0), 1319, Settings(margin=0.05))
    assert (v.outcome, v.ending) == (Outcome.EQUIVALENT, Ending.DECIDED)
    assert v.decided_at < 1319
    assert Outcome.NON_INFERIOR in dict(v.claims)


def test_non_inferior_stands_in():
    """With one side of the margin alone, B is no worse, and the run still goes on."""
    d = np.resize([1, 0, 0, 1, 0, 0, -1, 0], 160)
    v = decide(d[:120], 400, MARGIN)
    assert (v.outcome, v.ending) == (Outcome.NON_INFERIOR, Ending.ONGOING)
    assert v.decided_at == dict(v.claims)[Outcome.NON_INFERIOR]


def test_equal_arms_are_found_out():
    """Arms that answer alike are equivalent within 1,500 items, however long the run."""
    for n in (2000, 10_000, 200_000):
        v = decide(np.zeros(1500), n, Settings(margin=0.02, binary=True))
        assert v.outcome is Outcome.EQUIVALENT
        assert v.discordant == Discordant(0, 0)


def test_exhausted():
    """Undecided at N says that the items ran out."""
    d = sample(3, 300, 0.2, 0.02)
    v = decide(d, 300, Settings(futility=False))
    assert (v.outcome, v.ending) == (Outcome.UNDECIDED, Ending.EXHAUSTED)
    assert v.interval[0] <= 0.0 <= v.interval[1]


def test_futile():
    """A run without a difference is found futile long before N, and stays so as items come in."""
    d = sample(12, 2000, 0.2, 0.0)
    v = decide(d, 2000)
    assert v.futile_at is not None
    assert v.futile_at < 1900
    now = decide(d[: v.futile_at], 2000)
    later = decide(d[: v.futile_at + 7], 2000)
    assert now.ending is later.ending is Ending.FUTILE
    assert now.futile_at == later.futile_at
    before = decide(d[: v.futile_at - 1], 2000)
    assert before.ending is Ending.ONGOING
    assert decide(d, 2000, Settings(futility=False)).futile_at is None


def test_benchmark_scope():
    """In benchmark scope every item in means certainty: a point, and its sign."""
    d = np.resize([1, -1, 0, 0, 0.5], 205)
    v = decide(d, 205, Settings(scope=Scope.BENCHMARK))
    assert v.outcome is Outcome.B_BETTER
    assert v.interval == pytest.approx((v.difference, v.difference))
    assert v.method == "finite-horizon betting without replacement"
    tie = decide([1, -1, 0], 3, Settings(scope="benchmark", margin=0.1))
    assert tie.outcome is Outcome.EQUIVALENT
    assert tie.interval == (0.0, 0.0)
    assert tie.p_value == 1.0


def test_benchmark_scope_is_sharper():
    """Late in the run, the benchmark's own mean is known better than that of items like these."""
    d = sample(5, 1000, 0.2, 0.0)[:900]
    widths = [
        np.ptp(decide(d, 1000, Settings(scope=scope, binary=True)).interval) for scope in Scope
    ]
    assert widths[1] < 0.7 * widths[0]


def test_clusters():
    """Clusters are bet on whole: looks fall on their ends, and no item-wise p-value is given."""
    d = np.repeat(sample(2, 200, 0.5, 0.3), 4)
    v = decide(d, 800, Settings(look_every=10), cluster_sizes=[4] * 200)
    assert v.outcome is Outcome.B_BETTER
    assert v.decided_at % 4 == 0
    assert v.p_value is None
    assert v.discordant is not None
    assert v.method == "finite-horizon betting on cluster sums"
    part = decide(d[:30], 800, Settings(look_every=10), cluster_sizes=[4] * 200)
    assert part.items_used == 20
    ragged = decide(d[:8], 8, Settings(look_every=5), cluster_sizes=[4, 1, 2, 1])
    assert ragged.items_used == 8
    assert decide([], 0, cluster_sizes=[]).outcome is Outcome.UNDECIDED
    # Fewer are left than lie between two looks: the end is the one look.
    rest = decide([1.0], 4, Settings(look_every=4), dropped=3, cluster_sizes=[1])
    assert (rest.ending, rest.items_used) == (Ending.EXHAUSTED, 1)
    flat = decide(np.zeros(600), 800, cluster_sizes=[4] * 200)
    assert flat.ending is Ending.FUTILE


def test_macro_average():
    """Blocks of one item a task: what a task gains as much as another loses is no difference."""
    blocks = np.resize([1.0, -1.0], 600)
    v = decide(blocks, 600, Settings(margin=0.1), cluster_sizes=[2] * 300)
    assert v.outcome is Outcome.EQUIVALENT


@pytest.mark.parametrize("n_total", [1, 2, 5, 10])
@pytest.mark.parametrize("scope", list(Scope))
def test_nothing_much(n_total, scope):
    """No data, one item, or ties alone: undecided, never an exception."""
    for rules in (Settings(scope=scope), Settings(scope=scope, binary=False)):
        empty = decide([], n_total, rules)
        assert (empty.outcome, empty.ending) == (Outcome.UNDECIDED, Ending.ONGOING)
        assert (empty.difference, empty.interval, empty.items_used) == (None, None, 0)
        assert decide([0], n_total, rules).outcome is Outcome.UNDECIDED
        lost = decide([], n_total, rules, dropped=n_total)
        assert (lost.outcome, lost.ending) == (Outcome.UNDECIDED, Ending.EXHAUSTED)
    assert decide([1], 1).outcome is Outcome.UNDECIDED
    low, high = decide([1], 1).interval
    assert low < 0.0 < high == 1.0
    assert decide([], 0, MARGIN).ending is Ending.EXHAUSTED


def test_dropped_pairs():
    """Dropped pairs are counted, and when the rest is in, the run is at its end."""
    v = decide([1] * 6, 10, dropped=4)
    assert (v.outcome, v.items_dropped, v.items_total) == (Outcome.B_BETTER, 4, 10)
    whole = decide([1, -1, 0], 5, Settings(scope=Scope.BENCHMARK), dropped=2)
    assert whole.ending is Ending.EXHAUSTED
    assert whole.interval == (0.0, 0.0)


def test_paired_table():
    """With A's scores the table is complete; what was not scored 0 or 1 has no table."""
    v = decide([1, -1, 0, 0], 4, scores_a=[0, 1, 1, 0])
    assert v.discordant == Discordant(1, 1, 1, 1)
    assert decide([0.5, 0], 2, scores_a=[0.2, 0.1]).discordant is None
    with pytest.raises(VerdictInputError, match="3 scores of A"):
        decide([1, -1], 2, scores_a=[0, 1, 1])
    with pytest.raises(VerdictInputError, match=r"item 1 has the value .*2\.0"):
        decide([1, -1], 2, scores_a=[1, 1])


@given(signs, st.sampled_from([1, 7]), st.sampled_from([None, 0.2]))
def test_symmetry(d, every, margin):
    """Exchanging the arms mirrors the direction, the interval and the table."""
    rules = Settings(look_every=every, margin=margin, binary=True)
    ours, theirs = (decide(sign * np.array(d), 150, rules) for sign in (1.0, -1.0))
    if Outcome.NON_INFERIOR not in (ours.outcome, theirs.outcome):
        assert theirs.outcome is MIRROR.get(ours.outcome, ours.outcome)
        assert theirs.decided_at == ours.decided_at
    assert theirs.p_value == ours.p_value
    if ours.interval:
        low, high = ours.interval
        assert theirs.interval == pytest.approx((-high, -low), abs=1e-9)


@given(st.one_of(signs, graded), st.sampled_from(list(Scope)), st.sampled_from([None, 0.2]))
def test_interval_agrees_with_the_direction(d, scope, margin):
    """B better leaves nothing below zero in the interval; without a direction zero is in it."""
    v = decide(d, 150, Settings(scope=scope, margin=margin, alpha=0.2))
    if v.interval is None:
        return
    low, high = v.interval
    directions = [claim for claim, _ in v.claims if claim in MIRROR]
    assert -1.0 <= low <= high <= 1.0
    if not directions:
        assert low <= 0.0 <= high
    elif directions[0] is Outcome.B_BETTER:
        assert low >= 0.0
    else:
        assert high <= 0.0


@given(signs, st.data())
def test_resume(d, data):
    """What was decided stays decided: a longer prefix repeats every claim, at the same item."""
    rules = Settings(margin=0.2, binary=True, alpha=0.2)
    n = data.draw(st.integers(0, len(d)))
    before, after = (decide(x, 150, rules) for x in (d[:n], d))
    assert after.claims[: len(before.claims)] == before.claims or (
        [c for c in after.claims if c[1] <= n] == list(before.claims)
    )
    assert dataclasses.replace(decide(d, 150, rules)) == after


def test_resume_bit_for_bit():
    """The same prefix gives the same verdict to the last bit, from a list or an array."""
    d = sample(8, 700, 0.3, 0.02)
    rules = Settings(margin=0.05)
    assert decide(d, 1319, rules) == decide(d.tolist(), 1319, rules)


def test_looks_at_block_ends():
    """Between looks nothing is used and nothing is said."""
    d = np.ones(40)
    v = decide(d[:19], 100, Settings(look_every=10))
    assert (v.items_used, v.outcome) == (10, Outcome.UNDECIDED)
    assert decide(d[:20], 100, Settings(look_every=10)).decided_at == 20
    assert decide(d[:9], 9, Settings(look_every=6)).items_used == 9


def test_huge_runs_look_less_often():
    """Up to 100,000 items each may be a look; beyond, looks are spread over the run."""
    assert Settings().stride(100_000) == 1
    assert Settings().stride(1_000_000) == 200
    assert Settings(look_every=30).stride(1_000_000) == 30
    assert Settings(look_every=3).stride(1_000_000) == 201


def test_frozen_as_binary():
    """A graded score in a run frozen as binary is refused; frozen as graded, whole ones bet."""
    with pytest.raises(VerdictInputError, match=r"0\.5"):
        decide([1, 0.5], 10, Settings(binary=True))
    v = decide([1, 1], 10, Settings(binary=False))
    assert v.method == "finite-horizon betting"
    assert v.discordant is None


def test_without_interval():
    """A look that needs no interval does without."""
    assert decide([1, -1], 10, with_interval=False).interval is None
    assert decide([1, -1], 10, MARGIN, with_interval=False).interval is None


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: decide([0.1, math.nan], 5), "item 2 has the value .*nan"),
        (lambda: decide([0.1, 1.2], 5), r"1\.2"),
        (lambda: decide([math.inf], 5), "inf"),
        (lambda: decide([None], 5), "nan|not numbers"),
        (lambda: decide([0, 0, 0], 2), "3 differences but only 2"),
        (lambda: decide([0, 0], 2, dropped=1), "3 differences but only 2"),
        (lambda: decide([0], 2, dropped=-1), "dropped is -1"),
        (lambda: decide([0], math.inf), "inf"),
        (lambda: decide([0], 5, cluster_sizes=[2, 2]), "hold 4 items, but 5"),
        (lambda: decide([0], 2, cluster_sizes=[3, -1]), "cluster size is -1"),
        (lambda: Settings(alpha=0.5), r"alpha is 0\.5"),
        (lambda: Settings(alpha=0.0), r"alpha is 0\.0"),
        (lambda: Settings(alpha=math.nan), "alpha is nan"),
        (lambda: Settings(margin=0.0), r"margin is 0\.0"),
        (lambda: Settings(margin=-0.1), r"margin is -0\.1"),
        (lambda: Settings(look_every=0), "look_every is 0"),
        (lambda: Settings(scope="world"), "scope is 'world'"),
    ],
)
def test_bad_input(call, named):
    """Bad input is refused by an error that names the value, with exit code 2."""
    with pytest.raises(VerdictInputError, match=named) as caught:
        call()
    assert isinstance(caught.value, SO8TError)
    assert caught.value.exit_code == 2


def test_course_of_binary_scores():
    """The drawn course crosses its boundary at the item at which the verdict was reached."""
    d = sample(0, 1319, 0.2, 0.06)
    v, course = decide(d, 1319), evidence_course(d, 1319, Settings(margin=0.05))
    assert course.kind == "net_wins"
    crossed = course.items[course.for_b >= course.boundary]
    assert crossed[0] == v.decided_at
    assert np.array_equal(course.for_a, -course.for_b)
    assert course.items[-1] == 1319
    assert np.isinf(course.boundary[0])
    assert course.not_worse.shape == course.items.shape


def test_course_of_graded_scores():
    """For graded scores it is the wealth of both bettors against 2/alpha, and of both margins."""
    d = np.random.default_rng(0).uniform(-0.4, 0.6, 300)
    rules = Settings(margin=0.05)
    v, course = decide(d, 300, rules), evidence_course(d, 300, rules)
    assert course.kind == "log10_wealth"
    assert course.items[course.for_b >= course.boundary][0] == v.decided_at
    worse = course.items[course.not_worse >= course.margin_boundary]
    assert worse[0] == dict(v.claims)[Outcome.NON_INFERIOR]
    assert evidence_course(d, 300).not_better is None


def test_course_of_nothing():
    """Before the first look there is an empty course."""
    for d, rules in itertools.product(([], [0.0]), (Settings(), MARGIN, Settings(binary=False))):
        course = evidence_course(d, 50, dataclasses.replace(rules, look_every=5))
        assert course.items.size == course.for_a.size == 0
