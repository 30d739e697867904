"""Pairing, order, missing and truncated answers, and whether a verdict would flip."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from so8t.errors import VerdictInputError
from so8t.verdict import (
    Outcome,
    Settings,
    cluster_sizes,
    mcnemar_exact,
    mean_of_repeats,
    missing_cases,
    missing_summary,
    pair_by_id,
    pair_scores,
    truncated_cases,
    valid_only,
    worst_case_p,
)

REFERENCE = json.loads((Path(__file__).parent / "reference_values.json").read_text("utf-8"))
RULES = Settings(binary=True)
scores = st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, None])] * 2), max_size=40)


def gain(n=200, better=40):
    """B gains on `better` of n items, and loses on none."""
    return [0.0] * better + [1.0] * (n - better), [1.0] * n


@given(scores)
def test_missing_is_never_zero(pairs):
    """A pair with a missing score is dropped and counted, and nothing else is."""
    a, b = [p[0] for p in pairs], [p[1] for p in pairs]
    paired = pair_scores(a, b)
    there = [(x, y) for x, y in pairs if x is not None and y is not None]
    assert paired.differences.tolist() == [y - x for x, y in there]
    assert paired.complete_a.tolist() == [x for x, _ in there]
    assert paired.dropped == len(pairs) - len(there)
    assert (paired.missing_a, paired.missing_b) == (a.count(None), b.count(None))


def test_pair_by_id():
    """Items are matched by id whatever the order of B's list."""
    paired = pair_by_id([("x", 1.0), ("y", 0.0)], [("y", 0.5), ("x", None)])
    assert paired.differences.tolist() == [0.5]
    assert paired.missing_b == 1


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: pair_scores([1.0], []), "A has 1 scores and B has 0"),
        (lambda: pair_scores([1.0], [math.nan]), "score 1 of B is nan"),
        (lambda: pair_scores([1.0, -0.1], [1.0, 0.0]), r"score 2 of A is -0\.1"),
        (lambda: pair_by_id([("x", 1), ("x", 0)], [("x", 1)]), "twice in A: 'x'"),
        (lambda: pair_by_id([("x", 1)], [("y", 1)]), "1 only in A: 'x'; 1 only in B: 'y'"),
        (
            lambda: pair_by_id([(i, 1) for i in range(9)], [(0, 1)]),
            "8 only in A: 1, 2, 3 and 5 more",
        ),
        (
            lambda: truncated_cases(pair_scores([1], [1]), [True], [], 1, RULES),
            "truncated_b has 0 flags for 1 pairs",
        ),
    ],
)
def test_bad_input(call, named):
    """Bad input is refused by an error that names the value."""
    with pytest.raises(VerdictInputError, match=named):
        call()


def test_cluster_sizes_follow_the_order():
    """Each run of equal labels along the order is one cluster."""
    of = {"a": "p", "b": "p", "c": "q", "d": "r", "e": "r"}
    assert cluster_sizes(list("cabde"), of) == [1, 2, 2]
    assert cluster_sizes([], of) == []


def test_mean_of_repeats():
    """Repeated answers count once, by their mean; none at all is missing."""
    assert mean_of_repeats([1.0, None, 0.0, 1.0]) == pytest.approx(2 / 3)
    assert mean_of_repeats([None]) is None


def test_worst_case_reference():
    """Missing pairs counted against the leader give the known p-values."""
    assert worst_case_p(30, 10, 4) == pytest.approx(
        REFERENCE["worst case p: b=30,c=10, missing 4"], abs=1e-9
    )
    assert worst_case_p(30, 10, 12) == pytest.approx(
        REFERENCE["worst case p: b=30,c=10, missing 12"], abs=1e-9
    )
    assert worst_case_p(30, 10, 0) == pytest.approx(REFERENCE["complete case p 30,10"], abs=1e-9)
    assert worst_case_p(10, 30, 4) == worst_case_p(30, 10, 4)


def test_missing_summary():
    """One per cent missing, or arms that miss unequally, ask for the worst case."""
    a, b = [1.0] * 200, [1.0] * 200
    assert not missing_summary(pair_scores(a, b)).matters
    few = missing_summary(pair_scores([None, *a[1:]], b))
    assert (few.only_a, few.only_b, few.matters) == (1, 0, False)
    many = missing_summary(pair_scores([None] * 3 + a[3:], b))
    assert many.matters
    unequal = missing_summary(pair_scores([None] * 8 + [1.0] * 1992, [1.0] * 2000))
    assert unequal.share < 0.01
    assert unequal.balance_p == mcnemar_exact(8, 0) < 0.05
    assert unequal.matters
    assert not missing_summary(pair_scores([], [])).matters


def test_missing_that_cannot_matter():
    """A clear gain survives a few missing scores turned against it."""
    a, b = gain()
    b[150] = None
    found = missing_cases(pair_scores(a, b), 200, RULES)
    assert found.primary.outcome is Outcome.B_BETTER
    assert found.primary.items_dropped == 1
    assert not found.flips
    assert not found.reversed


def test_missing_that_flips():
    """A slight gain with much missing does not survive, and is flagged."""
    a, b = gain(better=8)
    a[100:160] = [None] * 60
    found = missing_cases(pair_scores(a, b), 200, RULES)
    assert found.primary.outcome is Outcome.B_BETTER
    assert found.worst.difference < found.primary.difference < found.best.difference
    c, d = [0.0] * 8 + [1.0] * 192, [1.0] * 200
    d[100:140] = [None] * 40
    turned = missing_cases(pair_scores(c, d), 200, RULES)
    assert turned.flips


def test_missing_may_reverse():
    """When what is missing could turn the direction round, that is said too."""
    a, b = [1.0] * 200, [1.0] * 192 + [0.0] * 8
    a[:100] = [None] * 100
    b[:100] = [None] * 100
    found = missing_cases(pair_scores(a, b), 200, RULES)
    assert found.primary.outcome is Outcome.A_BETTER
    assert found.best.outcome is Outcome.B_BETTER
    assert found.flips
    assert found.reversed


def test_missing_in_clusters():
    """Missing items leave their cluster smaller; a cluster without any disappears."""
    a, b = gain()
    b[:6] = [None] * 6
    sizes = [5] * 40
    found = missing_cases(pair_scores(a, b), 200, RULES, cluster_sizes=sizes)
    assert found.primary.items_used == 194
    assert found.worst.items_used == 200


def test_truncated():
    """Truncated answers are wrong; taken as right they may flip the verdict, which is said."""
    a, b = gain(better=20)
    cut = [score == 0.0 for score in a]
    found = truncated_cases(pair_scores(a, b), cut, [False] * 200, 200, RULES)
    assert found.primary.outcome is Outcome.B_BETTER
    assert found.worst.outcome is Outcome.UNDECIDED
    assert found.best == found.primary
    assert found.flips


def test_truncated_keeps_missing():
    """A missing score stays missing whatever was truncated."""
    a, b = gain()
    a[0] = None
    found = truncated_cases(pair_scores(a, b), [True] * 200, [False] * 200, 200, RULES)
    assert found.worst.items_dropped == 1


def test_valid_only():
    """Invalid answers are dropped from the second look, not from the first."""
    a, b = gain(better=20)
    valid = [score == 1.0 for score in a]
    v = valid_only(pair_scores(a, b), valid, [True] * 200, 200, RULES)
    assert v.items_dropped == 20
    assert v.outcome is Outcome.UNDECIDED
    assert np.isclose(v.difference, 0.0)
