"""Which language a text is in, as far as its characters say."""

from __future__ import annotations

import unicodedata
from collections import Counter

# About how many Latin letters a kana or kanji stands for; a rule of thumb.
_LETTERS_FOR_ONE = 3


def is_japanese(text: str) -> bool:
    """Whether the text has kana or kanji."""
    return any("\u3040" <= char <= "\u30ff" or "\u4e00" <= char <= "\u9fff" for char in text)


def prevailing_language(text: str) -> str | None:
    """Return the language that most of a text's letters speak for.

    A stray word of another script does not change it, as it would change `is_japanese`.

    Returns:
        "ja" for kana and kanji, "en" for Latin letters (whatever language is written in them) and
        for a text without letters, None for all other scripts.

    """
    counts: Counter[str | None] = Counter({"en": 0})
    for char in unicodedata.normalize("NFKC", text):
        if is_japanese(char):
            counts["ja"] += _LETTERS_FOR_ONE
        elif char.isalpha():
            counts["en" if "LATIN" in unicodedata.name(char, "") else None] += 1
    return max(counts, key=counts.__getitem__)
