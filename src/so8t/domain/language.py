"""Which language a text is in, as far as its characters say."""

from __future__ import annotations


def is_japanese(text: str) -> bool:
    """Whether the text has kana or kanji."""
    return any("\u3040" <= char <= "\u30ff" or "\u4e00" <= char <= "\u9fff" for char in text)
