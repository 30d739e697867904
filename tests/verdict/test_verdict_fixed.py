"""The analysis of complete results, against scipy, statsmodels and the likelihood itself."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.weightstats import ttost_paired

from so8t.verdict import (
    Ending,
    Outcome,
    Scope,
    Settings,
    clustered_mean,
    decide,
    decide_finished,
    fixed_analysis,
    mcnemar_exact,
    tango_interval,
    tango_p,
)
from so8t.verdict.outlook import outlook

REFERENCE = json.loads((Path(__file__).parent / "reference_values.json").read_text("utf-8"))
MARGIN = Settings(margin=0.05)


def pairs(b: int, a: int, n: int) -> np.ndarray:
    return np.array([1.0] * b + [-1.0] * a + [0.0] * (n - a - b))


def likelihood_ratio_free(b: int, a: int, n: int, at: float) -> float:
    """The score statistic from a numeric maximum of the multinomial likelihood under H0."""

    def loss(q: float) -> float:
        shares = ((b, q + at), (a, q), (n - a - b, 1.0 - 2.0 * q - at))
        if any(count and share <= 0.0 for count, share in shares):
            return 1e18
        return -sum(count * math.log(share) for count, share in shares if count)

    low, high = max(0.0, -at), (1.0 - at) / 2.0
    q = optimize.minimize_scalar(
        loss, bounds=(low + 1e-13, high - 1e-13), method="bounded", options={"xatol": 1e-14}
    ).x
    return (b - a - n * at) / math.sqrt(n * (2.0 * q + at - at * at))


def test_the_score_test_is_the_likelihoods():
    """Tango's closed form is the score test of the multinomial likelihood, at any table."""
    random = np.random.default_rng(0)
    for _ in range(60):
        n = int(random.integers(5, 300))
        b, a = int(random.integers(0, n // 2 + 1)), int(random.integers(0, n // 2))
        at = float(random.uniform(-0.9, 0.9))
        expected = stats.norm.sf(likelihood_ratio_free(b, a, n, at))
        assert tango_p(b, a, n, at) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("b", "a", "n"), [(10, 2, 40), (0, 0, 100), (6, 0, 10), (120, 90, 1319)])
def test_the_interval_is_what_the_tests_keep(b, a, n):
    """Each end of the interval is where the one-sided test reaches alpha/2."""
    low, high = tango_interval(b, a, n)
    assert tango_p(b, a, n, low) == pytest.approx(0.025, abs=1e-6)
    assert tango_p(a, b, n, -high) == pytest.approx(0.025, abs=1e-6)
    mirrored = tango_interval(a, b, n)
    assert mirrored == pytest.approx((-high, -low))


@pytest.mark.parametrize(
    ("b", "a"), [(10, 2), (6, 0), (5, 0), (5, 5), (0, 0), (15, 5), (40, 20), (120, 90)]
)
def test_binary_results_are_mcnemars(b, a):
    """Direction, p-value and zero in or out of the interval are the exact McNemar test's."""
    found = decide_finished(pairs(b, a, 1319))
    expected = float(mcnemar(np.array([[600, a], [b, 0]]), exact=True).pvalue)
    assert found.fixed.p_value == pytest.approx(expected, abs=1e-12)
    assert found.fixed.p_value == pytest.approx(REFERENCE[f"mcnemar_exact({b},{a})"], abs=1e-9)
    proven = expected <= 0.05
    assert (found.outcome is Outcome.B_BETTER) == proven
    low, high = found.interval
    assert (0.0 <= low < high) if proven else (low <= 0.0 <= high)
    assert found.ending is (Ending.DECIDED if proven else Ending.EXHAUSTED)


def test_graded_results_are_students():
    """Graded scores: scipy's paired t test and interval, statsmodels' two one-sided tests."""
    random = np.random.default_rng(3)
    for _ in range(30):
        a = random.random(120).round(3)
        b = np.clip(a + random.normal(0.02, 0.15, 120), 0, 1).round(3)
        found = decide_finished(b - a, MARGIN)
        test = stats.ttest_rel(b, a)
        assert found.fixed.method == "t"
        assert found.fixed.p_value == pytest.approx(test.pvalue, abs=1e-10)
        expected = test.confidence_interval(0.95)
        assert found.fixed.interval == pytest.approx((expected.low, expected.high), abs=1e-9)
        tost = float(ttost_paired(b, a, -0.05, 0.05)[0])
        assert max(found.fixed.not_worse_p, found.fixed.not_better_p) == pytest.approx(
            tost, abs=1e-9
        )
        assert (Outcome.EQUIVALENT in found.fixed.claims) == (tost <= 0.05)


def test_few_graded_differences_are_flipped_exactly():
    """With few differences that are not zero the exact permutation test decides."""
    d = np.array([0.5, 0.2, -0.1, 0.3, 0.4] + [0.0] * 20)
    found = fixed_analysis(d, Settings())
    both = (d[:5], -d[:5])
    signs = np.array(np.meshgrid(*zip(*both, strict=True))).reshape(5, -1)
    expected = np.mean(np.abs(signs.sum(axis=0)) >= abs(d.sum()) - 1e-9)
    assert (found.method, found.p_value) == ("sign_flip", pytest.approx(expected))
    assert REFERENCE["scipy permutation_test same"] == pytest.approx(expected)


def test_clusters_are_the_units():
    """Known clusters: the robust standard error with G - 1 degrees of freedom."""
    random = np.random.default_rng(5)
    sizes = random.integers(1, 9, 60).tolist()
    labels = np.repeat(np.arange(60), sizes)
    d = np.sign(np.repeat(random.normal(0.1, 1, 60), sizes).round(1))
    found = decide_finished(d, cluster_sizes=sizes)
    mean = clustered_mean(d, labels.tolist())
    assert found.fixed.method == "cluster_t"
    assert found.fixed.p_value == pytest.approx(mean.t_test().p_value)
    assert found.fixed.interval == pytest.approx(mean.interval())
    assert found.spread / math.sqrt(d.size) == pytest.approx(mean.standard_error)


def test_agreement_alone_shows_little():
    """Items that all agree prove equivalence only once there are enough of them."""
    assert Outcome.EQUIVALENT not in fixed_analysis(np.full(40, 0.3), Settings(margin=0.31)).claims
    assert Outcome.EQUIVALENT not in fixed_analysis(np.zeros(40), MARGIN).claims
    assert Outcome.EQUIVALENT in fixed_analysis(np.zeros(400), MARGIN).claims
    low, high = fixed_analysis(np.full(30, 0.1), Settings()).interval
    assert low < 0.1 < high


def test_all_items_of_a_benchmark():
    """Of exactly these items nothing is left to infer: the sign is the verdict."""
    found = decide_finished(pairs(11, 10, 50), Settings(scope=Scope.BENCHMARK))
    assert (found.outcome, found.interval) == (Outcome.B_BETTER, (0.02, 0.02))
    assert found.fixed.p_value is None


@pytest.mark.parametrize("scope", list(Scope))
def test_nothing_and_one(scope):
    """No item, one item, one cluster: undecided, never an exception."""
    rules = Settings(scope=scope, margin=0.05)
    assert decide_finished([], rules).interval is None
    assert decide_finished([], rules, dropped=3).items_total == 3
    assert decide_finished([0.0], rules).outcome in (Outcome.UNDECIDED, Outcome.EQUIVALENT)
    one = decide_finished([1.0, 1.0, 0.0], Settings(), cluster_sizes=[3])
    assert (one.outcome, one.interval) == (Outcome.UNDECIDED, (-1.0, 1.0))


def test_an_equivalence_names_the_interval_that_proves_it():
    """The interval of level 1 - 2 alpha lies within the margin exactly where TOST rejects."""
    random = np.random.default_rng(7)
    claimed = 0
    for _ in range(200):
        n, q = int(random.integers(100, 900)), float(random.uniform(0.02, 0.3))
        u = random.random(n)
        d = np.where(u < q / 2, 1.0, np.where(u < q, -1.0, 0.0))
        for found in (decide_finished(d, MARGIN), decide(d, n, MARGIN)):
            proven = Outcome.EQUIVALENT in dict(found.claims)
            claimed += proven
            if proven:
                assert -0.05 <= found.margin_interval[0] <= found.margin_interval[1] <= 0.05
    assert claimed > 50


def test_a_complete_run_shows_the_fixed_interval():
    """With all items in the interval is the fixed-N one, but for zero, which the looks decide."""
    random = np.random.default_rng(11)
    for look_every in (1, 20):
        for _ in range(40):
            d = random.choice([1.0, 0.0, 0.0, 0.0, -1.0], 400)
            found = decide(d, 400, Settings(look_every=look_every))
            assert found.fixed == decide_finished(d).fixed
            width = found.interval[1] - found.interval[0]
            fixed = found.fixed.interval[1] - found.fixed.interval[0]
            assert width <= 1.04 * fixed
            low, high = found.interval
            if found.outcome is Outcome.UNDECIDED:
                assert found.interval == found.fixed.interval
            else:
                assert low >= 0.0 or high <= 0.0


def test_a_changed_plan_has_no_fixed_analysis():
    """Where someone who could know results changed the plan, the sequential interval stays."""
    d = pairs(60, 30, 400)
    np.random.default_rng(1).shuffle(d)
    found = decide(d, 400, Settings(replanned=True))
    assert found.fixed is None
    kept = decide(d, 400)
    assert found.outcome is kept.outcome
    assert found.interval[1] - found.interval[0] > kept.interval[1] - kept.interval[0]


def test_an_early_estimate_leans_less():
    """The adjusted estimate of runs that stopped early is nearer to the truth on average."""
    random = np.random.default_rng(2)
    plain, adjusted = [], []
    for _ in range(600):
        u = random.random(200)
        d = np.where(u < 0.115, 1.0, np.where(u < 0.2, -1.0, 0.0))
        at = decide(d, 200, with_interval=False)
        if at.outcome is Outcome.B_BETTER and at.decided_at < 190:
            early = decide(d[: at.decided_at], 200)
            plain.append(early.difference)
            adjusted.append(early.adjusted)
    assert len(plain) > 10
    assert np.mean(np.abs(np.array(adjusted) - 0.03)) < 0.8 * np.mean(
        np.abs(np.array(plain) - 0.03)
    )


def test_the_outlook_is_connors():
    """What it would have taken is the sample size formula at the spread that was seen."""
    found = decide_finished(pairs(48, 37, 400), MARGIN)
    seen = outlook(found)
    assert seen.needed == pytest.approx(2105, abs=130)
    assert seen.more == seen.needed - 400
    assert seen.margin_in_reach is (seen.margin_needed <= 400)
    assert outlook(decide_finished(pairs(20, 20, 100))).needed is None
    assert mcnemar_exact(48, 37) > 0.05
