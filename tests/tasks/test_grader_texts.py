"""The smaller graders: exact, keywords, regex, json_schema, token_f1, char_f1."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from so8t.domain.exchange import Message
from so8t.domain.sample import Origin, Sample
from so8t.errors import DataError
from so8t.tasks.graders import grade, validate_grader
from so8t.tasks.graders.exact import Exact
from so8t.tasks.graders.overlap import CharF1, TokenF1
from so8t.tasks.graders.patterns import Keywords, Regex
from so8t.tasks.graders.structured import JsonSchema


def sample(grader: dict, reference: str | None = None) -> Sample:
    """Make a sample with a grader."""
    question = (Message("user", "?"),)
    return Sample("s/1", "s", Origin.SUITE, "logic", "en", question, grader, reference)


EXACT = [
    ("Paris", "Paris", True),
    ("Paris", " paris.\n", True),
    ("Paris", "PARIS", True),
    ("Paris", "Ｐａｒｉｓ", True),
    ("Paris", "It is Paris", False),
    ("Paris", "Pariss", False),
    ("New York", "new\n  york", True),
    ("straße", "STRASSE", True),
    ("café", "cafe\u0301", True),
    ("東京", "東京。", True),
    # what wraps an answer, and です, is not part of it
    ("東京", "東京です", True),
    ("東京", "東京だ", True),
    ("東京", "「東京」", True),
    ("東京", "「東京」です。", True),
    ("東京", "**東京**", True),
    ("東京", "**「東京」**です。", True),
    ("東京", "**東京です。**", True),
    ("東京", "（東京）", True),
    ("「東京」", "東京", True),
    ("東京", "東京都です", False),
    ("Tokyo", '"Tokyo"', True),
    ("Tokyo", "\u201cTokyo.\u201d", True),
    ("Tokyo", "`Tokyo`", True),
    ("Tokyo", "_Tokyo_", True),
    ("Tokyo", "Tokyo!", True),
    ("A", "「A」と「B」", False),
    ("学生です", "学生です。", True),
    ("学生です", "学生", False),
    ("から", "からだ", False),
    ("健康", "健康だ", True),
    ("__init__", "`__init__`", True),
    ("__init__", "init", False),
    ("A*", "**A***", True),
    ("A", "A*", False),
    ("5", "5!", False),
    ("n", "n!", False),
    ("!", "!", True),
    ("!", "?", False),
    ("カメラ", "ｶﾒﾗ", True),
    ("カメラ", "かめら", False),
    ("①", "1", True),
    ("", "", False),
]


@pytest.mark.parametrize(("reference", "reply", "right"), EXACT)
def test_exact(reference: str, reply: str, right: bool) -> None:
    """How an answer is typed does not matter, what it says does."""
    assert grade(sample({"type": "exact"}, reference), reply).value == float(right)


def test_exact_with_options() -> None:
    """Aliases, kana and labels are there for those who ask for them."""
    assert Exact(aliases=["NYC"]).score("New York", "nyc").value == 1.0
    assert Exact(kana=True).score("カメラ", "かめら").value == 1.0
    labelled = Exact(labelled=True)
    for reply in (
        "Let me see. So the answer is syndrome therefrom.",
        "答えは「syndrome therefrom」です。",
        "**Answer:** syndrome therefrom\n\nI sorted them.",
        "#### syndrome therefrom",
        r"\boxed{syndrome therefrom}",
        "syndrome therefrom",
    ):
        assert labelled.score("syndrome therefrom", reply).value == 1.0, reply
    assert labelled.score("syndrome therefrom", "The answer is therefrom.").value == 0.0
    assert labelled.score("Tokyo", r"\boxed{\text{Tokyo}}").value == 1.0
    for reply in ("「かいがん」", "**かいがん**", "カイガンです。", "答え：**かいがん**です。"):
        assert Exact(labelled=True, kana=True).score("かいがん", reply).value == 1.0, reply
    assert Exact().score("x", "The answer is x").value == 0.0


KEYWORDS = [
    ({"any": ["cat"]}, "A cat sat.", True),
    ({"any": ["cat"]}, "Concatenate.", False),
    ({"any": ["cat"]}, "CAT!", True),
    ({"any": ["cat", "dog"]}, "the dog", True),
    ({"all": ["cat", "dog"]}, "the dog", False),
    ({"all": ["cat", "dog"]}, "dog and cat", True),
    ({"any": ["cat"], "none": ["dog"]}, "cat and dog", False),
    ({"any": ["new york"]}, "New\nYork", True),
    ({"any": ["C++"]}, "I like C++.", True),
    ({"any": ["5"]}, "15", False),
    ({"any": ["猫"]}, "黒猫がいます", True),
    ({"any": ["猫"]}, "犬がいます", False),
    ({"any": ["AI"]}, "生成AIの話", True),
    ({"any": ["ＡＩ"]}, "the AI is", True),
    ({"any": ["für"]}, "dafür", False),
    ({"any": ["カメラ"], "kana": True}, "かめらです", True),
    ({"any": ["カメラ"]}, "ｶﾒﾗです", True),
    ({"any": ["cat"]}, "", False),
    # a number is a whole number
    ({"any": ["3"]}, "3.5", False),
    ({"any": ["5"]}, "3.5", False),
    ({"any": ["3"]}, "It is 3.", True),
    ({"any": ["3"]}, "3, 5", True),
    ({"any": ["2"]}, "1,2,3", True),
    ({"any": ["100"]}, "1,100", False),
    ({"any": ["1"]}, "1,100", False),
    ({"any": ["1,100"]}, "a 1,100 b", True),
    ({"any": ["1,100"]}, "11,100", False),
    ({"any": ["100"]}, "in 2024, 100 of them", True),
    ({"any": ["100"]}, "１，１００", False),
    ({"any": ["3.5"]}, "3.5%", True),
    ({"any": ["3.5"]}, "13.5", False),
    ({"any": ["3.5"]}, "3.55", False),
    ({"any": ["gpt-4"]}, "GPT-4.5", False),
    ({"any": ["gpt-4"]}, "GPT-4.", True),
    ({"any": ["5g"]}, "3.5g", False),
    ({"any": ["3個"]}, "3個です", True),
    ({"any": ["3個"]}, "1.3個です", False),
    # C++ and C# are not C
    ({"any": ["C"]}, "I like C++.", False),
    ({"any": ["C"]}, "C++11", False),
    ({"any": ["C"]}, "C# is", False),
    ({"any": ["C"]}, "in C.", True),
    ({"any": ["C#"]}, "in C#.", True),
    ({"any": ["A"]}, "A+", False),
    ({"any": ["A"]}, "A+B", True),
    ({"any": ["A"]}, "A + B", True),
    ({"any": ["犬"]}, "犬+猫", True),
    ({"any": ["cat"]}, "cat+猫", True),
    ({"any": ["issue"]}, "issue#5", True),
]


@pytest.mark.parametrize(("options", "reply", "right"), KEYWORDS)
def test_keywords(options: dict, reply: str, right: bool) -> None:
    """Words are whole words where a script has spaces, and parts of text where it has none."""
    assert grade(sample({"type": "keywords", **options}), reply).value == float(right)


def test_keywords_without_keywords_are_refused() -> None:
    """A grader that nothing can satisfy or fail is a mistake."""
    for options in ({}, {"none": ["x"]}, {"any": [" "]}):
        with pytest.raises(DataError):
            Keywords.model_validate({"type": "keywords", **options}).check(None)


REGEX = [
    ({"pattern": r"\b\d{4}-\d\d-\d\d\b"}, "On 2024-01-31.", True),
    ({"pattern": r"\d{4}", "match": "full"}, "2024", True),
    ({"pattern": r"\d{4}", "match": "full"}, "in 2024", False),
    ({"pattern": "paris"}, "Paris", False),
    ({"pattern": "paris", "ignore_case": True}, "Paris", True),
    ({"pattern": r"\p{Han}+"}, "東京", True),
]


@pytest.mark.parametrize(("options", "reply", "right"), REGEX)
def test_regex(options: dict, reply: str, right: bool) -> None:
    """A pattern is searched, or has to match all."""
    assert grade(sample({"type": "regex", **options}), reply).value == float(right)


@pytest.mark.slow
def test_a_catastrophic_pattern_does_not_hang_the_run() -> None:
    """A search without end is ended after its limit, and unscored."""
    began = time.monotonic()
    grader = {"type": "regex", "pattern": "(?:a|aa)+$", "match": "full"}
    score = grade(sample(grader), "a" * 60 + "b")
    assert score.value is None
    assert "took longer" in (score.reason or "")
    # a pattern inside a JSON schema has the same limit
    schema = {"type": "json_schema", "schema": {"type": "string", "pattern": "^(?:a|aa)+$"}}
    score = grade(sample(schema), '"' + "a" * 60 + 'b"')
    assert score.value is None
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("pattern", ["(", "a*", "[z-a]"])
def test_an_unusable_pattern_is_refused(pattern: str) -> None:
    """No pattern, or one found in every reply, is the suite author's mistake."""
    with pytest.raises(DataError):
        Regex(pattern=pattern).check(None)


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
JSON = [
    ('{"name": "Ann", "age": 3}', True),
    ('```json\n{"name": "Ann", "age": 3}\n```', True),
    ('Sure!\n```\n{"name": "Ann", "age": 3}\n```\nDone.', True),
    ('Here: {"name": "Ann", "age": 3} as asked.', True),
    ('{"name": "Ann"}', False),
    ('{"name": "Ann", "age": "3"}', False),
    ('{"name": "Ann", "age": -1}', False),
    ('{"name": "Ann", "age": 3, "x": 1}', False),
    ('{"name": "Ann", "age": 3, "age": 4}', False),
    ('{"name": "Ann", "age": NaN}', False),
    ("{'name': 'Ann', 'age': 3}", False),
    ('{"name": "Ann", "age": 3', False),
    ("[" * 100_000, False),
    # the last object stands, whatever stands around it
    ('[1] is a footnote. {"name": "Ann", "age": 3}', True),
    ('{"name": "Ann", "age": 3}, as in [1]', True),
    ('{"name": "Ann"}, no: {"name": "Ann", "age": 3}', True),
    ('{"name": "Ann", "age": 3}, no: {"name": "Ann"}', False),
    ('{"is": {"name": "Ann", "age": 3}, "is": 1} I think', False),
    ("[1] [2]", False),
    ("{} " * 200 + '{"name": "Ann", "age": 3}', True),
    ("name: Ann", False),
    ("1" * 10_000, False),
]


