"""What is not shown as it came: thinking, characters that deceive, and the middle of long texts."""

from __future__ import annotations

import re
import unicodedata

_TAG = re.compile(r"<\s*(/?)\s*(think(?:-(?:task|safety|policy))?)\b[^<>]*>", re.IGNORECASE)

_HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs")
# Format characters that belong to the spelling of languages and emoji.
_JOINERS = ("\N{ZERO WIDTH JOINER}", "\N{ZERO WIDTH NON-JOINER}", "\N{SOFT HYPHEN}")


def hide_thinking(text: str, mark: str) -> str:
    """Replace what a model thought aloud, and the tags around it, by `mark`.

    A tag that is never closed hides all that follows (the answer was cut while thinking); a
    closing tag without its opening hides all that came before (the template opened it).
    """
    shown: list[str] = []
    inside: str | None = None
    at = 0
    for tag in _TAG.finditer(text):
        closing, name = bool(tag[1]), tag[2].lower()
        if inside is None:
            if closing:
                shown = [mark]
            else:
                shown += [text[at : tag.start()], mark]
                inside = name
            at = tag.end()
        elif closing and name == inside:
            inside, at = None, tag.end()
    if inside is None:
        shown.append(text[at:])
    return "".join(shown)


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
