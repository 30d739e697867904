"""The fixed-N methods against known answers, statsmodels and scipy."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from so8t.errors import VerdictInputError
from so8t.verdict import (
    bca_bootstrap,
    clustered_mean,
    mcnemar_chi2,
    mcnemar_exact,
    mcnemar_midp,
    newcombe_interval,
    paired_mean,
    posterior_b_better,
    sign_e_value,
    sign_flip,
    tost,
    wilson_interval,
)

REFERENCE = json.loads((Path(__file__).parent / "reference_values.json").read_text("utf-8"))
PAIRS = [(10, 2), (6, 0), (5, 0), (5, 5), (0, 0), (15, 5), (40, 20), (120, 90)]
HUNDRED = [1.0] * 12 + [-1.0] * 10 + [0.0] * 78
CLUSTERED = [1.0, 1.0, 0.0, -1.0, 0.0, 0.0]

counts = st.integers(0, 300)


def near(value):
    return pytest.approx(value, abs=1e-9, rel=1e-9)


@pytest.mark.parametrize(("b", "c"), PAIRS)
def test_mcnemar_reference(b, c):
    """Exact and mid-p McNemar agree with the known answers."""
    assert mcnemar_exact(b, c) == near(REFERENCE[f"mcnemar_exact({b},{c})"])
    assert mcnemar_midp(b, c) == near(REFERENCE[f"mcnemar_midp({b},{c})"])


@given(counts, counts)
def test_mcnemar_statsmodels(b, c):
    """The exact and the chi-squared forms agree with statsmodels, and are symmetric."""
    table = [[0, b], [c, 0]]
    assert mcnemar_exact(b, c) == near(mcnemar(table, exact=True).pvalue)
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)
    assert mcnemar_midp(b, c) <= mcnemar_exact(b, c)
    # Edwards' correction never pulls a difference below zero; statsmodels' does at b = c.
    if b != c:
        for correction in (False, True):
            theirs = mcnemar(table, exact=False, correction=correction)
            ours = mcnemar_chi2(b, c, correction=correction)
            assert ours.statistic == near(theirs.statistic)
            assert ours.p_value == near(theirs.pvalue)


def test_mcnemar_chi2_reference():
    """The chi-squared forms agree with the known answers; without pairs there is no evidence."""
    plain, corrected = mcnemar_chi2(10, 2), mcnemar_chi2(10, 2, correction=True)
    assert [plain.statistic, plain.p_value] == near(REFERENCE["mcnemar_chi2(10,2)"])
    assert [corrected.statistic, corrected.p_value] == near(REFERENCE["mcnemar_chi2_cc(10,2)"])
    assert mcnemar_chi2(0, 0).p_value == 1.0


@pytest.mark.parametrize(
    ("b", "c", "a"),
    [
        (0, 0, 1),
        (7, 0, 1),
        (8, 0, 1),
        (10, 2, 1),
        (30, 10, 1),
        (10, 2, 3),
        (30, 10, 3),
        (60, 40, 10),
    ],
)
def test_e_value_reference(b, c, a):
    """The two-sided e-value of the sign test agrees with the known answers."""
    assert sign_e_value(b, c, a=a) == near(REFERENCE[f"E_sign({b},{c};a={a})"])


@pytest.mark.parametrize(("b", "c"), [(6, 0), (10, 2), (2, 10)])
def test_e_value_one_sided_reference(b, c):
    """The one-sided e-value agrees with the known answers."""
    known = REFERENCE[f"E_sign_one_sided({b},{c};a=1)"]
    assert sign_e_value(b, c, one_sided=True) == near(known)


def test_e_value_extremes():
    """An overwhelming count stays a finite number, on either side."""
    assert math.isfinite(sign_e_value(5000, 0))
    assert sign_e_value(0, 5000, one_sided=True) == near(1 / 5001)
    assert sign_e_value(10, 2) == near(REFERENCE["check 10,2: 8192/1716"])


@given(st.integers(1, 9), st.floats(0.5, 4))
def test_e_value_is_fair(n, a):
    """Under fair coins the expected e-value is one, at any n and mixture: that makes it valid."""
    expected = sum(stats.binom.pmf(k, n, 0.5) * sign_e_value(k, n - k, a=a) for k in range(n + 1))
    assert expected == pytest.approx(1.0, abs=1e-9)


def test_posterior_reference():
    """The posterior probability agrees with the known answer."""
    known = REFERENCE["posterior P(p>.5|10,2,Beta(1,1))"]
    assert [posterior_b_better(10, 2)] * 2 == near(known)


def test_paired_reference():
    """Mean, standard error, t test and TOST agree with the known answers and with statsmodels."""
    m = paired_mean(HUNDRED)
    assert [m.mean, m.standard_error] == near(REFERENCE["paired_se(12+,10-,78x0)"])
    assert m.t_test().p_value == near(REFERENCE["ttest paired p"])
    assert tost(HUNDRED, 0.05) == near(REFERENCE["TOST .05"])
    assert tost(HUNDRED, 0.10) == near(REFERENCE["TOST .10"])
    assert tost(HUNDRED, 0.10) == near(REFERENCE["statsmodels ttost .10"])
    theirs = DescrStatsW(HUNDRED)
    assert tost(HUNDRED, 0.1) == near(theirs.ttost_mean(-0.1, 0.1)[0])
    assert m.interval(0.05) == near(theirs.tconfint_mean(0.05))


def test_clustered_reference():
    """The clustered standard error agrees with the known answer and with statsmodels."""
    m = clustered_mean(CLUSTERED, "aabbcc")
    assert [m.mean, m.standard_error] == near(REFERENCE["cluster SE d=[1,1,0,-1,0,0] cl=aabbcc"])
    naive = paired_mean(CLUSTERED)
    assert [naive.mean, naive.standard_error] == near(REFERENCE["naive SE same"])
    fit = OLS(CLUSTERED, np.ones(6)).fit(
        cov_type="cluster", cov_kwds={"groups": [0, 0, 1, 1, 2, 2], "use_correction": False}
    )
    known = REFERENCE["statsmodels cluster SE without correction (x sqrt(3/2) = ours)"]
    assert [fit.bse[0], fit.bse[0] * math.sqrt(1.5)] == near(known)
    assert m.standard_error == near(known[1])


def test_no_spread():
    """Without spread, or with one item or cluster, nothing is invented."""
    assert paired_mean([0.0, 0.0]).t_test().p_value == 1.0
    assert paired_mean([1.0, 1.0]).t_test().p_value == 0.0
    assert math.isnan(paired_mean([0.5]).standard_error)
    assert math.isnan(clustered_mean([0.5, 0.1], "aa").standard_error)
    assert tost([0.0], 0.1) == 1.0
    assert tost([0.0, 0.0], 0.1) == 0.0
    assert tost([0.5, 0.5], 0.1) == 1.0


def test_sign_flip_reference():
    """The exact permutation test agrees with the known answers and with scipy."""
    assert sign_flip([1, 1, 1, 1, 1, -1]) == near(REFERENCE["sign-flip exact p for [1x5,-1]"])
    d = [0.5, 0.2, -0.1, 0.3, 0.4]
    assert sign_flip(d) == near(REFERENCE["sign-flip exact two-sided p for [.5,.2,-.1,.3,.4]"])
    theirs = stats.permutation_test(
        (np.array(d), np.zeros(5)), lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples", vectorized=True,
    )  # fmt: skip
    assert sign_flip(d) == near(theirs.pvalue)
    assert sign_flip(d) == near(REFERENCE["scipy permutation_test same"])


@given(st.integers(0, 9), st.integers(0, 9))
def test_sign_flip_is_mcnemar(b, c):
    """On binary differences the sign-flip test is the exact McNemar test."""
    assert sign_flip([1.0] * b + [-1.0] * c + [0.0] * 3) == near(mcnemar_exact(b, c))


def test_sign_flip_monte_carlo():
    """Above 18 differences it samples: by seed the same, near the exact answer, never zero."""
    d = [1.0] * 40 + [-1.0] * 20
    assert sign_flip(d, seed=3) == sign_flip(d, seed=3)
    assert sign_flip(d) == pytest.approx(mcnemar_exact(40, 20), abs=0.005)
    assert sign_flip([1.0] * 60, resamples=99) == 0.01


def test_bca():
    """The BCa interval agrees with scipy's, repeats by seed, and is a point without spread."""
    random = np.random.default_rng(0)
    d = random.choice([-1.0, 0.0, 1.0], p=[0.05, 0.75, 0.2], size=200)
    ours = bca_bootstrap(d, seed=1)
    theirs = stats.bootstrap((d,), np.mean, method="BCa", random_state=1).confidence_interval
    assert ours == pytest.approx(tuple(theirs), abs=0.006)
    assert ours == bca_bootstrap(d, seed=1)
    assert bca_bootstrap([0.5]) == (0.5, 0.5)
    assert bca_bootstrap([0.5, 0.5]) == (0.5, 0.5)


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_statsmodels(hits, more):
    """The Wilson interval agrees with statsmodels."""
    n = hits + more
    assert wilson_interval(hits, n) == near(proportion_confint(hits, n, method="wilson"))


