"""Collapsed arms: seen, told in the headline, and a gate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from build import Shape, clock, config

from so8t.cli.gate import check_gate
from so8t.domain.answer_shares import AnswerTally
from so8t.domain.exchange import Arm, EngineReply, Message, Status
from so8t.domain.plan import permute
from so8t.domain.sample import Origin, Sample
from so8t.errors import GateFailed
from so8t.journal.evidence import freeze
from so8t.journal.rows import GradedReply
from so8t.journal.store import Journal, request_key
from so8t.report.collapse import at_guessing, headline_words
from so8t.report.html import render
from so8t.report.query import load_view, summary
from so8t.report.text import Text
from so8t.report.words import Names, view_words
from so8t.tasks.graders import grade
from so8t.verdict.guessing import no_better_than_constant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WHO = Names("A", "B")


def sentiment(number: int, language: str = "en") -> Sample:
    """A question whose right answer is Negative in 6 of 10 cases."""
    question = "この映画は" if language == "ja" else "How does this review of a film sound to you:"
    return Sample(
        id=f"sentiment/{number:03}",
        task="sentiment",
        origin=Origin.SUITE,
        category="language",
        language=language,
        messages=(Message("user", f"{question} {number}? Positive or Negative?"),),
        grader={"type": "choice", "options": ["Positive", "Negative"]},
        reference="Negative" if number % 10 < 6 else "Positive",
    )


def shares(answer: Callable[[Sample], str], count: int = 60, language: str = "en"):
    """What is told of so many answers."""
    tally = AnswerTally("sentiment", Arm.B)
    for number in range(count):
        sample = sentiment(number, language)
        score = grade(sample, answer(sample))
        tally.add(sample, answer(sample), score.reason, score.value)
    found = tally.shares()
    assert found is not None
    return found


def mixed(sample: Sample) -> str:
    """Right in two of three cases, in words of its own."""
    number = int(sample.id[-3:])
    right = sample.reference or ""
    wrong = "Positive" if right == "Negative" else "Negative"
    return f"It is {right if number % 3 else wrong}, says number {number}."


LOOP = "The film is good and the film is bad and " * 12


@pytest.mark.parametrize(
    ("answer", "signs"),
    [
        (lambda _: "Positive", ("one_answer",)),
        (lambda s: f"I think that it is Positive. {s.id}", ("one_answer",)),
        (lambda _: "", ("empty", "one_answer")),
        (lambda s: f"{s.id} {LOOP}", ("looping",)),
        (lambda s: s.messages[0].content, ("echoing",)),
        (
            lambda s: f"これは{s.id}という映画についての肯定的な感想だと思われます。{s.id}",
            ("foreign",),
        ),
        (mixed, ()),
    ],
)
def test_each_way_to_collapse_is_seen(
    answer: Callable[[Sample], str], signs: tuple[str, ...]
) -> None:
    """One answer whatever words are around it, nothing, loops, echoes, another language."""
    assert shares(answer).signs == signs


def test_one_answer_that_is_right_is_no_collapse() -> None:
    """Where nearly all references are one label, giving that label is what a good model does."""
    tally = AnswerTally("sentiment", Arm.A)
    for number in range(50):
        sample = replace(sentiment(number), reference="Negative")
        tally.add(sample, "Negative", "chose B: Negative", 1.0)
    found = tally.shares()
    assert found is not None
    assert found.signs == ()
    assert found.constant == 1.0


def test_few_answers_are_no_habit() -> None:
    """Below 20 answers nothing is raised."""
    assert shares(lambda _: "Positive", count=19).signs == ()


@pytest.mark.parametrize(("answer", "guessing"), [(lambda _: "Positive", True), (mixed, True)])
def test_a_score_within_what_a_constant_gives_is_told(
    answer: Callable[[Sample], str], guessing: bool
) -> None:
    """Two thirds right where one label has 60 %: not clearly better in 60 answers."""
    found = shares(answer)
    assert found.constant == 0.6
    assert at_guessing(found) is guessing


def test_the_constant_is_beaten_from_some_point_on() -> None:
    """The same share is clearly better with more answers, and a better one with as many."""
    assert no_better_than_constant(0.67, 60, 0.6)
    assert not no_better_than_constant(0.67, 600, 0.6)
    assert not no_better_than_constant(0.85, 60, 0.6)
    assert not at_guessing(shares(lambda sample: sample.reference or ""))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run in which B says Positive to everything."""
    directory = tmp_path / "run"
    with Journal(directory, now=clock()) as journal:
        journal.create_run("nightly", config(Shape()), "0.1.0")
        questions = permute([sentiment(number) for number in range(60)], seed=1)
        journal.freeze(questions)
        freeze(journal, binary=True, look_every=12)
        settings = journal.settings({"engine": "x"})
        for position, sample in enumerate(questions):
            for arm, text in ((Arm.A, mixed(sample)), (Arm.B, "Positive")):
                reply = EngineReply(request_key(arm, position, 0), Status.COMPLETED, text)
                score = grade(sample, text)
                journal.record([GradedReply(arm, position, 0, reply, settings, score, "g")])
    return directory


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_collapsed_arm_stands_in_the_headline_and_in_the_report(run: Path, language: str) -> None:
    """The first sentence that a person reads says it, and so do the page and the JSON."""
    text = Text(language)
    with Journal(run, readonly=True) as journal:
        view = load_view(journal)
    said = headline_words(view.answer_shares, text, WHO)
    assert len(said) == 1
    assert "100" in said[0]
    assert said[0] in view_words(view, text).headline
    assert said[0] in render(view, text)
    found = {one["arm"]: one for one in summary(view)["answers"]}
    assert found["b"]["collapsed"] == ["one_answer"]
    assert found["b"]["at_guessing"]
    assert found["a"]["collapsed"] == []


def test_fail_if_collapsed_ends_with_its_code(run: Path) -> None:
    """The gate names the arm; other conditions do not meet it."""
    with Journal(run, readonly=True) as journal:
        view = load_view(journal)
    with pytest.raises(GateFailed, match="model B has collapsed"):
        check_gate(view, ("collapsed",))
    check_gate(view, ("b_better",))
    check_gate(replace(view, answer_shares=()), ("collapsed",))
