"""Planning, futility, and several tasks at once."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from so8t.errors import VerdictInputError
from so8t.verdict import (
    Outcome,
    Settings,
    TaskEvidence,
    benjamini_hochberg,
    closed_holm,
    decide,
    decide_tasks,
    e_bh,
    equivalence_reach,
    holm,
    minimal_detectable_difference,
    needed_items,
    needed_items_equivalence,
    needed_items_identical,
    predictive_probability,
)

REFERENCE = json.loads((Path(__file__).parent / "reference_values.json").read_text("utf-8"))
P_VALUES = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205]


@pytest.mark.parametrize(
    ("delta", "q"), [(0.02, 0.2), (0.03, 0.2), (0.05, 0.2), (0.05, 0.1), (0.1, 0.3)]
)
def test_needed_items_reference(delta, q):
    """The items needed for a difference agree with the known answers, on either side."""
    known = REFERENCE[f"n for 80% power delta={delta:g} q={q:g}"]
    assert needed_items(delta, q) == needed_items(-delta, q) == known


@pytest.mark.parametrize(("margin", "q"), [(0.02, 0.2), (0.05, 0.2), (0.05, 0.1), (0.02, 0.05)])
def test_needed_items_equivalence_reference(margin, q):
    """The items needed for equivalence agree with the known answers."""
    known = REFERENCE[f"n TOST 80% at delta=0, margin={margin:g} q={q:g}"]
    assert needed_items_equivalence(margin, q) == known


def test_needed_items_identical_reference():
    """The items needed when all answers agree are the known ones."""
    name = "items of all-identical output needed in principle for +-2% / +-5%: ln(.05)/ln(1-delta)"
    assert [needed_items_identical(0.02), needed_items_identical(0.05)] == REFERENCE[name]


@given(st.integers(20, 20_000), st.floats(0.01, 1.0))
def test_minimal_detectable_difference(n, q):
    """It is the difference for which those items are just enough."""
    delta = minimal_detectable_difference(n, q)
    if delta is None:
        assert needed_items(q, q) > n
    else:
        assert needed_items(min(delta * (1 + 1e-9), q), q) <= n
        assert needed_items(delta * 0.98, q) > n - 1


def test_equivalence_out_of_reach():
    """It is said that 1,300 items at discordance 0.1 cannot show equivalence within 2 points."""
    reach = equivalence_reach(1300, 0.1, 0.02)
    assert not reach.reachable
    assert reach.power < 0.5
    assert reach.needed == needed_items_equivalence(0.02, 0.1) > 1300
    assert equivalence_reach(1300, 0.1, reach.smallest_margin * 1.001).reachable
    assert equivalence_reach(100, 0.9, 0.01).power == 0.0


def test_futility_reference():
    """The probability of any verdict agrees with the known answers, with and without a margin."""
    sure = predictive_probability(400, 1319, 2.0, 78.0, margin=0.05)
    assert sure == pytest.approx(REFERENCE["futility pp same, margin .05"], abs=1e-9)
    # The other known answer rests on a detail that its name does not tell: it differs by 1e-4.
    known = REFERENCE["futility pp: n=400,N=1319, 40+/38-/rest 0, margin 0"]
    assert predictive_probability(400, 1319, 2.0, 78.0) == pytest.approx(known, abs=1.5e-4)


def test_futility_by_simulation():
    """The predictive probability is the share of continuations that end in a verdict."""
    n, total = 400, 1319
    random = np.random.default_rng(0)
    mean, spread = 2 / n, np.sqrt(78 / n - (2 / n) ** 2)
    truth = random.normal(mean, spread / np.sqrt(n), 400_000)
    later = random.normal(truth, spread / np.sqrt(total - n))
    at_n = (n * mean + (total - n) * later) / total
    share = np.mean(np.abs(at_n) > 1.959964 * spread / np.sqrt(total))
    assert predictive_probability(n, total, 2.0, 78.0) == pytest.approx(share, abs=0.003)


def test_futility_extremes():
    """Without spread it does not jump to conclusions; at N it is certain."""
    assert predictive_probability(20, 200, 0.0, 0.0) > 0.05
    assert predictive_probability(150, 200, 0.0, 0.0) < 0.05
    assert predictive_probability(200, 200, 40.0, 40.0) == 1.0
    assert predictive_probability(200, 200, 0.0, 40.0) == 0.0
    both = predictive_probability(50, 100, 0.0, 40.0, margin=0.01)
    assert both < predictive_probability(50, 100, 20.0, 40.0, margin=0.01)
    more = predictive_probability(300, 600, -15.0, 60.0, margin=0.05)
    less = predictive_probability(300, 600, -15.0, 60.0, margin=0.05, non_inferiority=False)
    assert less <= more


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: needed_items(0.3, 0.2), r"difference is 0\.3"),
        (lambda: needed_items(0.0, 0.2), r"difference is 0\.0"),
        (lambda: needed_items(0.1, 0.0), r"discordance is 0\.0"),
        (lambda: needed_items(0.1, 0.2, power=1.0), r"power is 1\.0"),
        (lambda: needed_items_equivalence(1.0, 0.2), r"margin is 1\.0"),
        (lambda: minimal_detectable_difference(0, 0.2), "n is 0"),
        (lambda: e_bh([1.0, -2.0]), r"-2\.0"),
        (lambda: e_bh([1.0], q=0.7), r"0\.7"),
        (lambda: holm([0.1, 1.2]), r"1\.2"),
        (lambda: closed_holm(np.ones((2, 3), dtype=bool)), r"\(2, 3\)"),
    ],
)
def test_bad_input(call, named):
    """Bad input is refused by an error that names the value."""
    with pytest.raises(VerdictInputError, match=named):
        call()


def test_adjusted_p_values_reference():
    """Holm and Benjamini-Hochberg agree with the known answers."""
    assert holm(P_VALUES) == pytest.approx(REFERENCE["statsmodels holm adj"], abs=1e-9)
    assert benjamini_hochberg(P_VALUES) == pytest.approx(REFERENCE["statsmodels bh adj"], abs=5e-7)
    assert (holm(P_VALUES) <= 0.05).tolist() == REFERENCE["holm .05"]
    assert (benjamini_hochberg(P_VALUES) <= 0.05).tolist() == REFERENCE["bh .05"]


@pytest.mark.slow
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_adjusted_p_values_statsmodels(p):
    """Holm and Benjamini-Hochberg agree with statsmodels."""
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-9)
    assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1], abs=1e-9)


def test_e_bh_reference():
    """e-BH lists the known categories; nothing when nothing is large."""
    assert e_bh([40, 25, 9, 2, 0.5], q=0.1).tolist() == REFERENCE["e_bh([40,25,9,2,.5],q=.1)"]
    assert not e_bh([1, 2]).any()
    assert e_bh([]).size == 0


@given(st.lists(st.floats(0.0001, 1), min_size=1, max_size=7))
def test_closed_holm_is_holm(p):
    """When rejections are nested, as with p-values, closed Holm is Holm."""
    levels = 0.05 / np.arange(1, len(p) + 1)
    table = np.array(p)[:, None] <= levels
    # Levels are the same numbers in both, up to one rounding.
    near = np.isclose(holm(p), 0.05, rtol=1e-9)
    assert np.all((closed_holm(table) == (holm(p) <= 0.05)) | near)


def test_closed_holm_is_closed_testing():
    """On every table of three, it claims what testing all intersections would."""
    for cells in itertools.product((False, True), repeat=9):
        table = np.array(cells).reshape(3, 3)
        expected = [
            all(
                any(table[j, len(group) - 1] for j in group)
                for size in (1, 2, 3)
                for group in itertools.combinations(range(3), size)
                if k in group
            )
            for k in range(3)
        ]
        assert closed_holm(table).tolist() == expected


def tasks(seed, differences, n=250, q=0.25):
    random = np.random.default_rng(seed)
    made = {}
    for k, difference in enumerate(differences):
        u = random.random(n)
        d = np.where(u < (q + difference) / 2, 1.0, np.where(u < q, -1.0, 0.0))
        made[f"task {k}"] = TaskEvidence(d, n)
    return made


def test_decide_tasks():
    """A real gain and loss are claimed among null tasks; claims are never more than alone."""
    found = decide_tasks(tasks(1, [0.18, -0.18, 0.0, 0.0]))
    assert found["task 0"].outcome is Outcome.B_BETTER
    assert found["task 1"].outcome is Outcome.A_BETTER
    for verdict in found.values():
        if verdict.outcome is not Outcome.UNDECIDED:
            assert verdict.outcome is verdict.alone.outcome
    assert decide_tasks({}) == {}


def test_family_wise_error():
    """Eight null tasks: one is claimed in at most about 5 % of runs; uncorrected in far more."""
    runs, wrong, naive = 60, 0, 0
    for seed in range(runs):
        made = tasks(seed, [0.0] * 8, n=100)
        found = decide_tasks(made, Settings(binary=True, futility=False), with_interval=False)
        wrong += any(v.outcome is not Outcome.UNDECIDED for v in found.values())
        naive += any(v.alone.outcome is not Outcome.UNDECIDED for v in found.values())
    assert wrong / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
    assert naive > 2 * wrong


def test_one_task_is_decide():
    """A single task is decided as by decide()."""
    (task,) = tasks(3, [0.1]).values()
    found = decide_tasks({"only": task})["only"]
    assert found.alone == decide(task.differences, task.n_total)
    assert found.outcome is found.alone.outcome
