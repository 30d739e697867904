"""Does any benchmark item stand in the training data? Whole, in long pieces, or nearly.

Text is compared as units: a word, or a single Japanese or Chinese character, after Unicode
normalization (NFKC) without case, punctuation and spacing. What says nothing of any one item is cut
out first: pieces of three words (eight characters) that several items have in common, or many
training lines (instructions, few-shot examples, options that recur). What is left is an item's own.
A training line leaks an item when

- one of its messages, or a paragraph of at least four units in one, is equal to one of the
  question's ("exact"), or
- it has 13 words (30 characters) in a row of the question or the reference answer, most of them the
  item's own, or three tenths of all the pieces that are the item's own, at least eight
  or all of them ("overlap").

13 words are what the GPT-3 paper (Brown et al., 2020, appendix C) used; 30 characters of Japanese
say about as much. Three tenths find a question in which one word of seven was exchanged; of GSM8K's
7,473 training lines one has more than two tenths of any of its 1,319 test items in common, and that
is the same problem with another name (docs/design/models.md).
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
_PIECE, _PIECE_CHARACTERS = 3, 8
SHARE: Final = 0.3
"""Of an item's own pieces, how many must be in a line; of short items more (see below)."""
# With fewer pieces than the first only an equal text counts; the second must be there in any case.
_FEWEST, _LEAST = 4, 8
# What more different lines than this have in common is a form of asking: a piece, and a whole text
# or paragraph, which says more.
_LINES, _LINE_SHARE, _LINE_SHARE_EXACT = 10, 0.002, 0.05
_ITEM_SHARE = 0.01

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
        common: pieces that were not compared since several items or many lines have them.

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
    index.settle(conversations)
    leaks = [leak for one in conversations if (leak := index.leak(one)) is not None]
    return LeakReport(count, len(conversations), tuple(leaks), index.common)


def units(text: str) -> list[str]:
    """Split a text into words and single Japanese or Chinese characters."""
    return _UNIT.findall(unicodedata.normalize("NFKC", text).casefold())


class _Index:
    """The items' pieces: which are whose own, once it is known what is shared."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._known: set[int] = set()
        self._exact: dict[int, int] = {}
        self._rows: dict[int, int] = {}
        # Item -> its pieces; piece -> items that have it, then the one whose own it is.
        self._pieces: list[set[int]] = []
        self._counts: Counter[int] = Counter()
        self._rows_of: list[dict[int, set[int]]] = []
        self._owner: dict[int, int] = {}
        self._needed: list[float] = []
        self.common = 0

    def add(self, item: Item) -> None:
        """Take an item in; one with the very texts of an earlier one adds nothing."""
        texts = [units(text) for text in (*item.texts, item.reference or "")]
        key = hash(tuple(tuple(found) for found in texts))
        if key in self._known:
            return
        self._known.add(key)
        number = len(self._ids)
        self._ids.append(item.id)
        whole = {piece for text in item.texts for piece in _exact(text)}
        pieces = {piece for found in texts for piece in _pieces(found, _PIECE, _PIECE_CHARACTERS)}
        for piece in whole:
            self._exact.setdefault(piece, number)
        self._counts.update(whole | pieces)
        self._pieces.append(pieces)
        self._rows_of.append({})
        for found in texts:
            self._rows_of[-1].update(_rows(found))

    def settle(self, conversations: Sequence[Conversation]) -> None:
        """Cut out what several items or many different lines share; the rest is the items' own."""
        most = max(1, round(_ITEM_SHARE * len(self._ids)))
        often = self._often(conversations)
        shared = {piece for piece, count in self._counts.items() if count > most} | often
        self.common = len(shared)
        self._exact = {piece: n for piece, n in self._exact.items() if piece not in shared}
        for number, pieces in enumerate(self._pieces):
            own = pieces - shared
            self._owner.update(dict.fromkeys(own, number))
            few = len(own) < _FEWEST
            least = len(own) + 1 if few else min(len(own), _LEAST)
            self._needed.append(max(SHARE * len(own), least))
            for row, inside in self._rows_of[number].items():
                if 2 * len(inside & own) > len(inside):
                    self._rows.setdefault(row, number)
        self._rows_of.clear()
        self._pieces.clear()

    def _often(self, conversations: Sequence[Conversation]) -> set[int]:
        """Return the items' pieces that many lines have, each different line counted once."""
        lines = {one.digest: one for one in conversations}
        counts: Counter[int] = Counter()
        for one in lines.values():
            found = {piece for _, text in one.messages for piece in _all_pieces(text)}
            counts.update(piece for piece in found if piece in self._counts)
        exact = max(_LINES, _LINE_SHARE_EXACT * len(lines))
        most = max(_LINES, _LINE_SHARE * len(lines))
        return {
            piece
            for piece, count in counts.items()
            if count > (exact if piece in self._exact else most)
        }

    def leak(self, one: Conversation) -> Leak | None:
        """Return the item that a line has in it, None where it has none."""
        found: set[int] = set()
        for _, text in one.messages:
            for piece in _exact(text):
                if piece in self._exact:
                    return Leak(one.file, one.line, self._ids[self._exact[piece]], "exact")
            found.update(_all_pieces(text))
        matched = Counter(self._owner[piece] for piece in found if piece in self._owner)
        for number, count in matched.most_common():
            if count >= self._needed[number]:
                return Leak(one.file, one.line, self._ids[number], "overlap")
        for _, text in one.messages:
            found_units = units(text)
            for start, size in _windows(found_units, WORDS, CHARACTERS):
                row = hash(("row", *found_units[start : start + size]))
                if row in self._rows:
                    return Leak(one.file, one.line, self._ids[self._rows[row]], "overlap")
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


def _all_pieces(text: str) -> Iterator[int]:
    """Hash a line's text in every way that an item may be met in it."""
    yield from _exact(text)
    yield from _pieces(units(text), _PIECE, _PIECE_CHARACTERS)


def _rows(found: list[str]) -> Iterator[tuple[int, set[int]]]:
    """Give every long row of units: its hash, and those of the pieces in it."""
    for start, size in _windows(found, WORDS, CHARACTERS):
        row = found[start : start + size]
        yield hash(("row", *row)), set(_pieces(row, _PIECE, _PIECE_CHARACTERS))


def _pieces(found: list[str], words: int, characters: int) -> Iterator[int]:
    """Hash every few units in a row."""
    for start, size in _windows(found, words, characters):
        yield hash(tuple(found[start : start + size]))


def _windows(found: list[str], words: int, characters: int) -> Iterator[tuple[int, int]]:
    """Place every `words` units in a row, and every `characters` of which half are characters."""
    written_up_to = [0]
    for unit in found:
        written_up_to.append(written_up_to[-1] + bool(_IS_CHARACTER.match(unit)))
    for size, written in ((words, False), (characters, True)):
        for start in range(len(found) - size + 1):
            inside = written_up_to[start + size] - written_up_to[start]
            if (2 * inside >= size) is written:
                yield start, size
