"""Whether two tokenizers give the same ids: asked of texts, not of how their files are spelled.

The texts are all pairs, and many triples, of pieces in which tokenizers differ (scripts, digits,
white space, contractions, marks, emoji), so that every boundary between two kinds is met.
"""

from __future__ import annotations

import json
import random
from functools import cache
from itertools import product
from typing import Any, Final

_PIECES: Final = (
    *("a", "Z", "word", "Word", "WORD", "é", "ß", "Straße", "naïve", "Ж", "ω", "א", "ا", "ก", "ก็"),
    *("中", "漢字", "あ", "ひらがな", "ア", "カタカナ", "ｶﾅ", "ー", "々", "한", "한국어", "हिन्दी"),
    *("1", "12", "123", "1234", "12345678", "１", "２０２６", "½", "²", "Ⅷ", "٣"),
    *(" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n", "\n ", "\u3000", "\xa0", "\u200b"),
    *("'s", "'S", "'re", "'LL", "'", "’s", '"', ".", ",", "...", "…", "!?", "。", "、", "「", "」"),
    *("(", ")", "[]", "{}", "<", "</", ">", "/", "//", "\\", "_", "__", "-", "--", "=", "==", "+"),
    *("#", "$", "€", "%", "&", "@", "*", "**", "|", "~", "^", "`", ":", "://", ";", "->", "=>"),
    *(
        "😀",
        "👩\u200d👩\u200d👧",
        "👍🏽",
        "🇯🇵",
        "❤️",
        "☃",
        "\u0301",
        "e\u0301",
        "か\u3099",
        "\u200d",
    ),
)
_TRIPLES: Final = 3000


def _byte_characters() -> dict[str, int]:
    """Map GPT-2's characters for bytes to the bytes: printable ones are themselves."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(0x100) if value not in plain]
    shifted = {chr(0x100 + place): value for place, value in enumerate(others)}
    return {chr(value): value for value in plain} | shifted


_BYTES: Final = _byte_characters()


@cache
def probe_texts() -> tuple[str, ...]:
    """Return the texts, the same in every process."""
    chosen = random.Random(8)
    triples = ["".join(chosen.choices(_PIECES, k=chosen.randint(3, 9))) for _ in range(_TRIPLES)]
    return (*("".join(pair) for pair in product(_PIECES, repeat=2)), *triples)


def words(source: dict[str, Any]) -> tuple[str, ...]:
    """Return the text of each token of a byte-level vocabulary that is whole characters.

    A word that no merges make is met only so.
    """
    found = []
    for token in source["model"]["vocab"]:
        try:
            found.append(bytes(_BYTES[character] for character in token).decode("utf-8"))
        except (KeyError, UnicodeDecodeError):
            continue  # part of a character, or no byte-level token
    return tuple(found)


def differing(one: dict[str, Any], other: dict[str, Any], texts: tuple[str, ...]) -> list[str]:
    """Return the texts to which two tokenizers, in the form of tokenizer.json, give other ids."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - comes with transformers

    encoded = []
    for source in (one, other):
        tokenizer = Tokenizer.from_str(json.dumps(source))
        tokenizer.no_truncation()
        found = tokenizer.encode_batch(list(texts), add_special_tokens=False)
        encoded.append([encoding.ids for encoding in found])
    return [text for text, a, b in zip(texts, *encoded, strict=True) if a != b]
