"""The rows of `verdict_simulation.py` on what is claimed when all is in, missing, or reopened."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from so8t.verdict import (
    Outcome,
    Paired,
    Settings,
    Verdict,
    decide,
    decide_finished,
    judge_pairs,
    mcnemar_exact,
    rank_candidates,
)
from so8t.verdict.sensitivity import finish_pairs

Floats = NDArray[np.float64]
ALPHA = 0.05
POWER_LOST = 0.02
WIDER_AT_MOST = 1.04
BASE_LEVEL = 0.6
DIRECTIONS = (Outcome.B_BETTER, Outcome.A_BETTER)
FINISHED = Settings(alpha=ALPHA)


@dataclass(frozen=True)
class Row:
    """One measured figure beside the one asked."""

    what: str
    asked: str
    measured: float
    error: float
    holds: bool


def rate(hits: int, runs: int) -> tuple[float, float]:
    """A share with its standard error."""
    share = hits / runs
    return share, math.sqrt(max(share * (1 - share), 1 / runs) / runs)


def at_most(what: str, limit: float, hits: int, runs: int, *, text: str = "") -> Row:
    """A share that may not exceed its limit by more than chance explains."""
    share, error = rate(hits, runs)
    # The standard error that counts is the one if the limit were the truth.
    allowed = limit + 3 * math.sqrt(limit * (1 - limit) / runs)
    return Row(what, text or f"<= {limit:.0%} + 3 SE", share, error, share <= allowed)


def told(what: str, values: Floats) -> Row:
    """A figure that is told, without a limit."""
    error = float(np.std(values, ddof=1)) / math.sqrt(values.size)
    return Row(what, "told", float(np.mean(values)), error, holds=True)


def scores(
    random: np.random.Generator, n: int, q: float, difference: float, level: float = 0.6
) -> tuple[Floats, Floats]:
    """Binary scores of A and B: discordance q, mean difference, A's level when they agree."""
    u = random.random(n)
    b_only, differ = u < (q + difference) / 2, u < q
    agreed = (random.random(n) < level).astype(float)
    a = np.where(differ, np.where(b_only, 0.0, 1.0), agreed)
    b = np.where(differ, np.where(b_only, 1.0, 0.0), agreed)
    return a, b


def finished_binary(seed: int, runs: int, n: int, q: float, difference: float) -> list[Row]:
    """Finished binary results beside the exact McNemar test; coverage and width of the interval."""
    random = np.random.default_rng(seed)
    found, textbook, missed, wald = 0, 0, 0, []
    for _ in range(runs):
        a, b = scores(random, n, q, difference)
        d = b - a
        verdict = decide_finished(d, FINISHED)
        found += verdict.outcome in DIRECTIONS
        textbook += mcnemar_exact(int((d > 0).sum()), int((d < 0).sum())) <= ALPHA
        low, high = verdict.interval or (-1.0, 1.0)
        missed += not low <= difference <= high
        half = 1.96 * d.std(ddof=1) / math.sqrt(n)
        wald.append((high - low) / (2 * half) if half else 1.0)
    case = f"finished, N {n}, discordance {q:.0%}, difference {difference:.1%}"
    rows = [
        at_most(f"interval misses, {case}", ALPHA, missed, runs),
        told(f"width over Wald's interval, {case}", np.array(wald)),
    ]
    if difference == 0.0:
        return [at_most(f"false direction, {case}", ALPHA, found, runs), *rows]
    lost = (textbook - found) / runs
    row = Row(f"power lost, {case} (McNemar {textbook / runs:.2f})", "<= 2 points", lost, 0.0,
              abs(lost) <= POWER_LOST)  # fmt: skip
    return [row, *rows]


