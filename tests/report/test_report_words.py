"""The verdict in words: every outcome and ending, and never more than was tested."""

from __future__ import annotations

from dataclasses import replace

import pytest

from so8t.report.text import Text
from so8t.report.words import names, verdict_words
from so8t.verdict.decide import Discordant, Verdict
from so8t.verdict.settings import Ending, Outcome, Scope, Settings

PLAIN = Verdict(
    outcome=Outcome.B_BETTER,
    ending=Ending.DECIDED,
    difference=0.041,
    interval=(0.019, 0.063),
    items_total=1319,
    items_used=612,
    items_dropped=0,
    decided_at=612,
    futile_at=None,
    claims=(),
    discordant=Discordant(80, 55),
    p_value=0.04,
    method="exact McNemar test with alpha spending",
    settings=Settings(margin=0.02),
)


def say(verdict, language="en", label_a="A", label_b="B"):
    """Return headline and sentence."""
    text = Text(language)
    words = verdict_words(verdict, text, names(label_a, label_b, text))
    return words.headline, words.sentence(text)


def test_b_better_in_english():
    """The example of the requirements holds to the letter."""
    headline, sentence = say(PLAIN)
    assert headline == "On questions like these, B is better than A."
    assert sentence == (
        "B answered 4.1 points more items correctly than A (95 % interval 1.9 to 6.3). "
        "Decided after 612 of 1,319 items."
    )


def test_b_better_in_japanese():
    """The same in Japanese, without spaces between sentences."""
    headline, sentence = say(PLAIN, "ja")
    assert headline == "このような問題では、BはAより優れています。"
    assert sentence == (
        "Bの正答率はAより4.1ポイント高い結果でした（95%区間 1.9〜6.3）。"
        "1,319問中612問の時点で判定が決まりました。"
    )


def test_a_better_is_told_from_the_side_of_a():
    """The interval turns with the subject, so that no reader meets a double negative."""
    mirrored = replace(
        PLAIN, outcome=Outcome.A_BETTER, difference=-0.041, interval=(-0.063, -0.019)
    )
    headline, sentence = say(mirrored)
    assert headline == "On questions like these, A is better than B."
    assert sentence.startswith(
        "A answered 4.1 points more items correctly than B (95 % interval 1.9 to 6.3)."
    )


def test_equivalent_names_the_margin():
    """Equivalence is only claimed to within what was set before."""
    verdict = replace(
        PLAIN, outcome=Outcome.EQUIVALENT, difference=-0.003, interval=(-0.018, 0.012)
    )
    headline, sentence = say(verdict)
    assert "to within 2.0 points" in headline
    assert sentence == (
        "B answered 0.3 points fewer items correctly than A; anything from 1.8 points fewer to "
        "1.2 points more fits the answers (95 % interval). A difference of 2.0 points or more, "
        "either way, is ruled out. Decided after 612 of 1,319 items."
    )


def test_non_inferior_claims_no_superiority():
    """That B is not worse leaves open whether it is better, and says so."""
    verdict = replace(PLAIN, outcome=Outcome.NON_INFERIOR, ending=Ending.EXHAUSTED, items_used=1319)
    headline, sentence = say(verdict)
    assert (
        headline
        == "On questions like these, B is less than 2.0 points worse than A, if worse at all."
    )
    assert "whether it is better stays open" in sentence
    assert sentence.endswith("All 1,319 items were used.")


@pytest.mark.parametrize(
    ("ending", "headline", "basis"),
    [
        (Ending.ONGOING, "There is no verdict yet.", "612 of 1,319 items so far."),
        (
            Ending.FUTILE,
            "It cannot be said which of the two is better.",
            "Stopped after 612 of 1,319 items: the rest would very probably not have decided it.",
        ),
        (
            Ending.EXHAUSTED,
            "It cannot be said which of the two is better.",
            "612 of 1,319 items could be used; there are no more.",
        ),
    ],
)
def test_undecided_says_why(ending, headline, basis):
    """No verdict yet, hopeless and out of items are three different things."""
    verdict = replace(
        PLAIN,
        outcome=Outcome.UNDECIDED,
        ending=ending,
        difference=0.01,
        interval=(-0.01, 0.03),
        decided_at=None,
    )
    said = say(verdict)
    assert said[0] == headline
    assert said[1].endswith(basis)


def test_without_data_nothing_is_claimed():
    """No pair, no figure: not even a zero."""
    verdict = replace(
        PLAIN,
        outcome=Outcome.UNDECIDED,
        ending=Ending.ONGOING,
        difference=None,
        interval=None,
        items_used=0,
        decided_at=None,
    )
    headline, sentence = say(verdict)
    assert headline == "There is nothing to compare."
    assert sentence == "Not one question has a score from both models. 1,319 items are planned."


def test_benchmark_scope_speaks_of_these_questions_only():
    """A verdict on one benchmark is not generalised."""
    verdict = replace(PLAIN, settings=Settings(scope=Scope.BENCHMARK))
    assert say(verdict)[0] == "On exactly these questions, B is better than A."
    assert say(verdict, "ja")[0] == "この問題集に限れば、BはAより優れています。"


def test_graded_scores_are_not_called_correct_answers():
    """Half a point is no correct answer."""
    verdict = replace(PLAIN, discordant=None, p_value=None)
    assert say(verdict)[1].startswith("B scored 4.1 points of 100 higher than A on average (95 %")
    assert "正答" not in say(verdict, "ja")[1]


def test_asking_on_after_the_decision_is_said():
    """With stop: full the figures are from more items than the decision took."""
    verdict = replace(PLAIN, items_used=1319)
    assert say(verdict)[1].endswith(
        "Decided after 612 of 1,319 items; the figures are from all 1,319 that were used."
    )


def test_labels_stand_beside_the_letters():
    """A person's own names are used, and the letters still tie the words to the figures."""
    assert "B (qwen-sft) is better than A (qwen)" in say(PLAIN, "en", "qwen", "qwen-sft")[0]
    assert "B（qwen-sft）はA（qwen）より" in say(PLAIN, "ja", "qwen", "qwen-sft")[0]


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("ending", list(Ending))
@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_combination_has_words(outcome, ending, scope, language):
    """Whatever comes out, there is a whole sentence for it, with no placeholder left."""
    sign = -1 if outcome is Outcome.A_BETTER else 1
    for binary in (True, False):
        verdict = replace(
            PLAIN,
            outcome=outcome,
            ending=ending,
            difference=sign * 0.041,
            interval=(0.019, 0.063) if sign > 0 else (-0.063, -0.019),
            decided_at=612 if ending is Ending.DECIDED else None,
            discordant=PLAIN.discordant if binary else None,
            settings=Settings(margin=0.02, scope=scope),
        )
        headline, sentence = say(verdict, language)
        stop = "." if language == "en" else "。"
        assert headline.endswith(stop)
        assert sentence.endswith(stop)
        assert not {"{", "}"} & set(headline + sentence)
        assert ("better than" in headline) == (
            language == "en" and outcome in (Outcome.A_BETTER, Outcome.B_BETTER)
        )
