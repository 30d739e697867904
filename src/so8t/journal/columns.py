"""A million questions as columns: some bytes for each, where an object would take hundreds."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from so8t.domain.exchange import Status
from so8t.journal.rows import ItemStanding, Pair
from so8t.verdict.checks import Floats, Ints

if TYPE_CHECKING:
    from collections.abc import Iterable

    from so8t.journal.rows import RowPlace

#: Codes of `AnswerColumns.state` and `ItemColumns.state`.
OPEN = 0
STATUSES = (None, Status.COMPLETED, Status.TRUNCATED, Status.FAILED)
STATES = {status: code for code, status in enumerate(STATUSES) if status is not None}

Flags = NDArray[np.bool_]
States = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """One label for each question: shape (n,), places in `names`."""

    codes: NDArray[np.int32]
    names: list[str | None]

    def at(self, position: int) -> str | None:
        """Return the label of one question."""
        return self.names[int(self.codes[position])]

    def positions(self) -> dict[str, Ints]:
        """Return the positions of each label in ascending order, by name."""
        return {
            name: np.flatnonzero(self.codes == code)
            for name, code in sorted(
                (name, code) for code, name in enumerate(self.names) if name is not None
            )
        }


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where the frozen samples belong, by position."""

    task: Labels
    category: Labels
    cluster: Labels

    def __len__(self) -> int:
        """How many samples are frozen."""
        return self.task.codes.size

    def cluster_sizes(self, positions: Ints) -> list[int] | None:
        """Sizes of the clusters along ascending positions; None where none has one.

        Questions of a cluster stand together. One without a cluster is one by itself.
        """
        codes, names = self.cluster.codes[positions], self.cluster.names
        if all(names[code] is None for code in np.unique(codes)):
            return None
        alone = np.array([not name for name in names], dtype=bool)[codes]
        begins = np.flatnonzero((codes != np.roll(codes, 1)) | alone)
        begins = np.union1d([0], begins)
        sizes: list[int] = np.diff(begins, append=codes.size).tolist()
        return sizes


def read_places(places: Iterable[RowPlace]) -> Places:
    """Read where samples belong into columns."""
    columns: list[tuple[array[int], dict[str | None, int]]] = [(array("i"), {}) for _ in range(3)]
    for place in places:
        for (codes, known), name in zip(
            columns, (place.task, place.category, place.cluster), strict=True
        ):
            codes.append(known.setdefault(name, len(known)))
    task, category, cluster = (
        Labels(np.array(codes, dtype=np.int32), list(known)) for codes, known in columns
    )
    return Places(task, category, cluster)


@dataclass(frozen=True, slots=True, eq=False)
class AnswerColumns:
    """How each question stands with one arm in one of its repeats, by position.

    Attributes:
        state: shape (n,), places in `STATUSES`.
        score: shape (n,), the score that counts, NaN where it is missing.
        valid: shape (n,), whether the answer was in the form asked for.
        cut: shape (n,), whether it was cut off while its end could still have changed it.
        settings: shape (n,), places in `digests`.
        digests: of the settings that answers were given under.
        unscored: answers whose grader could not decide.

    """

    state: States
    score: Floats
    valid: Flags
    cut: Flags
    settings: NDArray[np.int32]
    digests: list[str]
    unscored: int


@dataclass(frozen=True, slots=True, eq=False)
class ItemColumns:
    """How each question stands with one arm over all its repeats, by position.

    Attributes:
        state: shape (n,), places in `STATUSES`; open where a repeat is.
        score: shape (n,), mean of the scores that are there, NaN without any.
        cut: shape (n,), share of the scored answers that were truncated.
        valid: shape (n,), whether all were in the form asked for.
        settings: shape (n,), places in `shared`.
        shared: digests of the settings that a question's answers were given under.
        comparable: shape (n,), whether the other arm answered under the same conditions.

    """

    state: States
    score: Floats
    cut: Floats
    valid: Flags
    settings: Ints
    shared: list[tuple[str, ...]]
    comparable: Flags

    @property
    def answered(self) -> Flags:
        """Shape (n,), whether all repeats are there, if only as failures."""
        return np.asarray(self.state != OPEN)

    def __getitem__(self, position: int) -> ItemStanding:
        """Return how one question stands. Raises KeyError where a repeat is open."""
        status = STATUSES[self.state[position]]
        if status is None:
            raise KeyError(position)
        return ItemStanding(
            score=known(self.score[position]),
            status=status,
            cut=float(self.cut[position]),
            valid=bool(self.valid[position]),
            settings=self.shared[self.settings[position]],
            comparable=bool(self.comparable[position]),
        )

    def get(self, position: int) -> ItemStanding | None:
        """Return how one question stands, None where a repeat is open."""
        return self[position] if self.state[position] != OPEN else None