def test_wilson_ends():
    """The Wilson interval holds its ends, and without items says nothing."""
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(7, 7)[1] == 1.0
    with pytest.raises(VerdictInputError, match="right is 8"):
        wilson_interval(8, 7)


def test_newcombe_published():
    """Method 10 gives the interval published for the table 36, 12, 2, 0."""
    assert newcombe_interval(36, 12, 2, 0) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@given(counts, counts, counts, st.integers(1, 300))
def test_newcombe_symmetry(e, f, g, h):
    """Exchanging the arms mirrors the interval, which holds the difference."""
    low, high = newcombe_interval(e, f, g, h)
    assert newcombe_interval(e, g, f, h) == near((-high, -low))
    assert -1.0 <= low <= (f - g) / (e + f + g + h) <= high <= 1.0


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: mcnemar_exact(-1, 2), "b_only is -1"),
        (lambda: mcnemar_midp(1, 2.5), "a_only is 2.5"),
        (lambda: sign_e_value(1, 2, a=0.0), r"a is 0\.0"),
        (lambda: newcombe_interval(0, 0, 0, 0), "empty"),
        (lambda: paired_mean([]), "no differences"),
        (lambda: paired_mean([0.1, float("nan")]), "item 2 has the value .*nan"),
        (lambda: paired_mean([1.5]), r"1\.5"),
        (lambda: paired_mean([[0.1]]), "shape"),
        (lambda: paired_mean(["x"]), "not numbers"),
        (lambda: clustered_mean([0.1], "ab"), "2 cluster labels"),
        (lambda: tost([0.1, 0.2], 0.0), r"margin is 0\.0"),
        (lambda: bca_bootstrap([0.1], alpha=0.5), r"alpha is 0\.5"),
        (lambda: sign_flip([0.1], resamples=0), "resamples is 0"),
    ],
)
def test_bad_input(call, named):
    """Bad input is refused by an error that names the value."""
    with pytest.raises(VerdictInputError, match=named):
        call()
