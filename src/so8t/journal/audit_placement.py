"""Where the rows of a keyed chain belong that do not stand where they were written.

A row's MAC covers its number and the MAC before it. Two rows that changed places therefore break
four links: their own, and those of the rows behind them, which nobody touched. Under the key it can
be proven which rows these are: a row that carries the right MAC for a number and for what was
written before that number is the row that was written there. Nothing is taken for whole without
such a proof, so nothing that the links find is lost.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

#: Rows to place and numbers to fill; their product is tried, a few microseconds each.
MOST = 200


@dataclass(frozen=True, slots=True)
class Stray:
    """A row whose link does not hold where it stands.

    Attributes:
        place: the number that it has now.
        values: its other columns, the MAC aside.
        mac: what it carries.
        previous: what the row before it carries now.
        behind_gap: whether rows are missing before it, so that its link cannot be checked there.

    """

    place: int
    values: tuple[Any, ...]
    mac: str
    previous: str
    behind_gap: bool = False


def written_as(
    strays: Sequence[Stray],
    missing: Collection[int],
    macs: Mapping[int, str],
    link: Callable[[str, tuple[Any, ...]], str],
    genesis: str,
) -> dict[int, int]:
    """Return for strays, by their place, the number under which they were written.

    A stray that is its own number's row stands in its place: what was before it does not. One that
    is not in the answer is not, as it is, a row that was written.

    Args:
        strays: at most MOST of them and `missing` together, else nothing is tried.
        missing: numbers that no row has.
        macs: what the rows carry, by number.
        link: the MAC of a row behind another MAC.
        genesis: what stands before row 1.

    """
    here = {stray.place: stray for stray in strays}
    numbers = sorted({*here, *missing})
    if len(numbers) > MOST:
        return {}
    found: dict[int, int] = {}
    written: dict[int, set[str]] = {0: {genesis}}
    for number in numbers:
        before = written.get(number - 1, set())
        if number - 1 in macs:
            before = before | {macs[number - 1]}
        own = here.get(number)
        for stray in sorted(strays, key=lambda one: one is not own):
            if stray.place in found:
                continue
            # Where many rows were renumbered, the neighbour is still the one from before.
            known = before | {stray.previous}
            if any(same(link(mac, (number, *stray.values)), stray.mac) for mac in known):
                found[stray.place] = number
                written[number] = {stray.mac}
                break
        else:
            # Perhaps only the MAC of the row that stands there was changed: its successor knows.
            if own is not None:
                written[number] = {link(mac, (number, *own.values)) for mac in before}
    return found


def same(one: str, other: str) -> bool:
    """Compare two MACs in constant time; what stands in a damaged file may be any text."""
    return hmac.compare_digest(one.encode(), other.encode())