@pytest.mark.parametrize(("reply", "right"), JSON)
def test_json_schema(reply: str, right: bool) -> None:
    """JSON is found bare, fenced or in prose, and judged by the schema."""
    grader = {"type": "json_schema", "schema": PERSON}
    assert grade(sample(grader), reply).value == float(right)


def test_json_of_the_kind_that_the_schema_is_about() -> None:
    """Of several values the last of the schema's type counts; without a type, the last object."""
    integers = {"type": "json_schema", "schema": {"type": "array", "items": {"type": "integer"}}}
    assert grade(sample(integers), '{"x": 1} gives [1, 2]').value == 1.0
    assert grade(sample(integers), 'From [1, 2] comes {"x": 1}.').value == 1.0
    assert grade(sample(integers), '[1, 2], or ["a"]').value == 0.0
    untyped = {"type": "json_schema", "schema": {"required": ["a"]}}
    assert grade(sample(untyped), '[2] {"a": 1} [3]').value == 1.0


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"$ref": "https://example.org/schema.json"},
        {"patternProperties": {"^a": {}}},
        {"properties": {"a": {"$ref": "other.json"}}},
    ],
)
def test_an_unusable_schema_is_refused(schema: dict) -> None:
    """No schema, or one that needs a network or an unbounded search."""
    with pytest.raises(DataError):
        JsonSchema.model_validate({"type": "json_schema", "schema": schema}).check(None)


