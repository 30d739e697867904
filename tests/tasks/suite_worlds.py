"""Brute force for the puzzles of the default suite: every world that the clues allow is looked at.

A clue, a statement or a question is a Python expression over the names of one world. Nothing is
inferred: whether a statement follows is found by trying all worlds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

World = dict[str, Any]


def booleans(names: str) -> list[World]:
    """Every way in which the named statements are true or false."""
    split = names.split()
    return [
        dict(zip(split, values, strict=True))
        for values in itertools.product((True, False), repeat=len(split))
    ]


def orders(names: str) -> list[World]:
    """Every order of the names; a world gives each its place, from 1."""
    split = names.split()
    places = range(1, len(split) + 1)
    return [dict(zip(split, order, strict=True)) for order in itertools.permutations(places)]


def pick(name: str, values: Iterable[Any]) -> list[World]:
    """One name that has one of some values."""
    return [{name: value} for value in values]


class Again:
    """Worlds that are made anew each time they are gone through: too many to keep."""

    def __init__(self, make: Callable[..., Iterator[World]], *arguments: Any) -> None:
        self._make, self._arguments = make, arguments

    def __iter__(self) -> Iterator[World]:
        return self._make(*self._arguments)


def both(*parts: list[World]) -> Again:
    """Worlds of independent parts together."""
    return Again(_both, *parts)


def _both(*parts: list[World]) -> Iterator[World]:
    for chosen in itertools.product(*parts):
        yield {name: value for part in chosen for name, value in part.items()}


def assigned(names: str, values: str) -> list[World]:
    """Every way to give each name another of the values."""
    split = names.split()
    return [
        dict(zip(split, chosen, strict=True))
        for chosen in itertools.permutations(values.split(), len(split))
    ]


def sets(names: str) -> Again:
    """Every picture of overlapping sets: each region of the Venn diagram has members or has none.

    A world gives `every(x, y)`, `some(x, y)`, `some_not(x, y)` and `none(x, y)`.
    """
    return Again(_sets, names)


def _sets(names: str) -> Iterator[World]:
    split = names.split()
    regions = list(itertools.product((False, True), repeat=len(split)))
    masks = {
        name: sum(1 << number for number, region in enumerate(regions) if region[place])
        for place, name in enumerate(split)
    }
    for inhabited in range(2 ** len(regions)):
        yield masks | {
            "every": partial(_every, inhabited),
            "some": partial(_some, inhabited),
            "some_not": partial(_some_not, inhabited),
            "none": partial(_none, inhabited),
        }


def _every(inhabited: int, x: int, y: int) -> bool:
    return not inhabited & x & ~y


def _some(inhabited: int, x: int, y: int) -> bool:
    return bool(inhabited & x & y)


def _some_not(inhabited: int, x: int, y: int) -> bool:
    return bool(inhabited & x & ~y)


def _none(inhabited: int, x: int, y: int) -> bool:
    return not inhabited & x & y


@dataclass(frozen=True)
class Puzzle:
    """Clues over worlds, and one of four questions.

    Attributes:
        worlds: all worlds before any clue.
        given: the clues.
        options: one statement an option; right is the only one that holds in every world left.
        status: one statement; right is the option for "holds in all", "in none" or "in some", in
            the order of the options, as three of "tfu" (true, false, undetermined) tell.
        value: an expression with the same value in every world left.
        count: whether the number of worlds left is asked for.

    """

    worlds: Iterable[World]
    given: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    status: str = ""
    order: str = "tfu"
    value: str = ""
    count: bool = False

    def left(self) -> list[World]:
        """Worlds that all clues allow."""
        clues = [compile(clue, clue, "eval") for clue in self.given]
        return [world for world in self.worlds if all(evaluate(clue, world) for clue in clues)]

    def answer(self) -> str:
        """Letter of the right option, or the number asked for."""
        left = self.left()
        assert left, "the clues contradict each other"
        if self.count:
            return str(len(left))
        if self.value:
            values = {str(evaluate(self.value, world)) for world in left}
            assert len(values) == 1, f"not determined: {values}"
            return values.pop()
        if self.status:
            held = {bool(evaluate(self.status, world)) for world in left}
            found = "u" if len(held) > 1 else "t" if held == {True} else "f"
            return "ABCD"[self.order.index(found)]
        follows = [
            letter
            for letter, statement in zip("ABCD", self.options, strict=False)
            if all(evaluate(statement, world) for world in left)
        ]
        assert len(follows) == 1, f"not exactly one option follows: {follows}"
        return follows[0]


@lru_cache
def weighings(coins: int) -> int:
    """Weighings on a balance that always find the one odd coin, by trying every split."""
    if coins == 1:
        return 0
    splits = range(1, coins // 2 + 1)
    return 1 + min(
        max(weighings(a), weighings(coins - 2 * a) if coins > 2 * a else 0) for a in splits
    )


def evaluate(expression: Any, world: World) -> Any:
    """Evaluate an expression of this test data over one world."""
    return eval(expression, {"__builtins__": _KNOWN, **world})  # noqa: S307 - our own test data


_KNOWN = {"abs": abs, "all": all, "sum": sum, "weighings": weighings}
