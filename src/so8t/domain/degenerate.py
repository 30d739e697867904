"""Replies that say nothing: loops and gibberish, told by how a text is made.

Tokens are words of alphabets with spaces between words, and single characters of Japanese and
Chinese. Thresholds are set so that lists, code, tables and songs with a refrain stay below them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_TOKEN = re.compile(
    r"[^\W\u3040-\u30ff\u3400-\u9fff]+(?:['\u2019]\w+)?|[\u3040-\u30ff\u3400-\u9fff]"
)
_NGRAM = 4
#: A text loops where this share of its n-grams stood in it before.
LOOP_SHARE = 0.5
# Below so many tokens a repetition is an answer ("no, no, no").
_LOOP_TOKENS = 24
# So few different tokens in a long text are no sentence.
_MOST_ALIKE = 1
_LETTER = re.compile(r"[^\W_]")
_MARK = re.compile(r"[^\w\s]")
# The same mark again and again ("!!!!!!!!"), but not a line under a heading or in a table.
_ONE_MARK = re.compile(r"([^\w\s])\1{24,}")
_LATIN_WORD = re.compile(r"(?<![\w/.@])[A-Za-z]{3,}(?![\w/@])")
_UNSPEAKABLE = re.compile(r"^[^aeiouyAEIOUY]+$|[b-df-hj-np-tv-xz]{5}", re.IGNORECASE)
_CODE = re.compile(r"[=;{}<>|\\]")
_MASHED_SHARE = 0.4
_MASHED_WORDS = 5
# Text in sentences has some of these among any two dozen words.
_FUNCTION_WORD = re.compile(
    r"\b(?:the|a|an|to|of|and|or|is|are|was|were|be|in|on|at|for|with|that|this|it|you|your|we|i|they"
    r"|he|she|not|but|if|as|by|from|can|will|de|la|el|le|les|der|die|und|que|en|un|une|ein|ist|do|das)\b",
    re.IGNORECASE,
)
_SALAD_WORDS = 24
_STRUCTURE = re.compile(r"```|^\s*(?:[-*\u2022]|\d+[.)])\s|[=;{}<>|]|,|\n", re.MULTILINE)


def tokens(text: str) -> list[tuple[str, int]]:
    """Tokens of a text in small letters, each with the position at which it begins."""
    return [(match[0].casefold(), match.start()) for match in _TOKEN.finditer(text)]


def _seen_before(words: Sequence[str]) -> list[bool]:
    """Tell of each n-gram whether the same one began earlier."""
    seen: set[tuple[str, ...]] = set()
    found = []
    for start in range(len(words) - _NGRAM + 1):
        ngram = tuple(words[start : start + _NGRAM])
        found.append(ngram in seen)
        seen.add(ngram)
    return found


def repeated_share(text: str) -> float | None:
    """Share of a text's n-grams (of four tokens) that stood in it before; None for a short text."""
    words = [word for word, _ in tokens(text)]
    if len(words) < _LOOP_TOKENS:
        return None
    seen = _seen_before(words)
    return sum(seen) / len(seen)


def loops(text: str) -> bool:
    """Whether a text goes round in circles: most of what it says, it said before."""
    share = repeated_share(text)
    return share is not None and share >= LOOP_SHARE


def without_loop(text: str) -> str:
    """Give what a looping text says until it first repeats itself; another text as it is."""
    if not loops(text):
        return text
    found = tokens(text)
    seen = _seen_before([word for word, _ in found])
    for start in range(len(seen)):
        if all(seen[start : start + _NGRAM]):
            return text[: found[start][1]].rstrip()
    return text


def is_gibberish(text: str) -> bool:
    """Whether a text is no language: marks only, mashed keys, one word again and again, a salad."""
    if not _LETTER.search(text):
        return True
    if _ONE_MARK.search(text) and len(_LETTER.findall(text)) < len(_MARK.findall(text)):
        return True
    words = [word for word, _ in tokens(text)]
    if len(words) >= _LOOP_TOKENS // 2 and len(set(words)) <= _MOST_ALIKE:
        return True
    latin = _LATIN_WORD.findall(text)
    mashed = sum(1 for word in latin if _UNSPEAKABLE.search(word) and not word.isupper())
    if (
        len(latin) >= _MASHED_WORDS
        and mashed >= _MASHED_SHARE * len(latin)
        and not _CODE.search(text)
    ):
        return True
    return (
        len(latin) >= _SALAD_WORDS
        and 2 * len(set(words)) >= len(words)
        and len(latin) >= 0.8 * len(words)
        and not _FUNCTION_WORD.search(text)
        and not _STRUCTURE.search(text)
    )
