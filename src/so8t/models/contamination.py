"""Does any benchmark item stand in the training data? Exact, and by long common pieces.

Text is compared as units: a word, or a single Japanese or Chinese character, after Unicode
normalization (NFKC) without case, punctuation and spacing. A training line leaks an item when

- one of its messages, or a paragraph of at least four units in one, is equal to one of the
  question's ("exact"), or
- it has 13 words in a row in common with the question or the reference answer, or 30 units in a
  row where at least half are Japanese or Chinese characters ("overlap").

13 words are what the GPT-3 paper (Brown et al., 2020, appendix C) used; 30 characters of Japanese
say about as much. What stands in more than ten items (instructions, examples, a common passage)
tells nothing of any one of them and is not compared.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from so8t.models.training_data import Conversation

WORDS: Final = 13
CHARACTERS: Final = 30
SHARED_BY: Final = 10
"""What more items than this have in common is no item's own."""

_SHORTEST_PARAGRAPH: Final = 4
_HAN_KANA: Final = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNIT: Final = re.compile(rf"[{_HAN_KANA}]|[^\W{_HAN_KANA}]+")
_IS_CHARACTER: Final = re.compile(rf"[{_HAN_KANA}]")
_LISTED: Final = 50


@dataclass(frozen=True, slots=True)
class Item:
    """A benchmark item: its id, the texts of its question, and its reference answer.

    Many items have the answer "yes": a reference is only looked for in long pieces.
    """

    id: str
    texts: tuple[str, ...]
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Leak:
    """A training line that an item stands in."""

    file: str
    line: int
    item: str
    kind: Literal["exact", "overlap"]


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What was compared and found.

    Attributes:
        items, lines: how many of each were compared.
        leaks: at most one a line, in the order of the lines.
        common: pieces that were not compared since more than ten items have them.

    """

    items: int
    lines: int
    leaks: tuple[Leak, ...]
    common: int

    def facts(self) -> dict[str, Any]:
        """Return counts and the first lines, as plain data for the journal."""
        return {
            "items": self.items,
            "lines": self.lines,
            "exact": sum(leak.kind == "exact" for leak in self.leaks),
            "overlap": sum(leak.kind == "overlap" for leak in self.leaks),
            "words": WORDS,
            "characters": CHARACTERS,
            "common": self.common,
            "listed": [asdict(leak) for leak in self.leaks[:_LISTED]],
        }


def find_leaks(conversations: Sequence[Conversation], items: Iterable[Item]) -> LeakReport:
    """Compare every training line with every item.

    Takes time in proportion to the sum of both, and memory to the items.
    """
    index, count = _Index(), 0
    for count, item in enumerate(items, start=1):  # noqa: B007 - the count is wanted
        index.add(item)
    leaks = [leak for one in conversations if (leak := index.leak(one)) is not None]
    return LeakReport(count, len(conversations), tuple(leaks), index.common())


def units(text: str) -> list[str]:
    """Split a text into words and single Japanese or Chinese characters."""
    return _UNIT.findall(unicodedata.normalize("NFKC", text).casefold())


class _Index:
    """Hashes of pieces, each with the first item that has it and how many do."""

    def __init__(self) -> None:
        self._first: dict[int, str] = {}
        self._items: Counter[int] = Counter()

    def add(self, item: Item) -> None:
        pieces = {piece for text in item.texts for piece in (*_exact(text), *_windows(text))}
        pieces.update(_windows(item.reference or ""))
        for piece in pieces:
            self._first.setdefault(piece, item.id)
        self._items.update(pieces)

    def common(self) -> int:
        return sum(count > SHARED_BY for count in self._items.values())

    def leak(self, one: Conversation) -> Leak | None:
        for kind, pieces in (("exact", _exact), ("overlap", _windows)):
            for _, text in one.messages:
                for piece in pieces(text):
                    if 0 < self._items[piece] <= SHARED_BY:
                        item = self._first[piece]
                        return Leak(one.file, one.line, item, kind)  # type: ignore[arg-type]
        return None


def _exact(text: str) -> Iterator[int]:
    """Hash the whole text, and its paragraphs that are long enough to mean something."""
    whole = units(text)
    if whole:
        yield hash(("exact", *whole))
    for paragraph in text.splitlines():
        parts = units(paragraph)
        if len(parts) >= _SHORTEST_PARAGRAPH and parts != whole:
            yield hash(("exact", *parts))


def _windows(text: str) -> Iterator[int]:
    """Hash every 13 words in a row, and every 30 units of which half or more are characters."""
    found = units(text)
    characters = [0]
    for unit in found:
        characters.append(characters[-1] + bool(_IS_CHARACTER.match(unit)))
    for size, written in ((WORDS, False), (CHARACTERS, True)):
        for start in range(len(found) - size + 1):
            inside = characters[start + size] - characters[start]
            if (2 * inside >= size) is written:
                yield hash(tuple(found[start : start + size]))
