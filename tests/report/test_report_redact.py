"""Thinking stays hidden, and no character can hide or turn what stands around it."""

from __future__ import annotations

import pytest

from so8t.report.redact import hide_thinking, shorten, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("42", "42"),
        ("<think>secret</think>42", "[x]42"),
        ("<think>\nsecret\n</think>\n\n42", "[x]\n\n42"),
        ("<think-task>a</think-task><think-safety>b</think-safety>42", "[x][x]42"),
        ("<think-policy>a</think-policy>42", "[x]42"),
        ("<THINK lang='en'>secret</Think >42", "[x]42"),
        ("<think>a <think-task>b</think-task> secret</think>42", "[x]42"),
        ("<think>a<think>b</think>secret</think>42", "[x]42"),
        ("<think>cut in the middle of", "[x]"),
        ("42 <think>and then cut", "42 [x]"),
        ("the template opened it</think>42", "[x]42"),
        ("<thinking>is another word</thinking>", "<thinking>is another word</thinking>"),
        ("a < b and b > c", "a < b and b > c"),
        ("", ""),
    ],
)
def test_thinking_is_replaced(text, shown):
    """Whole, nested, unclosed and unopened thinking never reaches the report."""
    assert hide_thinking(text, "[x]") == shown


def test_hostile_tags_do_not_take_long():
    """A text made of tag openings is read in linear time."""
    assert hide_thinking("<think" * 200_000, "[x]") == "<think" * 200_000


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
