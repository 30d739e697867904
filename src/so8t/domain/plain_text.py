"""Text of somebody else's that goes where some characters give orders, made harmless and visible.

What a suite, a model, a file's name, a server or a journal says is data. A terminal obeys control
sequences in it (C0 and C1, of one byte or of two in UTF-8), bidirectional marks reorder a line so
that it reads as another one, and a lone surrogate (a file's name that is no UTF-8) cannot be
written at all. Each such character is shown as its escape; nothing is dropped, so two texts that
differ are seen to differ.
"""

from __future__ import annotations

import re

#: C0 but tab and line feed; DEL and C1; separators that break lines for some readers only;
#: embeddings, overrides and isolates of bidirectional text; invisible tags; surrogates.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f\ud800-\udfff]"
)
_LINES = re.compile("[\t\n]+")


def visible(text: str) -> str:
    r"""Return `text` with its control characters as escapes (`\x1b`, `\u202e`).

    Tabs and line feeds stay; a carriage return before a line feed is an ordinary line's end.
    """
    return _OBEYED.sub(_escaped, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Return `text` on one line, its control characters as escapes."""
    return visible(_LINES.sub(" ", text.replace("\r\n", "\n")))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:  # noqa: PLR2004 - what \x can write
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004 - what \u can
