"""What is not shown as it came: characters that deceive, and the middle of long texts.

Thinking is hidden by `so8t.domain.thinking`.
"""

from __future__ import annotations

import unicodedata

_HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs")
# Format characters that belong to the spelling of languages and emoji.
_JOINERS = ("\N{ZERO WIDTH JOINER}", "\N{ZERO WIDTH NON-JOINER}", "\N{SOFT HYPHEN}")


def visible(text: str) -> str:
    """Make characters visible that would change or hide what stands around them.

    Controls, bidirectional marks and other invisible characters become their code point, e.g.
    <U+202E>; halves of surrogate pairs cannot be written and become U+FFFD.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in _HIDDEN_CATEGORIES
        else _spelled(character)
        for character in text.replace("\r\n", "\n")
    )


def _spelled(character: str) -> str:
    if unicodedata.category(character) == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    if character in _JOINERS:
        return character
    return f"<U+{ord(character):04X}>"


def shorten(text: str, limit: int, mark: str) -> str:
    """Keep head and tail of a text longer than `limit`; `mark` may say {count} characters went.

    Both ends are kept because an answer often begins with its thought and ends with its result.
    """
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3
    return text[:head] + mark.format(count=f"{len(text) - head - tail:,}") + text[-tail:]
