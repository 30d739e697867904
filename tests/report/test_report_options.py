"""Questions of which likelihoods are measured are shown as they were put, not as a chat."""

from __future__ import annotations

from dataclasses import replace

import build
import pytest

from so8t.domain.exchange import Continuation, Form, Message
from so8t.domain.measured import ChoiceMethod, Likelihood, Measured, write_choice, write_likelihoods
from so8t.domain.sample import Origin, Sample
from so8t.journal.store import Journal
from so8t.report.html import render
from so8t.report.options import measured_prompt, options
from so8t.report.query import load_view
from so8t.report.text import Text

CHATTED = "Which is it?\nA. cat\nB. dogs\n\nAnswer with the letter of the right choice only."


def question(number: int = 0, **grader: object) -> Sample:
    return Sample(
        id=f"task/{number}",
        task="task",
        origin=Origin.HF,
        category="group",
        language="en",
        messages=(Message("user", CHATTED),),
        grader={"type": "lm_eval", "metric": "acc,none", "scale": "binary", **grader},
        form=Form(
            continuations=(
                Continuation(f"Shown before. {number} is:", " cat"),
                Continuation(f"Shown before. {number} is:", " dogs"),
            ),
            choices=("A", "B"),
        ),
    )


def likely(*values: float) -> Measured:
    return Measured(ChoiceMethod.EXACT, tuple(Likelihood(one, 1, greedy=False) for one in values))


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_page_shows_the_context_and_the_likelihoods(tmp_path, monkeypatch, language):
    """The context is the question, the answer is each continuation with its likelihood."""
    said = [Likelihood(-1.5, 1, greedy=True), Likelihood(-2.25, 1, greedy=False)]
    made = [question(number, right=[1]) for number in range(8)]
    monkeypatch.setattr(build, "samples", lambda _: made)
    # At an odd position the scores that are made up say that B is wrong.
    hostile = {
        1: write_likelihoods(said, "batch"),
        2: write_choice(ChoiceMethod.FIRST_TOKEN, 0, [-0.5]),
    }
    build.build(tmp_path, build.Shape(samples=8), hostile)
    with Journal(tmp_path, readonly=True) as journal:
        view = load_view(journal)
    (shown,) = (one for one in view.side_by_side.shown if one.position == 1)
    assert [content for _, content in shown.messages] == ["Shown before. 1 is:"]
    first, second = shown.b.options
    assert (first.text, first.logprob, first.right) == (" cat", -1.5, False)
    assert (second.text, second.logprob, second.right) == (" dogs", -2.25, True)
    assert first.chosen == (shown.b.score == 0)
    text = Text(language)
    page = render(view, text)
    assert "−1.50" in page
    assert "−2.25" in page
    assert text("answers.right_one") in page
    assert "&#34;likelihoods&#34;" not in page


def test_the_chosen_option_is_the_metrics():
    """The likeliest, or the likeliest for its length; none where the metric weighs all."""
    by_length = replace(question(), grader={"metric": "acc_norm,none"})
    weighs = replace(question(), grader={"metric": "similarity,none"})
    measured = likely(-3.5, -4.0)

    def chosen(sample: Sample, score: float | None = None) -> list[bool]:
        return [one.chosen for one in options(sample, measured, score)]

    assert chosen(question()) == [True, False]
    assert chosen(by_length) == [False, True]
    assert chosen(weighs) == [False, False]
    assert chosen(question(right=[0]), 1.0) == [True, False]
    assert chosen(question(right=[0]), 0.0) == [False, False]


def test_a_choice_of_a_letter_has_the_letters_as_options():
    """What a server chose is shown by its letters; an unseen one has no likelihood."""
    first, second = options(question(right=[1]), Measured(ChoiceMethod.FIRST_TOKEN, choice=1), 1.0)
    assert (first.text, first.logprob, first.chosen) == ("A", None, False)
    assert (second.text, second.chosen, second.right) == ("B", True, True)


def test_contexts_that_differ_are_shown_from_where_they_do():
    """The prompt is what the contexts share; the rest stands with each continuation."""
    texts = (Continuation("He saw Ann. Ann", " ran"), Continuation("He saw Ann. Bob", " ran"))
    sample = replace(question(), form=Form(continuations=texts))
    assert measured_prompt(sample) == "He saw Ann. "
    assert [one.text for one in options(sample, likely(-1, -2), None)] == ["Ann ran", "Bob ran"]
    whole = replace(question(), form=Form(continuations=(Continuation(None, "all of it"),)))
    assert measured_prompt(whole) == ""
    assert [one.text for one in options(whole, likely(-9), None)] == ["all of it"]


def test_an_answer_that_does_not_fit_the_question_has_no_options():
    """As many likelihoods as continuations, or nothing is said of them."""
    assert options(question(), likely(-1, -2, -3), None) == ()
