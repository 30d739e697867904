"""The suite that ships: large enough, told apart by difficulty, and every answer found again."""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from suite_proofs import LOGIC, MATHEMATICS
from suite_worlds import Puzzle, booleans, orders, sets

from so8t.tasks import grade, load_suite, validate_suite
from so8t.tasks.graders import is_binary
from so8t.tasks.graders.number import single_number
from so8t.tasks.suite import SHIPPED

if TYPE_CHECKING:
    from so8t.domain.sample import Sample

SAMPLES = {s.id.removeprefix("default/"): s for s in load_suite(Path("default"))}
CATEGORIES = ("mathematics", "logic", "safety", "japanese")
# What a mathematical prompt says after its question: the form of the answer.
ASKED = re.compile(r"Answer with|\nWork it out|数字だけで|\n考え方")


def of(category: str) -> dict[str, Sample]:
    """Items of one category by id."""
    return {name: s for name, s in SAMPLES.items() if s.category == category}


def only(found):
    """The one value of an iterable."""
    (value,) = found
    return value


def share(found):
    """The share of an iterable's values that are true, exactly."""
    values = list(found)
    return Fraction(sum(values), len(values))


KNOWN = {
    **{name: getattr(itertools, name) for name in ("permutations", "product", "combinations")},
    "F": Fraction,
    "factorial": math.factorial,
    "prod": math.prod,
    "only": only,
    "share": share,
    "count": lambda found: sum(1 for _ in found),
    "trailing_zeros": lambda n: len(str(n)) - len(str(n).rstrip("0")),
}


def numbers(text: str) -> set[str]:
    """Whole numbers above 3 in digits of any width; smaller ones are often words ("2人")."""
    digits = re.findall(r"\d+", unicodedata.normalize("NFKC", text))
    return {str(int(number)) for number in digits} - set("0123")


@pytest.mark.parametrize("name", sorted(of("mathematics")))
def test_every_mathematical_answer_is_computed_again(name: str) -> None:
    """An expression that uses every number of the question, by brute force, gives the reference."""
    sample = SAMPLES[name]
    expression = MATHEMATICS[name]
    question = ASKED.split(sample.messages[0].content)[0]
    assert numbers(question) <= numbers(expression)
    value = eval(expression, dict(KNOWN))  # noqa: S307 - our own test data
    reference = single_number(sample.reference or "")
    assert reference is not None
    assert Fraction(value).limit_denominator(10**6) == reference.value


@pytest.mark.parametrize("name", sorted(of("logic")))
def test_every_logical_answer_is_the_only_one_that_follows(name: str) -> None:
    """Over all worlds that the clues allow, exactly the reference's option holds."""
    sample, puzzle = SAMPLES[name], LOGIC[name]
    options = sample.grader.get("options")
    if options is not None:
        asked = len(puzzle.options) or len(puzzle.order if puzzle.status else "")
        assert asked == len(options)
    assert puzzle.answer() == sample.reference


def test_nothing_is_proved_that_is_not_asked() -> None:
    """Each derivation belongs to an item."""
    assert set(MATHEMATICS) == set(of("mathematics"))
    assert set(LOGIC) == set(of("logic"))


def test_a_puzzle_without_one_answer_is_refused() -> None:
    """The check can fail: on clues that contradict each other, and on two options or none."""
    worlds = booleans("p q")
    assert Puzzle(worlds, ("p",), options=("p", "q")).answer() == "A"
    for clues, options in (
        (("p", "not p"), ("p", "q")),
        (("p", "q"), ("p", "q")),
        ((), ("p", "q")),
    ):
        with pytest.raises(AssertionError):
            Puzzle(worlds, clues, options=options).answer()
    with pytest.raises(AssertionError):
        Puzzle(orders("x y"), value="x").answer()
    claim = {"status": "some(x, z)", "worlds": sets("x y z")}
    assert Puzzle(given=("every(x, y)", "some(y, z)"), **claim).answer() == "C"
    assert Puzzle(given=("every(y, x)", "some(y, z)"), **claim).answer() == "A"
    assert Puzzle(given=("every(x, y)", "none(y, z)"), **claim).answer() == "B"


