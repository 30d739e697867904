"""Text of anybody's, shown: nothing in it is obeyed by a terminal, a spreadsheet or Markdown."""

from __future__ import annotations

import csv
import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from so8t.domain.plain_text import cell, markdown, one_line, visible

# What a terminal obeys begins with one of these; ECMA-48 names them.
INTRODUCERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
SIGNS = st.text(st.sampled_from("\x1b\x9b\x07\r\n\t\x00ab=+-@'\",;|_*[]()<>&`~#!\\\u202e\u2028日 "))
TEXTS = st.one_of(st.text(), SIGNS)


@given(TEXTS)
def test_nothing_that_a_terminal_obeys_is_left(text):
    """No control character but tab and line feed, no bidirectional mark, all of it writable."""
    shown = visible(text)
    assert not INTRODUCERS.search(shown)
    assert not BIDI.search(shown)
    shown.encode()
    assert visible(shown) == shown
    assert not {"\n", "\t"} & set(one_line(text))


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_ordinary_text_of_any_language_is_shown_as_it_is(text):
    """What orders nothing is not touched."""
    assert visible(text) == text


def test_a_code_point_takes_the_place_of_what_is_hidden():
    """Colours, titles, clipboards, one-byte C1, a turned line and a name that is no UTF-8."""
    assert visible("\x1b[31mred\x9b2J") == "<U+001B>[31mred<U+009B>2J"
    assert visible("\x1b]52;c;cm0=\x07") == "<U+001B>]52;c;cm0=<U+0007>"
    assert visible("a\rb\r\nc") == "a<U+000D>b\nc"
    assert visible("gpj.\u202eexe") == "gpj.<U+202E>exe"
    assert visible("\udc80") == "\N{REPLACEMENT CHARACTER}"
    assert visible("👨\u200d👩\u200d👧") == "👨\u200d👩\u200d👧"


@given(TEXTS, TEXTS)
def test_a_cell_is_no_formula_and_two_texts_stay_two(one, other):
    """Whatever begins as a formula does has an apostrophe before it; the way back is one rule."""
    made = cell(one)
    folded = unicodedata.normalize("NFKC", made)
    assert not folded.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert made in (one, f"'{one}")
    assert (cell(one) == cell(other)) == (one == other)


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "=cmd|' /C calc'!A0",
        " =1",
        "'=1",
        "\t=1",
        "\r=1",
        "＝1",
        "＠x",
    ],
)
def test_known_formulas_are_disarmed(text):
    """OWASP's list, with blanks, apostrophes and full-width signs before."""
    file = io.StringIO()
    csv.writer(file).writerow([cell(text)])
    (row,) = csv.reader(io.StringIO(file.getvalue()))
    assert row == [f"'{text}"]


@given(TEXTS)
def test_markdown_shows_a_text_and_does_nothing(text):
    """A CommonMark reader with HTML and tables finds one paragraph of text, the one that came."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    # It stands behind words of ours: a list's item, a heading, a table's cell.
    tokens = parser.parse(f"x {markdown(text)} x")
    kinds = {child.type for token in tokens for child in token.children or []}
    assert kinds <= {"text", "text_special"}
    shown = "".join(child.content for token in tokens for child in token.children or [])
    assert " ".join(shown.split()) == " ".join(f"x {one_line(text)} x".split())


def test_words_stay_readable_in_markdown():
    """Names of files, phases and figures are written as they are."""
    for text in ("phase 2 (prepare B) done, 1.5 s", "train_data.jsonl", "100 % - a+b #3!"):
        assert markdown(text) == text
