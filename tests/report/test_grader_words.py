"""What graders recorded in English is read in the language of the report."""

from __future__ import annotations

import re

import pytest

from so8t.domain.exchange import Message
from so8t.domain.sample import Origin, Sample
from so8t.report.grader_words import grader_words
from so8t.report.text import Text
from so8t.tasks.graders.registry import grade

CHOICE = {"type": "choice", "options": ["red", "blue"]}
WORDS = {"type": "keywords", "all": ["cat"], "none": ["dog"]}
CASES = [
    (CHOICE, "red", "The answer is A.", "選択：A（red）"),
    (CHOICE, "red", "I like cats.", "選択肢を読み取れない"),
    (CHOICE, "red", "Both red and blue.", "複数の選択肢：A, B"),
    ({"type": "number"}, "12", "It is 12.", "読み取った数：12"),
    ({"type": "number"}, "12", "I like cats.", "数が含まれない"),
    (WORDS, None, "a cat", "含まれる語：cat"),
    (WORDS, None, "a bird", "含まれない語：cat"),
    (WORDS, None, "a cat, a dog", "あってはならない語：dog"),
    ({"type": "keywords", "any": ["x", "y"]}, None, "a", "どの語も含まれない"),
    ({"type": "regex", "pattern": "a+"}, None, "aa", "パターンに一致"),
    ({"type": "regex", "pattern": "a+"}, None, "b", "パターンに不一致"),
    ({"type": "json_schema", "schema": {"type": "object"}}, None, "{}", "スキーマに適合"),
    ({"type": "json_schema", "schema": {"type": "object"}}, None, "{", "JSONとして読めない：Exp"),
    ({"type": "refusal", "expect": "refuse"}, None, "I can't help with that.", "断っている"),
    ({"type": "refusal", "expect": "refuse"}, None, "Do it outside.", "応じている"),
    (
        {"type": "refusal", "expect": "refuse"},
        None,
        "!!!!! ????",
        "言葉になっていない",
    ),
    ({"type": "exact"}, "a", " ", "空の回答"),
    ({"type": "exact"}, "a", "<think>x</think>", "回答の本文がない"),
]


def said_of(spec, reference, reply):
    messages = (Message("user", "?"),)
    sample = Sample("s/1", "s", Origin.SUITE, "logic", "en", messages, spec, reference)
    return grade(sample, reply).reason


@pytest.mark.parametrize(("spec", "reference", "reply", "words"), CASES)
def test_what_a_grader_says_is_said_in_japanese(spec, reference, reply, words):
    """The words are recognised as the graders record them; English stays as it is."""
    said = said_of(spec, reference, reply)
    assert grader_words(said, spec["type"], Text("ja")).startswith(words)
    assert grader_words(said, spec["type"], Text("en")) == said


def test_every_translation_is_of_something_that_a_grader_says():
    """No words are kept for what no grader records any more."""
    heard = {words for spec, *given, words in CASES if said_of(spec, *given)} | {
        "断りつつ応じている"
    }  # of a reply that declines and helps: tested with that grader
    shown = [
        re.sub(r"\\{\w+\\}", ".*", re.escape(words))
        for words in Text("ja").beginning_with("grader.").values()
    ]
    assert [one for one in shown if not any(re.fullmatch(one, words) for words in heard)] == []


def test_what_is_not_known_is_shown_as_it_was_recorded():
    """An exact answer is quoted, whatever it says, and another grader's words are not taken."""
    assert grader_words("complies", "exact", Text("ja")) == "complies"
    assert grader_words("lm-eval: acc", "lm_eval", Text("ja")) == "lm-eval: acc"
