"""The words: complete in both languages, all of them used, numbers written for people."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path

import pytest

import so8t
from so8t.report.text import LANGUAGES, Text, resolve_language

PACKAGE = Path(so8t.__file__).parent
FILES = {language: PACKAGE / "report" / "text" / f"{language}.json" for language in LANGUAGES}
WORDS = {language: json.loads(file.read_text("utf-8")) for language, file in FILES.items()}

# A key in quotes; a prefix that code completes: f"outcome.{x}", "section." ~ x, known("role", x).
WHOLE = re.compile(r"""["']([a-z][\w\-]*(?:\.[\w\-]+)*)["']""")
PREFIX = re.compile(r"""["']([a-z][\w\-]*(?:\.[\w\-]+)*\.)(?:\{|["']\s*~)""")
KNOWN = re.compile(r"""known\(\s*["']([\w.]+)["']""")
CALL = re.compile(r"""(?:(?<![\w.])t|\btext|\._text|\bmessage)\(\s*["']([\w.\-]+)["']""")


def sources():
    """Return the code and templates of the parts that speak to a person as one text."""
    parts = [PACKAGE / part for part in ("report", "cli", "pipeline", "autostart", "serve")]
    files = [file for part in parts for kind in ("*.py", "*.j2") for file in part.rglob(kind)]
    return "\n".join(file.read_text("utf-8") for file in files)


def placeholders(words):
    """Return the names of the values that words take."""
    return {name for _, name, _, _ in string.Formatter().parse(words) if name}


def test_the_languages_have_the_same_keys():
    """Nothing is said in one language only."""
    assert set(WORDS["en"]) == set(WORDS["ja"])


def test_no_words_hide_others():
    """Each key stands once: of two, JSON keeps the last, and says the wrong thing for the first."""
    for file in FILES.values():
        pairs = json.loads(file.read_text("utf-8"), object_pairs_hook=list)
        assert len(pairs) == len(dict(pairs))


def test_the_languages_take_the_same_values():
    """A figure that one language shows is shown by the other."""
    unequal = [
        key
        for key, words in WORDS["en"].items()
        if placeholders(words) != placeholders(WORDS["ja"][key])
    ]
    assert unequal == []


def test_every_key_is_used():
    """No words are kept that nobody can see."""
    code = sources()
    whole = set(WHOLE.findall(code))
    prefixes = {*PREFIX.findall(code), *(f"{prefix}." for prefix in KNOWN.findall(code))}
    unused = [
        key
        for key in WORDS["en"]
        if key not in whole and not any(key.startswith(prefix) for prefix in prefixes)
    ]
    assert unused == []


def test_every_key_that_is_asked_for_exists():
    """No code asks for words that are not there."""
    asked = {key for key in CALL.findall(sources()) if not key.endswith(".")}
    assert sorted(asked - set(WORDS["en"])) == []


def test_japanese_is_japanese():
    """No English sentence stands in for a missing translation."""
    same = {
        key
        for key, words in WORDS["en"].items()
        if words == WORDS["ja"][key] and re.search(r"[A-Za-z]{4,}", re.sub(r"\{.*?\}", "", words))
    }
    assert same == set()


def test_whole_numbers_get_separators_and_plurals():
    """1,319 items are many, 1 item is one."""
    text = Text("en")
    assert text("missing.short", count=1319).startswith("1,319 items are")
    assert text("missing.short", count=1).startswith("1 item is")
    assert Text("ja")("missing.short", count=1319).startswith("得点が欠けている1,319問")


def test_differences_are_points_with_one_decimal_and_a_true_minus():
    """A loss is not overlooked, and almost nothing has no sign."""
    text = Text("en")
    assert text.signed_points(0.0412) == "+4.1"
    assert text.signed_points(-0.0412) == "\N{MINUS SIGN}4.1"
    assert text.signed_points(-0.0001) == "0.0"


def test_unknown_is_a_dash():
    """Unknown is never shown as zero."""
    text = Text("en")
    shown = [text.signed_points(None), text.percent(None), text.seconds(None), text.duration(None)]
    assert shown == ["–"] * 4


def test_times_are_written_in_units_that_fit():
    """Milliseconds to hours, in both languages."""
    text = Text("en")
    assert [text.duration(s) for s in (0.25, 3.2, 12.34, 79, 7520)] == [
        "250 ms",
        "3.20 s",
        "12.3 s",
        "1 min 19 s",
        "2 h 5 min",
    ]
    assert Text("ja").duration(7520) == "2時間5分"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "ja_JP.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "de_DE.UTF-8", "LC_MESSAGES": "ja"}, "ja"),
        ({"LC_ALL": "", "LANG": "en_US.UTF-8"}, "en"),
    ],
)
def test_auto_follows_the_system(environ, expected):
    """LC_ALL goes before LC_MESSAGES, which goes before LANG."""
    assert resolve_language("auto", environ) == expected


def test_a_language_that_was_asked_for_is_kept():
    """The environment does not overrule the person."""
    assert resolve_language("ja", {"LANG": "en_US"}) == "ja"
