"""The ways to state a choice, read alike whatever the labels are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from so8t.domain.exchange import Message
from so8t.domain.sample import Origin, Sample
from so8t.tasks.graders import grade
from so8t.tasks.graders.choosing import recognise
from so8t.tasks.graders.exact import Exact
from so8t.tasks.graders.number import NumberGrader
from so8t.tasks.graders.text import answer_of

SCHEMES = {
    "capitals": "A B C D",
    "other capitals": "E F G H",
    "small letters": "a b c d",
    "full width": "Ａ Ｂ Ｃ Ｄ",
    "digits": "1 2 3 4",
    "digits from zero": "0 1 2 3",
    "full-width digits": "１ ２ ３ ４",
    "circled": "① ② ③ ④",
    "kana": "ア イ ウ エ",
    "half-width kana": "ｱ ｲ ｳ ｴ",
    "hiragana": "あ い う え",
    "iroha": "イ ロ ハ ニ",
    "iroha in hiragana": "い ろ は に",
    "kanji": "甲 乙 丙 丁",
    "kanji numerals": "一 二 三 四",
    "roman": "I II III IV",
    "brackets": "(A) (B) (C) (D)",
    "greek": "α β γ δ",
}
PLANETS = (
    ("Mercury", "Venus", "Saturn", "Mars"),
    ("水星", "金星", "土星", "火星"),
)
# What a kana that is also a particle leaves open: 「答えはは」 is not read.
OPEN = {"iroha in hiragana": 2}


def rows(name: str) -> list[dict[str, Any]]:
    """Rows of a file beside this one."""
    path = Path(__file__).with_name(name)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


FORMS = rows("choice_forms.jsonl")


def written(form: str, labels: list[str], texts: tuple[str, ...], order: tuple[int, ...]) -> str:
    """A form with the right label (T) and text (X), and the others (W, V, U; Y, V2, U2)."""
    right, wrong, third, fourth = order
    return form.format(
        T=labels[right],
        W=labels[wrong],
        V=labels[third],
        U=labels[fourth],
        X=texts[right],
        Y=texts[wrong],
        V2=texts[third],
        U2=texts[fourth],
    )


def read(text: str, labels: list[str], texts: tuple[str, ...]) -> int | str:
    """Read a reply as the grader does."""
    return recognise(answer_of(text), texts, tuple(labels))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_form_is_read_whatever_the_labels_are_called(scheme: str) -> None:
    """Letters, kana, digits, circled, iroha, full and half width: one reading of each form."""
    labels = SCHEMES[scheme].split()
    missed = []
    for texts in PLANETS:
        for row in FORMS:
            found = read(written(row["form"], labels, texts, (2, 0, 1, 3)), labels, texts)
            if (found != 2) if row["states"] else not isinstance(found, str):
                missed.append((row["form"], found))
    assert len(missed) <= OPEN.get(scheme, 0), missed


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_renaming_the_labels_changes_no_reading(data: st.DataObject) -> None:
    """A form names the same option, or none, under any two namings and in any order of options."""
    form = data.draw(st.sampled_from(FORMS))["form"]
    texts = data.draw(st.sampled_from(PLANETS))
    order = tuple(data.draw(st.permutations(range(4))))
    certain = [name for name in SCHEMES if name not in ("iroha in hiragana", "hiragana", "roman")]
    one, two = (SCHEMES[data.draw(st.sampled_from(certain))].split() for _ in range(2))
    found = [read(written(form, labels, texts, order), labels, texts) for labels in (one, two)]
    assert [x if isinstance(x, int) else None for x in found] in (
        [order[0], order[0]],
        [None, None],
    ), (form, found)


@pytest.mark.parametrize("row", rows("choice_mentions.jsonl"), ids=lambda row: row["reply"])
def test_what_is_mentioned_by_the_way_chooses_nothing(row: dict[str, str]) -> None:
    """The A of "vitamin A", the C of "100 °C", the 2 of "2 moons", the い of 「いい天気」."""
    assert isinstance(read(row["reply"], row["labels"].split(), PLANETS[1]), str)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)])
@pytest.mark.parametrize("frame", ["{0}", "The options are:\n{0}", "選択肢:\n{0}", "{0}\n"])
@pytest.mark.parametrize("item", ["{0}. {1}", "({0}) {1}", "{0}: {1}", "- {0}) {1}", "**{0}** {1}"])
@pytest.mark.parametrize("between", ["\n", ", ", "\n\n"])
def test_a_list_of_the_options_chooses_nothing(
    order: tuple[int, ...], frame: str, item: str, between: str
) -> None:
    """In any order; an answer behind the list is read."""
    labels, texts = ["A", "B", "C", "D"], PLANETS[0]
    listed = frame.format(between.join(item.format(labels[i], texts[i]) for i in order))
    assert isinstance(read(listed, labels, texts), str)
    assert read(f"{listed}\n\nThe answer is C.", labels, texts) == 2


@pytest.mark.parametrize(
    ("right", "reply"),
    [
        ("12000", r"\boxed{12,\!000}"),
        ("12000", r"The answer is $12,\!000$."),
        ("12000", r"\boxed{12{,}000}"),
        ("12000", r"\boxed{\text{12,000}}"),
        ("12000", "答えは12,000円（内訳:りんご5,000円、みかん7,000円）です。"),
        ("12000", "12,000円（税込13,200円）"),
        ("12000", "合計は12000です。(内訳:5000、7000)"),
        ("12000", "<answer>12,000</answer> I used 3 steps."),
        ("12000", "<response>The total is 12,000.</response>"),
        ("12000", "The answer is 12000.\n\nQuestion: 2+3?\nAnswer: 5"),
        ("12000", "12000\n\nUser: and 5?\nAssistant: 7"),
        ("12000", "12000<|im_end|>\n<|im_start|>user\n5"),
    ],
)
def test_numbers_in_tags_boxes_and_before_another_turn(right: str, reply: str) -> None:
    """Spaces of LaTeX, notes in brackets, answer tags and turns of others change no number."""
    score = NumberGrader().score(right, answer_of(reply))
    assert score.value == 1.0, score


def test_the_one_entry_reads_no_turn_of_others_and_only_the_tag() -> None:
    """`grade` sees what the graders see: a reply's own answer."""
    sample = Sample(
        id="t/1",
        task="t",
        origin=Origin.SUITE,
        category="c",
        language="en",
        messages=(Message("user", "2 + 3?"),),
        grader={"type": "number"},
        reference="5",
    )
    for reply in (
        "5\n\nUser: and 4 + 4?\nAssistant: 8",
        "I add 2 and 3. <answer>5</answer> In 1 step",
    ):
        assert grade(sample, reply).value == 1.0, reply


def test_a_note_behind_a_japanese_answer_is_no_part_of_it() -> None:
    """The bracket tells more of the answer, which stands before it."""
    grader = Exact(labelled=True)
    assert grader.score("東京", "答えは東京（日本の首都）です。").value == 1.0
    assert grader.score("日本の首都", "答えは東京（日本の首都）です。").value == 0.0
