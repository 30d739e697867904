"""From answers to items: repeats put together, pairs under different conditions left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from so8t.domain.exchange import Arm, Status
from so8t.domain.plan import repeats
from so8t.domain.sample import Grade
from so8t.journal.columns import OPEN, STATES, AnswerColumns, ItemColumns, known
from so8t.journal.conditions import comparable, conditions
from so8t.verdict.pairs import mean_of_repeats

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from so8t.journal.rows import AnswerRecord, Standing
    from so8t.journal.store import Journal
    from so8t.verdict.checks import Floats, Ints

Items = dict[Arm, ItemColumns]
_FAILED, _TRUNCATED = STATES[Status.FAILED], STATES[Status.TRUNCATED]


def every_answer(journal: Journal, arm: Arm, repeated: int) -> list[AnswerColumns]:
    """Return the standing answers of an arm, one for each repeat."""
    count = journal.sample_count()
    return [read_answers(journal.standings(arm, repeat), count) for repeat in repeats(repeated)]


def read_answers(standings: Iterable[Standing], count: int) -> AnswerColumns:
    """Read how answers to `count` questions stand into columns."""
    state = np.zeros(count, dtype=np.uint8)
    score = np.full(count, np.nan)
    valid = np.zeros(count, dtype=bool)
    cut = np.zeros(count, dtype=bool)
    settings = np.zeros(count, dtype=np.int32)
    digests: dict[str, int] = {}
    unscored = 0
    for standing in standings:
        position, counted = standing.position, standing.counted
        state[position] = STATES[standing.status]
        if counted is not None:
            score[position] = counted
        # a cut answer is counted as cut, and not as one in another form as well
        cut[position] = standing.unsettled
        valid[position] = standing.valid or standing.unsettled
        settings[position] = digests.setdefault(standing.settings, len(digests))
        unscored += standing.grade is Grade.UNSCORED
    return AnswerColumns(state, score, valid, cut, settings, list(digests), unscored)


def by_item(every: Sequence[AnswerColumns]) -> ItemColumns:
    """Put the repeats of each question together; one with a repeat still open is left out."""
    states = np.stack([answers.state for answers in every])
    there = np.all(states != OPEN, axis=0)
    failed, truncated = states == _FAILED, states == _TRUNCATED
    # one that had settled its answer before the end could not have come out another way
    cut = np.stack([answers.cut for answers in every])
    state = np.where(truncated.any(axis=0), _TRUNCATED, STATES[Status.COMPLETED])
    state = np.where(failed.all(axis=0), _FAILED, state)
    scores = np.stack([answers.score for answers in every])
    scored = np.sum(~np.isnan(scores), axis=0)
    settings, shared = _settings(every, failed)
    return ItemColumns(
        state=np.where(there, state, OPEN).astype(np.uint8),
        score=_means(scores, there),
        cut=np.divide(
            cut.sum(axis=0), scored, out=np.zeros(scored.size), where=there & (scored > 0)
        ),
        valid=np.all([answers.valid for answers in every], axis=0),
        settings=settings,
        shared=shared,
        comparable=np.ones(scored.size, dtype=bool),
    )


def _means(scores: Floats, there: np.ndarray) -> Floats:
    """Return the mean scores of shape (n,) from shape (repeats, n); NaN where none is there."""
    if len(scores) == 1:
        return np.asarray(scores[0])  # the mean of one number is that number
    means = np.full(scores.shape[1], np.nan)
    for position in np.flatnonzero(there).tolist():
        mean = mean_of_repeats([known(score) for score in scores[:, position]])
        if mean is not None:
            means[position] = mean
    return means


def _settings(
    every: Sequence[AnswerColumns], failed: np.ndarray
) -> tuple[Ints, list[tuple[str, ...]]]:
    """Number the sets of settings that questions were answered under; failures have none."""
    digests = sorted({digest for answers in every for digest in answers.digests})
    codes = np.full(failed.shape, -1, dtype=np.int64)
    for repeat, answers in enumerate(every):
        if answers.digests:
            numbers = np.array([digests.index(digest) for digest in answers.digests])
            codes[repeat] = np.where(failed[repeat], -1, numbers[answers.settings])
    codes.sort(axis=0)
    kinds, of = np.unique(codes, axis=1, return_inverse=True)
    shared = [
        tuple(digests[code] for code in dict.fromkeys(kind) if code >= 0)
        for kind in kinds.T.tolist()
    ]
    return np.asarray(of.reshape(-1), dtype=np.int64), shared


def in_step(
    ones: Iterable[AnswerRecord], others: Iterable[AnswerRecord]
) -> Iterator[tuple[AnswerRecord, AnswerRecord]]:
    """Pair what two streams, each in the order of positions, have of the same question."""
    rest = iter(others)
    other = next(rest, None)
    for one in ones:
        while other is not None and other.position < one.position:
            other = next(rest, None)
        if other is None:
            return
        if other.position == one.position:
            yield one, other


def known_conditions(journal: Journal) -> dict[str, str]:
    """Return the conditions behind each digest of settings."""
    return {digest: conditions(body) for digest, body in journal.all_settings().items()}


def conditions_changed(journal: Journal) -> bool:
    """Whether answers were given under more than one set of conditions: pairs may be unequal."""
    return len(set(known_conditions(journal).values())) > 1


def unequal_positions(journal: Journal, items: Items) -> list[int]:
    """Positions that both arms answered, but under different conditions."""
    if not conditions_changed(journal):
        return []
    conditions_of = known_conditions(journal)
    a, b = items[Arm.A], items[Arm.B]
    both = a.settings * len(b.shared) + b.settings
    unequal = [
        first * len(b.shared) + second
        for first, of_a in enumerate(a.shared)
        for second, of_b in enumerate(b.shared)
        if not comparable(of_a, of_b, conditions_of)
    ]
    found = np.isin(both, unequal) & a.answered & b.answered
    positions: list[int] = np.flatnonzero(found).tolist()
    return positions


def leave_out_unequal(journal: Journal, items: Items) -> None:
    """Take the scores from pairs that were answered under different conditions."""
    positions = unequal_positions(journal, items)
    for arm in Arm:
        items[arm].score[positions] = np.nan
        items[arm].comparable[positions] = False