class Pairs(Sequence[Pair]):
    """Questions as both arms answered them: columns, of which one pair is made when asked for."""

    def __init__(self, positions: Ints, a: ItemColumns, b: ItemColumns, places: Places) -> None:
        """Take the questions at `positions`, which both arms have answered."""
        self.positions = positions
        self._a, self._b, self._places = a, b, places

    @property
    def score_a(self) -> Floats:
        """Shape (n,), A's scores, NaN where missing."""
        return self._a.score[self.positions]

    @property
    def score_b(self) -> Floats:
        """Shape (n,), B's scores, likewise."""
        return self._b.score[self.positions]

    @property
    def cut_a(self) -> Floats:
        """Shape (n,), the shares of A's answers that were truncated."""
        return self._a.cut[self.positions]

    @property
    def cut_b(self) -> Floats:
        """Shape (n,), B's, likewise."""
        return self._b.cut[self.positions]

    @property
    def failed_a(self) -> Flags:
        """Shape (n,), whether A gave no answer at all."""
        return np.asarray(self._a.state[self.positions] == STATES[Status.FAILED])

    @property
    def failed_b(self) -> Flags:
        """Shape (n,), whether B gave none."""
        return np.asarray(self._b.state[self.positions] == STATES[Status.FAILED])

    @property
    def valid_a(self) -> Flags:
        """Shape (n,), whether A's answers were in the form asked for."""
        return self._a.valid[self.positions]

    @property
    def valid_b(self) -> Flags:
        """Shape (n,), whether B's were."""
        return self._b.valid[self.positions]

    @property
    def comparable(self) -> Flags:
        """Shape (n,), whether both halves were given under the same conditions."""
        return self._a.comparable[self.positions]

    @property
    def clustered(self) -> bool:
        """Whether any of them belongs to a cluster."""
        names = self._places.cluster.names
        return any(names[code] for code in np.unique(self._places.cluster.codes[self.positions]))

    def until(self, count: int) -> Pairs:
        """Return the first `count` of them."""
        return Pairs(self.positions[:count], self._a, self._b, self._places)

    def __len__(self) -> int:
        """How many pairs there are."""
        return self.positions.size

    @overload
    def __getitem__(self, index: int) -> Pair: ...

    @overload
    def __getitem__(self, index: slice) -> list[Pair]: ...

    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        """Make one pair, or some."""
        if isinstance(index, slice):
            return [self._pair(int(position)) for position in self.positions[index]]
        return self._pair(int(self.positions[index]))

    def __iter__(self) -> Iterator[Pair]:
        """Make the pairs one by one."""
        return (self._pair(position) for position in self.positions.tolist())

    def __eq__(self, other: object) -> bool:
        """Whether the other has the same pairs, bit for bit."""
        return (
            isinstance(other, Pairs)
            and len(self) == len(other)
            and all(mine == its for mine, its in zip(self, other, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]

    def _pair(self, position: int) -> Pair:
        a, b = self._a[position], self._b[position]
        return Pair(
            position=position,
            category=self._places.category.at(position) or "",
            task=self._places.task.at(position) or "",
            cluster=self._places.cluster.at(position),
            score_a=a.score,
            score_b=b.score,
            status_a=a.status,
            status_b=b.status,
            valid_a=a.valid,
            valid_b=b.valid,
            cut_a=a.cut,
            cut_b=b.cut,
            comparable=a.comparable,
        )


def known(score: float) -> float | None:
    """Return a score of a column, None for NaN."""
    return None if np.isnan(score) else float(score)