def test_f1_of_tokens() -> None:
    """Words shared, without case, punctuation and articles."""
    grader = TokenF1()
    assert grader.score("the cat sat", "A cat sat.").value == 1.0
    assert grader.score("cat sat", "cat").value == pytest.approx(2 / 3)
    assert grader.score("cat", "dog").value == 0.0
    assert TokenF1(aliases=["dog"]).score("cat", "dog").value == 1.0
    assert grader.score("cat", "...").value == 0.0


def test_f1_of_characters() -> None:
    """Characters shared, without white space and punctuation."""
    grader = CharF1()
    assert grader.score("小笠原諸島", "小笠原諸島。").value == 1.0
    assert grader.score("５月から７月", "5月から7月").value == 1.0
    assert grader.score("東アジア", "アジア").value == pytest.approx(6 / 7)
    assert grader.score("東京", "大阪").value == 0.0


@pytest.mark.parametrize("name", ["exact", "token_f1", "char_f1"])
@pytest.mark.parametrize("reference", [None, "", "  ", "。"])
def test_an_empty_reference_is_refused(name: str, reference: str | None) -> None:
    """Nothing can be equal to nothing."""
    with pytest.raises(DataError):
        validate_grader(name, reference)


@given(st.text(max_size=60), st.text(min_size=1, max_size=60))
def test_f1_is_a_share_and_symmetric(one: str, other: str) -> None:
    """F1 is in [0, 1] and does not care which side is which."""
    grader = CharF1()
    here, there = grader.score(other, one).value, grader.score(one, other).value
    assert here is None or 0.0 <= here <= 1.0
    assert here is None or there is None or here == pytest.approx(there)
