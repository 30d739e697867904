"""Which items of two sources are the same question.

By id first: the same id in the same task (a table may leave the task out). Where both sides have
the question's text or hash, it must agree: one data set in two versions has the same ids for
different questions. What is left is matched by content, where a question occurs once on each side.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from so8t.results.items import Item

if TYPE_CHECKING:
    from collections.abc import Iterable

    from so8t.results.items import Results

How = Literal["auto", "id", "content"]


@dataclass(frozen=True, slots=True)
class Matched:
    """The pairs, and what has no partner.

    Attributes:
        pairs: (A's item, B's item) in the order of A.
        by_id: pairs that were matched by id.
        by_content: pairs that were matched by content.
        contradicted: items with the same id whose questions differ; they were not matched by id.
        a_only: items of A without a partner.
        b_only: items of B without a partner.

    """

    pairs: list[tuple[Item, Item]]
    by_id: int
    by_content: int
    contradicted: int
    a_only: list[Item]
    b_only: list[Item]


def match(a: Results, b: Results, how: How = "auto") -> Matched:
    """Pair the items of two sources; `how` may insist on ids (against content) or on content."""
    partner: list[Item | None] = [None] * len(a.items)
    left = _Left(b.items)
    contradicted = 0
    if how != "content":
        contradicted = _match_ids(a.items, left, partner, check=how == "auto")
    by_id = sum(found is not None for found in partner)
    if how != "id":
        _match_content(a.items, left, partner)
    pairs = [(one, two) for one, two in zip(a.items, partner, strict=True) if two is not None]
    return Matched(
        pairs=pairs,
        by_id=by_id,
        by_content=len(pairs) - by_id,
        contradicted=contradicted,
        a_only=[one for one, two in zip(a.items, partner, strict=True) if two is None],
        b_only=left.values(),
    )


def _match_ids(a: list[Item], left: _Left, partner: list[Item | None], *, check: bool) -> int:
    """Match by task and id, and take what is matched out of `left`."""
    contradicted = 0
    open_: list[int] = []
    for place, item in enumerate(a):
        found = left.get(item)
        if found is None:
            open_.append(place)
        elif check and _differ(item, found):
            contradicted += 1
        else:
            partner[place] = left.take(found)
    if not open_:
        return contradicted
    # A side that names no task: its ids have to occur once on either side.
    once_a = _once_by_id(a)
    once_b = _once_by_id([*left.values(), *(two for two in partner if two is not None)])
    for place in open_:
        item = a[place]
        short = _short(item)
        found = once_b.get(short) if short in once_a else None
        # Question 3 of one benchmark is not question 3 of another.
        if found is None or (item.task and found.task) or left.get(found) is not found:
            continue
        if check and _differ(item, found):
            contradicted += 1
            continue
        partner[place] = left.take(found)
    return contradicted


def _once_by_id(items: Iterable[Item]) -> dict[str, Item]:
    """Items whose ids occur once, whatever their task."""
    found = list(items)
    counts = Counter(_short(item) for item in found)
    return {_short(item): item for item in found if counts[_short(item)] == 1}


def _short(item: Item) -> str:
    """Return the id; ids of our own runs begin with their task, those of a log do not."""
    if item.task and item.id.startswith(f"{item.task}/"):
        return item.id[len(item.task) + 1 :]
    return item.id


class _Left:
    """The items of B that have no partner yet, by task and id (without a tuple for each)."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._by_task: dict[str, dict[str, Item]] = {}
        for item in items:
            self._by_task.setdefault(item.task, {})[_short(item)] = item

    def get(self, item: Item) -> Item | None:
        """Return what has the task and the id of `item`."""
        return self._by_task.get(item.task, {}).get(_short(item))

    def take(self, item: Item) -> Item:
        """Take an item out."""
        return self._by_task[item.task].pop(_short(item))

    def values(self) -> list[Item]:
        """Return what is left."""
        return [item for found in self._by_task.values() for item in found.values()]


def numbered(matched: Matched) -> bool:
    """Whether pairs rest on running numbers alone: no text is there that could check them."""
    return bool(matched.by_id) and all(
        _short(one).isdecimal() and (one.digest is None or two.digest is None)
        for one, two in matched.pairs
    )


def _differ(one: Item, two: Item) -> bool:
    if one.digest is None or two.digest is None or one.digest == two.digest:
        return False
    # Hashes of different things say nothing.
    return one.digest.partition(":")[0] == two.digest.partition(":")[0]


def _match_content(a: list[Item], left: _Left, partner: list[Item | None]) -> None:
    """Match what is left by the hash of its question, and take it out of `left`."""
    places = {id(a[place]): place for place, found in enumerate(partner) if found is None}
    left_a = _once(a[place] for place in places.values())
    left_b = _once(left.values())
    for digest, item in left_a.items():
        found = left_b.get(digest)
        if found is not None:
            partner[places[id(item)]] = left.take(found)


def _once(items: Iterable[Item]) -> dict[str, Item]:
    found = [(item.digest, item) for item in items if item.digest is not None]
    counts = Counter(digest for digest, _ in found)
    return {digest: item for digest, item in found if counts[digest] == 1}
