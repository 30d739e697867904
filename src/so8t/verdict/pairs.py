"""From two lists of scores to ordered differences: matching, missing answers, the frozen order.

Unknown is never zero. A pair in which a score is missing (an outage, a grader that failed) is
dropped and counted; an answer that was wrong, refused, empty or badly formatted has score 0.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from so8t.errors import VerdictInputError
from so8t.verdict.checks import Floats

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

# How many ids an error names before it only counts.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Paired:
    """Paired scores in the frozen order, with NaN where one is missing.

    Attributes:
        scores_a: shape (n,), A's scores in [0, 1], NaN where missing.
        scores_b: shape (n,), B's scores, likewise.

    """

    scores_a: Floats
    scores_b: Floats

    @property
    def complete(self) -> np.ndarray:
        """Shape (n,), whether both scores are there."""
        return ~(np.isnan(self.scores_a) | np.isnan(self.scores_b))

    @property
    def differences(self) -> Floats:
        """Score B - score A of the complete pairs, in order: what `decide` takes."""
        return np.asarray((self.scores_b - self.scores_a)[self.complete])

    @property
    def complete_a(self) -> Floats:
        """A's scores of the complete pairs, in order: what `decide` takes as scores_a."""
        return np.asarray(self.scores_a[self.complete])

    @property
    def dropped(self) -> int:
        """Pairs with a score missing: what `decide` takes as dropped."""
        return int(np.sum(~self.complete))

    @property
    def missing_a(self) -> int:
        """Scores of A that are missing."""
        return int(np.sum(np.isnan(self.scores_a)))

    @property
    def missing_b(self) -> int:
        """Scores of B that are missing."""
        return int(np.sum(np.isnan(self.scores_b)))


def pair_scores(scores_a: Sequence[float | None], scores_b: Sequence[float | None]) -> Paired:
    """Pair scores that are already in the same, frozen order.

    Args:
        scores_a: shape (n,), A's scores in [0, 1]; None is missing. NaN is refused: it would hide
            whether the score is missing or the grader broken.
        scores_b: shape (n,), B's, likewise.

    Raises:
        VerdictInputError: lengths differ, or a score is NaN or out of range.

    """
    if len(scores_a) != len(scores_b):
        raise VerdictInputError(f"A has {len(scores_a)} scores and B has {len(scores_b)}")
    return Paired(_as_scores("A", scores_a), _as_scores("B", scores_b))


def pair_columns(scores_a: Floats, scores_b: Floats) -> Paired:
    """Pair scores that are columns in the same, frozen order, in which NaN is a missing score.

    Args:
        scores_a: shape (n,), A's scores in [0, 1].
        scores_b: shape (n,), B's, likewise.

    Raises:
        VerdictInputError: lengths differ, or a score is out of range.

    """
    if scores_a.size != scores_b.size:
        raise VerdictInputError(f"A has {scores_a.size} scores and B has {scores_b.size}")
    for arm, scores in (("A", scores_a), ("B", scores_b)):
        wrong = np.flatnonzero((scores < 0.0) | (scores > 1.0))
        if wrong.size:
            raise _out_of_range(arm, int(wrong[0]), float(scores[wrong[0]]))
    return Paired(scores_a, scores_b)


def pair_by_id(
    scores_a: Sequence[tuple[Hashable, float | None]],
    scores_b: Sequence[tuple[Hashable, float | None]],
) -> Paired:
    """Pair scores by item id, in the order of A's list.

    Args:
        scores_a: (id, score) of every item of A; None is missing.
        scores_b: (id, score) of every item of B, in any order.

    Raises:
        VerdictInputError: an id occurs twice in one list, the sets of ids differ, or a score is NaN
            or out of range.

    """
    a, b = _by_id("A", scores_a), _by_id("B", scores_b)
    only_a = [key for key in a if key not in b]
    only_b = [key for key in b if key not in a]
    if only_a or only_b:
        parts = [
            f"{len(keys)} only in {arm}: {_few(keys)}"
            for arm, keys in (("A", only_a), ("B", only_b))
            if keys
        ]
        raise VerdictInputError(
            f"the two sets of items differ ({'; '.join(parts)})",
            hint="compare the items that both have, and say which were left out",
        )
    return pair_scores(list(a.values()), [b[key] for key in a])


def mean_of_repeats(scores: Sequence[float | None]) -> float | None:
    """Score of an item answered several times: the mean of the scores there are, None without any.

    At an equal budget, one answer to each of more items says more: two repeats of half the items
    have 1.67 times the variance.
    """
    there = [score for score in scores if score is not None]
    return math.fsum(there) / len(there) if there else None


def cluster_sizes(order: Sequence[str], clusters: Mapping[str, str]) -> list[int]:
    """Return the items of each cluster along an order that keeps clusters together."""
    sizes: list[int] = []
    previous: str | None = None
    for key in order:
        if not sizes or clusters[key] != previous:
            sizes.append(0)
        sizes[-1] += 1
        previous = clusters[key]
    return sizes


def _as_scores(arm: str, scores: Sequence[float | None]) -> Floats:
    for place, score in enumerate(scores):
        if score is not None and not 0.0 <= score <= 1.0:
            raise _out_of_range(arm, place, score)
    return np.array([math.nan if score is None else score for score in scores], dtype=np.float64)


def _out_of_range(arm: str, place: int, score: float) -> VerdictInputError:
    return VerdictInputError(
        f"score {place + 1} of {arm} is {score!r}; it must lie in [0, 1]",
        hint="a missing score is None, never NaN and never zero",
    )


def _by_id(
    arm: str, scores: Sequence[tuple[Hashable, float | None]]
) -> dict[Hashable, float | None]:
    found = dict(scores)
    if len(found) != len(scores):
        twice = _few(_repeated([key for key, _ in scores]))
        raise VerdictInputError(
            f"item ids occur twice in {arm}: {twice}",
            hint="repeated answers of one item are averaged first: so8t.verdict.mean_of_repeats",
        )
    return found


def _repeated(keys: Sequence[Hashable]) -> list[Hashable]:
    return [key for key, times in Counter(keys).items() if times > 1]


def _few(keys: Sequence[Hashable]) -> str:
    named = ", ".join(repr(key) for key in keys[:_NAMED])
    return named if len(keys) <= _NAMED else f"{named} and {len(keys) - _NAMED} more"
