"""The pure part of judging: what a judge is asked, how it is read, what two verdicts make."""

from __future__ import annotations

import itertools

import pytest

from so8t.domain.exchange import Message
from so8t.domain.sample import Grade, Origin, Sample
from so8t.errors import DataError
from so8t.tasks.graders import grade, is_binary, validate_grader
from so8t.tasks.graders.llm_judge import judge_messages, paired_score, side_of, without_a_judge

REPLIES = [
    ("1", "first"),
    ("Answer: 2", "second"),
    ("答え：0", "tie"),
    ("Both name the capital, but the second one explains it.\nAnswer: 2", "second"),
    ("回答1のほうが正確です。\n答え：1", "first"),
    ("<think>1? no</think>Answer: 0", "tie"),
    ("\\boxed{1}", "first"),
    ("Answer: **2**", "second"),
    ("Answer: 1 or 2", None),
    ("Answer: 3", None),
    ("I cannot say.", None),
    ("", None),
    ("<think>1", None),
]


@pytest.mark.parametrize(("reply", "side"), REPLIES)
def test_a_verdict_is_read_or_it_is_none(reply, side):
    """One digit decides; several, another one or none leave the pair without a score."""
    assert side_of(reply, "en") == side


def test_two_verdicts_make_a_score_only_where_they_agree():
    """Of all nine pairs of verdicts two name a winner; the rest are ties, unreadable is none."""
    sides = ("first", "second", "tie")
    for a_first, b_first in itertools.product(sides, repeat=2):
        wanted = {("first", "second"): (1.0, 0.0), ("second", "first"): (0.0, 1.0)}
        assert paired_score(a_first, b_first) == wanted.get((a_first, b_first), (0.5, 0.5))
        assert paired_score(a_first, b_first)[::-1] == paired_score(b_first, a_first)
    assert paired_score(None, "first") is paired_score("tie", None) is None


@pytest.mark.parametrize(
    ("a", "b", "scores"),
    [
        ("x", "<think>y</think> x", (0.5, 0.5)),
        ("x", "", (1.0, 0.0)),
        ("<think>x", "y", (0.0, 1.0)),
        ("", "<think>", (0.0, 0.0)),
        ("x", "y", None),
    ],
)
def test_some_pairs_need_no_judge(a, b, scores):
    """Equal answers are a tie, saying nothing loses; what was only thought is not seen."""
    assert without_a_judge(a, b) == scores


def sample(language="en", **changes):
    question = (Message("user", "Capital of France?"),)
    grader = {"type": "judge", "criteria": "Be strict."}
    return Sample("s/1", "s", Origin.SUITE, "c", language, question, grader, **changes)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_judge_sees_question_reference_and_both_answers_in_their_order(language):
    """Nothing of the thinking, nothing of which model said what."""
    asked = sample(language, reference="Paris")
    (message,) = judge_messages(asked, "<think>secret</think>It is Lyon.", "Paris.")
    text = message.content
    assert text.index("Capital") < text.index("Paris") < text.index("It is Lyon.")
    assert text.rindex("Paris.") > text.index("It is Lyon.")
    assert "Be strict." in text
    assert "secret" not in text


def test_a_single_answer_waits():
    """Before its pair is judged an answer is unscored, which is not zero."""
    score = grade(sample(), "Paris")
    assert score.grade is Grade.UNSCORED
    assert not is_binary({"type": "judge"})
    validate_grader("judge", None)
    with pytest.raises(DataError):
        validate_grader("judge", " ")
