"""Several tasks: which of them differ, when one asks about all of them.

The overall verdict comes first, at full alpha, over the shuffled union. What follows is per task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from so8t.errors import VerdictInputError
from so8t.verdict.checks import Floats, as_probabilities, check_alpha
from so8t.verdict.decide import Verdict, decide, decide_finished
from so8t.verdict.settings import Outcome, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Booleans = NDArray[np.bool_]
_DIRECTIONS = (Outcome.B_BETTER, Outcome.A_BETTER)


@dataclass(frozen=True, slots=True)
class TaskEvidence:
    """One task's completed prefix: differences in the frozen order, and its own N.

    `cluster_sizes` are those of the whole task without dropped items, as for `decide`, and
    `scores_a` are A's, only to fill the paired table.
    """

    differences: Floats
    n_total: int
    dropped: int = 0
    cluster_sizes: Sequence[int] | None = None
    scores_a: Floats | None = None


@dataclass(frozen=True, slots=True)
class TaskVerdict:
    """What may be said of one task among several.

    Attributes:
        outcome: b_better or a_better, at a family-wise error rate of alpha; else undecided.
        alone: the verdict at full alpha, as if there were no other task: exploratory.

    """

    outcome: Outcome
    alone: Verdict


def closed_holm(rejected: NDArray[np.bool_]) -> Booleans:
    """Which hypotheses closed testing with Bonferroni claims, when boundaries are not nested.

    Hypothesis k is claimed iff for every r = 1..K it is rejected at alpha/r, or fewer than r
    hypotheses fail at alpha/r: then every intersection that contains k is rejected by some member.
    Holm (1979) is the special case in which a rejection at alpha/r implies one at alpha.
    Marcus, Peritz and Gabriel (1976), Biometrika 63.

    Args:
        rejected: shape (K, K), whether hypothesis k is rejected at alpha/(r + 1), in row k and
            column r.

    Raises:
        VerdictInputError: not square.

    """
    table = np.array(rejected, dtype=bool)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:  # noqa: PLR2004 - a table
        raise VerdictInputError(f"the table of rejections has shape {table.shape}, not (K, K)")
    claimed = claimed_by_closure(table.shape[0], lambda k, r: bool(table[k, r]))
    return np.array(claimed, dtype=bool)


def claimed_by_closure(size: int, rejected: Callable[[int, int], bool]) -> list[bool]:
    """Do as `closed_holm`, asking only for what decides: mostly it is one column."""

    @cache
    def failures(r: int) -> int:
        return sum(not rejected(k, r) for k in range(size))

    return [all(rejected(k, r) or failures(r) <= r for r in range(size)) for k in range(size)]


def decide_tasks(
    tasks: Mapping[str, TaskEvidence],
    settings: Settings | None = None,
    *,
    with_interval: bool = True,
    finished: bool = False,
) -> dict[str, TaskVerdict]:
    """Decide the direction of each task, with a family-wise error rate of alpha at any time.

    Each task is tested as `decide` does, at alpha, alpha/2, ..., alpha/K, and `closed_holm` joins
    them. Plain Holm on sequential p-values is not guaranteed: the boundaries of GS at two levels
    are not always nested.

    Args:
        tasks: name to its completed prefix.
        settings: the frozen rules; the margin is used only by `alone`.
        with_interval: False skips the interval of `alone`.
        finished: the tasks are complete and looked at once (`decide_finished`); what is claimed is
            then what Holm (1979) claims.

    Raises:
        VerdictInputError: as `decide`.

    """
    settings = settings or Settings()
    names = list(tasks)

    @cache
    def at_level(k: int, r: int) -> Outcome:
        strict = Settings(
            alpha=settings.alpha / (r + 1),
            scope=settings.scope,
            look_every=settings.look_every,
            binary=settings.binary,
            futility=False,
        )
        return _decide(tasks[names[k]], strict, finished=finished, with_interval=False).outcome

    claimed = claimed_by_closure(len(names), lambda k, r: at_level(k, r) in _DIRECTIONS)
    result = {}
    for k, (name, claim) in enumerate(zip(names, claimed, strict=True)):
        # The claim names the side of the strictest level that rejects.
        levels = (at_level(k, r) for r in reversed(range(len(names))))
        side = next((level for level in levels if level in _DIRECTIONS), None) if claim else None
        alone = _decide(tasks[name], settings, finished=finished, with_interval=with_interval)
        result[name] = TaskVerdict(side or Outcome.UNDECIDED, alone)
    return result


def _decide(
    task: TaskEvidence, settings: Settings, *, finished: bool, with_interval: bool
) -> Verdict:
    if finished:
        return decide_finished(
            task.differences,
            settings,
            dropped=task.dropped,
            cluster_sizes=task.cluster_sizes,
            scores_a=task.scores_a,
            with_interval=with_interval,
        )
    return decide(
        task.differences,
        task.n_total,
        settings,
        dropped=task.dropped,
        cluster_sizes=task.cluster_sizes,
        scores_a=task.scores_a,
        with_interval=with_interval,
    )


def holm(p_values: Sequence[float]) -> Floats:
    """Holm's adjusted p-values: reject where at most alpha. Holm (1979), Scand. J. Statistics 6.

    Args:
        p_values: shape (k,), fixed-N p-values in [0, 1].

    Raises:
        VerdictInputError: a value is NaN or out of range.

    """
    p = as_probabilities(p_values)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> Floats:
    """Adjusted p-values for the false discovery rate; Benjamini and Hochberg (1995), JRSS B 57.

    Args:
        p_values: shape (k,), independent or positively dependent, in [0, 1].

    Raises:
        VerdictInputError: a value is NaN or out of range.

    """
    p = as_probabilities(p_values)
    order = np.argsort(p, kind="stable")[::-1]
    steps = np.minimum.accumulate(p[order] * p.size / np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def e_bh(e_values: Sequence[float], *, q: float = 0.1) -> Booleans:
    """Which exploratory categories to list, at a false discovery rate of q, under any dependence.

    The k largest e-values are listed for the largest k with e_(k) >= K/(q k). Wang and Ramdas
    (2022), JRSS B 84. `sign_e_value` gives e-values that may be read at any time.

    Args:
        e_values: shape (K,), nonnegative.
        q: false discovery rate, in (0, 0.5).

    Raises:
        VerdictInputError: an e-value is negative or NaN, or q out of range.

    """
    check_alpha(q)
    e = np.array(e_values, dtype=np.float64)
    if not np.all(e >= 0.0):
        raise VerdictInputError(f"e-values must not be negative or NaN: {e[~(e >= 0.0)][0]!r}")
    order = np.argsort(-e, kind="stable")
    enough = e[order] * np.arange(1, e.size + 1) >= e.size / q
    listed = np.zeros(e.size, dtype=bool)
    if enough.any():
        listed[order[: int(np.flatnonzero(enough)[-1]) + 1]] = True
    return listed
