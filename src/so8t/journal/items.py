"""From answers to items: repeats put together, pairs under different conditions left out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from so8t.domain.exchange import Arm, Status
from so8t.domain.plan import repeats
from so8t.journal.conditions import comparable, conditions
from so8t.journal.rows import ItemStanding
from so8t.verdict.pairs import mean_of_repeats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.journal.rows import Standing
    from so8t.journal.store import Journal

Items = dict[Arm, dict[int, ItemStanding]]


def every_answer(journal: Journal, arm: Arm, repeated: int) -> list[list[Standing]]:
    """Return the standing answers of an arm, one list for each repeat."""
    return [list(journal.standings(arm, repeat)) for repeat in repeats(repeated)]


def by_item(every: Sequence[Sequence[Standing]]) -> dict[int, ItemStanding]:
    """Put the repeats of each question together; one with a repeat still open is left out."""
    found: dict[int, list[Standing]] = defaultdict(list)
    for answers in every:
        for standing in answers:
            found[standing.position].append(standing)
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    return {
        position: _item(answers, shared)
        for position, answers in found.items()
        if len(answers) == len(every)
    }


def _item(
    answers: Sequence[Standing], shared: dict[tuple[str, ...], tuple[str, ...]]
) -> ItemStanding:
    scores = [answer.counted for answer in answers]
    scored = sum(score is not None for score in scores)
    given = [answer for answer in answers if answer.status is not Status.FAILED]
    cut = sum(answer.status is Status.TRUNCATED for answer in given)
    settings = tuple(sorted({answer.settings for answer in given}))
    return ItemStanding(
        score=mean_of_repeats(scores),
        status=Status.FAILED if not given else Status.TRUNCATED if cut else Status.COMPLETED,
        cut=cut / scored if scored else 0.0,
        valid=all(answer.valid for answer in answers),
        settings=shared.setdefault(settings, settings),
    )


def unequal_positions(journal: Journal, items: Items) -> list[int]:
    """Positions that both arms answered, but under different conditions."""
    known = {digest: conditions(body) for digest, body in journal.all_settings().items()}
    if len(set(known.values())) < 2:  # noqa: PLR2004 - one set of conditions is everywhere the same
        return []
    a, b = items[Arm.A], items[Arm.B]
    return [p for p, item in a.items() if p in b and not comparable(item, b[p], known)]


def leave_out_unequal(journal: Journal, items: Items) -> None:
    """Take the scores from pairs that were answered under different conditions."""
    for position in unequal_positions(journal, items):
        for arm in Arm:
            known = items[arm][position]
            items[arm][position] = replace(known, score=None, comparable=False)
