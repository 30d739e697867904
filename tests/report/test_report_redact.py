"""No character can hide or turn what stands around it, and long texts say what they lack."""

from __future__ import annotations

import pytest

from so8t.domain.plain_text import visible
from so8t.report.redact import shorten


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("日本語\tと改行\n", "日本語\tと改行\n"),
        ("a\x00b", "a<U+0000>b"),
        ("\u202eevil", "<U+202E>evil"),
        ("\u2066x\u2069", "<U+2066>x<U+2069>"),
        ("zero\u200bwidth", "zero<U+200B>width"),
        ("\ud800", "\ufffd"),
        ("\x1b[31m", "<U+001B>[31m"),
        ("line\r\nline", "line\nline"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("مرحبا", "مرحبا"),
    ],
)
def test_deceiving_characters_are_spelled_out(text, shown):
    """Controls and bidirectional marks are seen, letters of every script stay as they are."""
    assert visible(text) == shown


def test_a_long_text_keeps_both_ends():
    """What was left out is counted in its place."""
    text = "a" * 1000 + "b" * 1000
    assert shorten(text, 300, "[{count}]") == "a" * 200 + "[1,700]" + "b" * 100
    assert shorten("short", 300, "[{count}]") == "short"