def finished_graded(seed: int, runs: int, n: int, difference: float) -> list[Row]:
    """Finished graded results beside scipy's paired t test."""
    random = np.random.default_rng(seed)
    found, textbook, missed = 0, 0, 0
    for _ in range(runs):
        a = random.beta(2, 2, n) * 0.8 + 0.1
        b = np.clip(a + random.normal(difference, 0.1, n), 0.0, 1.0)
        verdict = decide_finished(b - a, FINISHED)
        found += verdict.outcome in DIRECTIONS
        textbook += stats.ttest_rel(b, a).pvalue <= ALPHA
        low, high = verdict.interval or (-1.0, 1.0)
        # Clipping moves the mean by less than a thousandth.
        missed += not low - 1e-3 <= difference <= high + 1e-3
    case = f"finished graded, N {n}, difference {difference:.1%}"
    rows = [at_most(f"interval misses, {case}", ALPHA, missed, runs)]
    if difference == 0.0:
        return [at_most(f"false direction, {case}", ALPHA, found, runs), *rows]
    lost = (textbook - found) / runs
    return [Row(f"power lost, {case} (t test {textbook / runs:.2f})", "<= 2 points", lost, 0.0,
                abs(lost) <= POWER_LOST), *rows]  # fmt: skip


def finished_clusters(seed: int, runs: int, groups: int) -> list[Row]:
    """Finished clustered results without a difference: eight questions on each passage."""
    random = np.random.default_rng(seed)
    hits = 0
    for _ in range(runs):
        lean = np.repeat(random.normal(0, 0.5, groups), 8)
        d = np.sign(np.round(lean + random.normal(0, 0.6, lean.size)))
        found = decide_finished(d, FINISHED, cluster_sizes=[8] * groups)
        hits += found.outcome in DIRECTIONS
    return [at_most(f"false direction, finished, {groups} clusters of 8", ALPHA, hits, runs)]


def finished_equivalence(seed: int, runs: int, n: int, q: float, margin: float) -> list[Row]:
    """The true difference is the margin: how often is that called equivalent?"""
    random = np.random.default_rng(seed)
    settings = Settings(alpha=ALPHA, margin=margin)
    hits = 0
    for _ in range(runs):
        a, b = scores(random, n, q, -margin)
        hits += Outcome.EQUIVALENT in dict(decide_finished(b - a, settings).claims)
    case = f"finished, N {n}, discordance {q:.0%}, margin {margin:.0%}"
    return [at_most(f"false equivalence, {case}", ALPHA, hits, runs)]


def missing(seed: int, runs: int, n: int, why: str, difference: float) -> list[Row]:
    """3 % of B's scores are missing, at random, or those that it would have got wrong."""
    random = np.random.default_rng(seed)
    claimed = complete = 0
    for _ in range(runs):
        a, b = scores(random, n, 0.2, difference)
        candidates = np.arange(n) if why == "at random" else np.flatnonzero(b == 0.0)
        lost = random.choice(candidates, size=round(0.03 * n), replace=False)
        b = b.copy()
        b[lost] = np.nan
        pairs = Paired(a, b)
        verdict, cases = judge_pairs(pairs, n, FINISHED, decided_by=finish_pairs)
        claimed += verdict.outcome in DIRECTIONS
        complete += cases.primary.outcome in DIRECTIONS
    case = f"3 % of B missing {why}, N {n}"
    if difference == 0.0:
        return [
            at_most(f"false headline, {case}", ALPHA, claimed, runs),
            Row(f"the same had the complete pairs decided, {case}", "told",
                *rate(complete, runs), holds=True),
        ]  # fmt: skip
    return [
        Row(f"verdict given at a difference of {difference:.0%}, {case} "
            f"(complete pairs {complete / runs:.2f})", "told", *rate(claimed, runs), holds=True)
    ]  # fmt: skip


def _decide_at(differences: Floats, alpha: float) -> Verdict:
    return decide_finished(differences, Settings(alpha=alpha))


def _against(answers: dict[str, Floats], one: str, two: str, alpha: float) -> Verdict:
    return _decide_at(answers[one] - answers[two], alpha)


