"""A million questions as columns: the same numbers as one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from so8t.domain.exchange import Status
from so8t.domain.sample import Grade
from so8t.journal.columns import read_places
from so8t.journal.items import by_item, read_answers
from so8t.journal.rows import RowPlace, Standing
from so8t.verdict.pairs import cluster_sizes, mean_of_repeats

if TYPE_CHECKING:
    from collections.abc import Sequence

_COUNT = 5
_ANSWERS = st.builds(
    Standing,
    st.just(0),
    st.sampled_from(Status),
    st.sampled_from([Grade.SCORED, Grade.UNSCORED]),
    st.one_of(st.none(), st.sampled_from([0.0, 0.1, 0.2, 0.7, 1.0])),
    st.booleans(),
    st.sampled_from(["one", "two", "three"]),
)
_REPEATS = st.lists(st.dictionaries(st.integers(0, _COUNT - 1), _ANSWERS), min_size=1, max_size=4)


def _placed(answers: dict[int, Standing]) -> list[Standing]:
    return [
        Standing(position, one.status, one.grade, one.value, one.valid, one.settings)
        for position, one in sorted(answers.items())
    ]


@given(_REPEATS)
def test_repeats_are_put_together_as_one_by_one(repeats: Sequence[dict[int, Standing]]) -> None:
    """Score, status, share of cut answers, form and settings are those of the answers in a list."""
    every = [read_answers(_placed(answers), _COUNT) for answers in repeats]
    items = by_item(every)
    for position in range(_COUNT):
        found = items.get(position)
        if any(position not in answers for answers in repeats):
            assert found is None
            continue
        mine = [answers[position] for answers in repeats]
        given_ = [one for one in mine if one.status is not Status.FAILED]
        truncated = any(one.status is Status.TRUNCATED for one in given_)
        cut = sum(one.unsettled for one in given_)
        scores = [one.counted for one in mine]
        known = sum(score is not None for score in scores)
        assert found is not None
        assert found.score == mean_of_repeats(scores)
        assert found.cut == (cut / known if known else 0.0)
        assert found.status is (
            Status.FAILED if not given_ else Status.TRUNCATED if truncated else Status.COMPLETED
        )
        assert found.valid == all(one.valid or one.unsettled for one in mine)
        assert found.settings == tuple(sorted({one.settings for one in given_}))


@given(st.lists(st.sampled_from([None, "x", "y"]), min_size=1, max_size=12))
def test_clusters_are_measured_along_the_order(names: Sequence[str | None]) -> None:
    """Neighbours of one name are a cluster, and a question without a name is one by itself."""
    places = read_places(RowPlace("task", "category", name) for name in names)
    sizes = places.cluster_sizes(np.arange(len(names)))
    if not any(names):
        assert sizes is None
        return
    labels = {str(n): name or f"alone {n}" for n, name in enumerate(names)}
    assert sizes == cluster_sizes(list(labels), labels)