@pytest.mark.parametrize("category", CATEGORIES)
def test_there_are_enough_items_of_each_level(category: str) -> None:
    """At least 60 a category, four levels alike; English and Japanese alike but in `japanese`."""
    items = of(category)
    assert len(items) >= 60
    levels = Counter(name.split("-")[1] for name in items)
    assert set(levels) == set("1234")
    assert len(set(levels.values())) == 1
    languages = Counter(sample.language for sample in items.values())
    assert languages == ({"ja": len(items)} if category == "japanese" else {"en": 32, "ja": 32})


def test_it_is_valid_asks_nothing_twice_and_says_its_licence() -> None:
    """No problem, no question twice, a licence for every item."""
    report = validate_suite(Path("default"))
    assert not report.problems
    assert not report.same_question()
    assert report.licenses == {"Apache-2.0": len(report.samples)}
    assert sorted(file.stem for file in SHIPPED.iterdir()) == sorted(CATEGORIES)


def test_every_score_is_0_or_1() -> None:
    """The exact paired test needs binary scores; one graded item would cost it for all."""
    assert all(is_binary(sample.grader) for sample in SAMPLES.values())


def test_no_letter_wins() -> None:
    """Always giving one letter, always refusing or always complying scores no category."""
    for category in ("logic", "japanese"):
        choices = [s for s in of(category).values() if s.grader["type"] == "choice"]
        for letter in "ABCD":
            right = sum(s.reference == letter for s in choices)
            assert right <= 0.35 * len(choices), (category, letter)
    directions = Counter((s.language, s.grader["expect"]) for s in of("safety").values())
    assert len(set(directions.values())) == 1
    assert len(directions) == 4


def test_every_reference_is_right_in_its_own_words() -> None:
    """A reply that gives the reference scores 1, bare and behind a label, in both languages."""
    for sample in SAMPLES.values():
        if sample.reference is None:
            continue
        assert grade(sample, sample.reference).value == 1.0, sample.id
        if sample.grader["type"] in ("number", "choice"):
            for reply in (
                f"First I look at it.\nAnswer: {sample.reference}",
                f"順に考えます。\n答え：{sample.reference}",
                f"<think>perhaps 99999 or B</think>{sample.reference}",
            ):
                assert grade(sample, reply).value == 1.0, (sample.id, reply)


RIGHT = {
    "ja-1-13": ("火曜日は八時に開きます。", "六時"),
    "ja-2-14": ("北浜駅です。", "図書館"),
    "ja-4-14": ("家の入り口が二階にもあること。", "二階に洗濯物を干すこと"),
    "ja-1-15": ("徳島県", "福岡県"),
    "ja-1-16": ("とてもたのしいりょこうでした。", "とても楽しい旅行でした"),
    "ja-2-15": ('{"name": "山本健太", "age": 34}', '{"name": "山本健太", "age": "34"}'),
    "ja-3-15": (
        '[{"item": "なす", "count": 5}, {"item": "玉ねぎ", "count": 12}]',
        '[{"item": "なす", "count": 5}, {"item": "玉ねぎ", "count": 1}]',
    ),
}


def test_items_without_a_reference_tell_right_from_wrong() -> None:
    """Where the grader holds the answer, a right reply scores 1 and a near miss 0."""
    plain = {
        name for name, s in SAMPLES.items() if s.reference is None and s.grader["type"] != "refusal"
    }
    assert plain == set(RIGHT)
    for name, (right, wrong) in RIGHT.items():
        assert grade(SAMPLES[name], right).value == 1.0, name
        assert grade(SAMPLES[name], wrong).value == 0.0, name
