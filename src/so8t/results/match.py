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
_Key = tuple[str, str]


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
    partner: dict[int, Item] = {}
    contradicted = 0
    if how != "content":
        contradicted = _match_ids(a.items, b.items, partner, check=how == "auto")
    by_id = len(partner)
    if how != "id":
        _match_content(a.items, b.items, partner)
    taken = {id(item) for item in partner.values()}
    return Matched(
        pairs=[(item, partner[id(item)]) for item in a.items if id(item) in partner],
        by_id=by_id,
        by_content=len(partner) - by_id,
        contradicted=contradicted,
        a_only=[item for item in a.items if id(item) not in partner],
        b_only=[item for item in b.items if id(item) not in taken],
    )


def _match_ids(a: list[Item], b: list[Item], partner: dict[int, Item], *, check: bool) -> int:
    contradicted = 0
    exact: dict[_Key, Item] = {_key(item): item for item in b}
    unique_a, unique_b = _unique(a), _unique(b)
    taken: set[int] = set()
    for item in a:
        found = exact.get(_key(item))
        if found is None and item.id in unique_a:
            found = unique_b.get(item.id)
            if found is not None and item.task and found.task:
                # Question 3 of one benchmark is not question 3 of another.
                found = None
        if found is None or id(found) in taken:
            continue
        if check and _differ(item, found):
            contradicted += 1
            continue
        partner[id(item)] = found
        taken.add(id(found))
    return contradicted


def _unique(items: Iterable[Item]) -> dict[str, Item]:
    """Ids that occur once, whatever their task."""
    found = list(items)
    counts = Counter(item.id for item in found)
    return {item.id: item for item in found if counts[item.id] == 1}


def _key(item: Item) -> _Key:
    """Return task and id; ids of our own runs begin with their task, those of a log do not."""
    if item.task and item.id.startswith(f"{item.task}/"):
        return item.task, item.id[len(item.task) + 1 :]
    return item.task, item.id


def numbered(matched: Matched) -> bool:
    """Whether pairs rest on running numbers alone: no text is there that could check them."""
    return bool(matched.by_id) and all(
        _key(one)[1].isdecimal() and (one.digest is None or two.digest is None)
        for one, two in matched.pairs
    )


def _differ(one: Item, two: Item) -> bool:
    if one.digest is None or two.digest is None or one.digest == two.digest:
        return False
    # Hashes of different things say nothing.
    return one.digest.partition(":")[0] == two.digest.partition(":")[0]


def _match_content(a: list[Item], b: list[Item], partner: dict[int, Item]) -> None:
    taken = {id(item) for item in partner.values()}
    left_a = _once(item for item in a if id(item) not in partner)
    left_b = _once(item for item in b if id(item) not in taken)
    for digest, item in left_a.items():
        found = left_b.get(digest)
        if found is not None:
            partner[id(item)] = found


def _once(items: Iterable[Item]) -> dict[str, Item]:
    found = [(item.digest, item) for item in items if item.digest is not None]
    counts = Counter(digest for digest, _ in found)
    return {digest: item for digest, item in found if counts[digest] == 1}
