"""Text of somebody else's that goes where some characters give orders, made harmless and visible.

What a suite, a model, a file's name, a server or a journal says is data. A terminal obeys control
sequences in it (C0 and C1, of one byte or of two in UTF-8), bidirectional marks reorder a line so
that it reads as another one, a spreadsheet takes a cell for a formula, and a lone surrogate (a
file's name that is no UTF-8) cannot be written at all.
"""

from __future__ import annotations

import re
import unicodedata

# Controls, format characters, surrogates, and separators that break lines for some readers only.
_HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Format characters that belong to the spelling of languages and emoji.
_JOINERS = ("\N{ZERO WIDTH JOINER}", "\N{ZERO WIDTH NON-JOINER}", "\N{SOFT HYPHEN}")
_GAPS = re.compile(r"[\t\n]+")
# What Markdown takes for a mark of its own, HTML in it included; "_" inside a word is none.
_MARKDOWN = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)")
# What makes Excel, LibreOffice and Sheets read a formula (OWASP, CSV injection), full-width forms
# that they fold included. A plain number is none.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - as above


def visible(text: str) -> str:
    """Make characters visible that would change or hide what stands around them.

    Controls, bidirectional marks and other invisible characters become their code point, e.g.
    <U+202E>; halves of surrogate pairs cannot be written and become U+FFFD. Tabs and line feeds
    stay; a carriage return before a line feed is an ordinary end of a line.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in _HIDDEN_CATEGORIES
        else _spelled(character)
        for character in text.replace("\r\n", "\n")
    )


def one_line(text: str) -> str:
    """Return `text` visible, on one line."""
    return visible(_GAPS.sub(" ", text.replace("\r\n", "\n")))


def markdown(text: str) -> str:
    """Return `text` on one line, as Markdown that shows it and does nothing else."""
    entities = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\g<0>", entities)


def cell(text: str) -> str:
    """Return `text` as a spreadsheet's cell that is no formula: with an apostrophe before it.

    A text that already begins with apostrophes and such a sign gets one more, so that removing one
    gives every text back.
    """
    return f"'{text}" if text.lstrip("'").lstrip(" ").startswith(_FORMULA) else text


def _spelled(character: str) -> str:
    if unicodedata.category(character) == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    if character in _JOINERS:
        return character
    return f"<U+{ord(character):04X}>"