def candidates(seed: int, runs: int, n: int, truths: tuple[float, ...]) -> list[Row]:
    """Candidates of one base: wrong claims against it, a wrong best one, intervals together."""
    random = np.random.default_rng(seed)
    wrong = wrong_best = right_best = missed = 0
    for _ in range(runs):
        base = (random.random(n) < BASE_LEVEL).astype(float)
        # Each candidate changes a fifth of the answers of the base, on its own items.
        answers = {}
        for number, truth in enumerate(truths):
            u = random.random(n)
            up = 0.1 + truth / 2
            down = 0.1 - truth / 2
            gains = (base == 0.0) & (u < up / 0.4)
            losses = (base == 1.0) & (u < down / 0.6)
            answers[f"B{number}"] = np.where(gains, 1.0, np.where(losses, 0.0, base))

        ranking = rank_candidates(
            {name: partial(_decide_at, scored - base) for name, scored in answers.items()},
            partial(_against, answers),
            ALPHA,
        )
        truth_of = {f"B{number}": truth for number, truth in enumerate(truths)}
        wrong += any(
            (one.outcome is Outcome.B_BETTER and truth_of[one.name] <= 0)
            or (one.outcome is Outcome.A_BETTER and truth_of[one.name] >= 0)
            for one in ranking.candidates
        )
        missed += any(
            one.interval is not None
            and not one.interval[0] <= truth_of[one.name] <= one.interval[1]
            for one in ranking.candidates
        )
        top = max(truths)
        best = ranking.best
        wrong_best += best is not None and (truth_of[best] < top or truths.count(top) > 1)
        right_best += best is not None and truth_of[best] == top and truths.count(top) == 1
    case = f"candidates at {', '.join(f'{truth:+.0%}' for truth in truths)}, N {n}"
    return [
        at_most(f"a false claim against the base, {case}", ALPHA, wrong, runs),
        at_most(f"a wrong best one, {case}", ALPHA, wrong_best, runs),
        at_most(f"any simultaneous interval misses, {case}", ALPHA, missed, runs),
        Row(f"the best one named, {case}", "told", *rate(right_best, runs), holds=True),
    ]


def reopened(seed: int, runs: int, n: int, difference: float) -> list[Row]:
    """A deadline ends the run at 30 % of N; it is taken up again whenever that was undecided."""
    random = np.random.default_rng(seed)
    claims = missed = 0
    rules = Settings(alpha=ALPHA, binary=True)
    replanned = Settings(alpha=ALPHA, binary=True, replanned=True)
    for _ in range(runs):
        a, b = scores(random, n, 0.2, difference)
        d = b - a
        first = decide(d[: int(0.3 * n)], n, rules)
        shown = first
        if first.outcome not in DIRECTIONS:
            shown = decide(d, n, replanned)
        claims += shown.outcome in DIRECTIONS
        low, high = shown.interval or (-1.0, 1.0)
        missed += not low <= difference <= high
    case = f"a deadline at 30 % of {n}, reopened, difference {difference:.1%}"
    rows = [at_most(f"interval misses, {case}", ALPHA, missed, runs)]
    if difference == 0.0:
        rows.insert(0, at_most(f"false direction, {case}", ALPHA, claims, runs))
    return rows


def early_stop(seed: int, runs: int, n: int, q: float, difference: float) -> list[Row]:
    """Runs that stop at the first block of 5 % that decides: interval and estimate as shown."""
    random = np.random.default_rng(seed)
    rules = Settings(alpha=ALPHA, binary=True)
    block = max(1, n // 20)
    missed = 0
    plain, adjusted, ratios = [], [], []
    for _ in range(runs):
        a, b = scores(random, n, q, difference)
        d = b - a
        at = decide(d, n, rules, with_interval=False)
        stop = n
        if at.outcome in DIRECTIONS and at.decided_at is not None:
            stop = min(n, -(-at.decided_at // block) * block)
        shown = decide(d[:stop], n, rules)
        low, high = shown.interval or (-1.0, 1.0)
        missed += not low <= difference <= high
        if shown.adjusted is not None and shown.difference is not None:
            plain.append(shown.difference - difference)
            adjusted.append(shown.adjusted - difference)
        elif shown.fixed is not None:
            fixed_low, fixed_high = shown.fixed.interval
            ratios.append((high - low) / (fixed_high - fixed_low))
    case = f"N {n}, discordance {q:.0%}, difference {difference:.1%}"
    rows = [at_most(f"interval as shown at the stop misses, {case}", ALPHA, missed, runs)]
    if len(plain) > 1:
        early = f"early stops ({len(plain) / runs:.0%} of runs), {case}"
        rows += [
            told(f"lean of the difference, {early}", np.array(plain)),
            told(f"lean of the adjusted one, {early}", np.array(adjusted)),
        ]
    if ratios:
        worst = float(np.max(ratios))
        rows.append(
            Row(f"largest width at the end over the fixed one, {case}", "<= 1.04", worst, 0.0,
                worst <= WIDER_AT_MOST)
        )  # fmt: skip
    return rows
