"""The choice grader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from so8t.errors import DataError
from so8t.tasks.graders.choice import Choice

ANIMALS = ["cat", "black cat", "dog", "bird"]
JAPANESE = ["世界", "写真集", "絵本", "論文", "図鑑"]
YES_NO = ["Yes", "No"]
HAI = ["はい", "いいえ"]
UNKNOWN = ["Yes", "No", "It cannot be determined"]
ENTAILMENT = ["含意", "矛盾", "中立"]
HAI_UNKNOWN = ["はい", "いいえ", "どちらとも言えない"]
KNAVES = ["A knight", "A knave", "It cannot be determined"]
PIECES = ["cat", "dog", "bird", "fish"]
BLOOD = ["O型", "A型", "B型", "AB型"]
PAIRS = ["A only", "B only", "A and B", "neither"]
NUMBERS = ["2500", "2", "50", "25"]
PLANETS = ["Mars", "Venus", "Iris", "Ariel", "Bestla", "Calypso", "Dione", "Enceladus", "Io"]

# options, reference, reply, score
HARD_CASES = [
    # the letter
    (ANIMALS, "C", "C", 1),
    (ANIMALS, "C", "c", 1),
    (ANIMALS, "C", "C.", 1),
    (ANIMALS, "C", "(C)", 1),
    (ANIMALS, "C", "**C**", 1),
    (ANIMALS, "C", "Ｃ", 1),
    (ANIMALS, "C", "「C」", 1),
    (ANIMALS, "C", "[[C]]", 1),
    (ANIMALS, "C", "C: dog", 1),
    (ANIMALS, "C", "C. dog\n\nA is wrong, since it is a cat.", 1),
    (ANIMALS, "C", "C)", 1),
    (ANIMALS, "C", "B", 0),
    (ANIMALS, "C", "E", 0),
    (ANIMALS, "C", r"\boxed{C}", 1),
    (ANIMALS, "C", r"It may be A or B, but \boxed{\text{C}}.", 1),
    # the text
    (ANIMALS, "C", "dog", 1),
    (ANIMALS, "C", "The dog.", 1),
    (ANIMALS, "dog", "C", 1),
    (ANIMALS, "C", "DOG", 1),
    (ANIMALS, "B", "It is a black cat.", 1),
    (ANIMALS, "A", "It is a black cat.", 0),
    (ANIMALS, "C", "dogma", 0),
    (ANIMALS, "C", "It is not a dog.", 0),
    (ANIMALS, "C", "It is not a bird, it is a dog.", 1),
    # labels
    (ANIMALS, "C", "The answer is C.", 1),
    (ANIMALS, "C", "The correct answer is (C) dog, not (A).", 1),
    (ANIMALS, "C", "Answer: C", 1),
    (ANIMALS, "C", "The answer is: option C", 1),
    (ANIMALS, "C", "**Answer:** **C**", 1),
    (ANIMALS, "C", "The answer is a dog.", 1),
    (ANIMALS, "C", "A is tempting and B too, but the answer is C", 1),
    (ANIMALS, "C", "The answer is A. No: the answer is C.", 1),
    (ANIMALS, "C", "The answer is A or C.", 0),
    (ANIMALS, "C", "A is a cat. B is a black cat. So C.", 1),
    (ANIMALS, "C", "A does not bark and B does not either.\n\nC", 1),
    # articles and pronouns
    (ANIMALS, "C", "A dog barks.", 1),
    (ANIMALS, "A", "A dog barks.", 0),
    (PLANETS, "A", "I think it is Mars.", 1),
    (PLANETS, "I", "I think it is Mars.", 0),
    (PLANETS, "I", "(I)", 1),
    (PLANETS, "B", "I choose B", 1),
    (ANIMALS, "A", "Option A seems best", 1),
    # none, several
    (ANIMALS, "C", "", 0),
    (ANIMALS, "C", "I don't know", 0),
    (ANIMALS, "C", "A, B, C", 0),
    (ANIMALS, "C", "B and C are both right", 0),
    (ANIMALS, "C", "dog or bird", 0),
    (ANIMALS, "C", "A. cat\nB. black cat\nC. dog\nD. bird", 0),
    (ANIMALS, "C", "A. cat\nB. black cat\nC. dog\nD. bird\nAnswer: C", 1),
    (ANIMALS, "C", "C. cat", 0),
    (ANIMALS, "C", "Because", 0),
    (ANIMALS, "C", "I think A is right", 0),
    (ANIMALS, "C", "A and B are tempting, but the answer is C", 1),
    (ANIMALS, "C", "A and B are tempting. So C", 1),
    (ANIMALS, "B", "B, C is wrong", 1),
    (ANIMALS, "A", "I think A is right", 1),
    (["Vitamin C", "Vitamin A", "Vitamin B"], "A", "Vitamin C helps here.", 1),
    (["Vitamin C", "Vitamin A", "Vitamin B"], "C", "Vitamin C helps here.", 0),
    # Japanese
    (JAPANESE, "C", "C", 1),
    (JAPANESE, "C", "Ｃです。", 1),
    (JAPANESE, "C", "答えはCです。", 1),
    (JAPANESE, "C", "答え：Ｃ", 1),
    (JAPANESE, "C", "正解はC「絵本」です。", 1),
    (JAPANESE, "C", "正解は「絵本」です。", 1),
    (JAPANESE, "C", "絵本です。", 1),
    (JAPANESE, "C", "イラストのある物語は絵本といいます。", 1),
    (JAPANESE, "C", "図鑑ではなく絵本です。", 1),
    (JAPANESE, "C", "絵本ではありません。", 0),
    (JAPANESE, "C", "絵本または図鑑", 0),
    (JAPANESE, "C", "答えはCかEです。", 0),
    (JAPANESE, "C", "AとBは違います。したがってC", 1),
    (JAPANESE, "C", "選択肢Cだと思います。", 1),
    (JAPANESE, "C", "わかりません。", 0),
    (JAPANESE, "C", "答えはDです。", 0),
    # yes and no
    (YES_NO, "Yes", "Yes, there is no doubt.", 1),
    (YES_NO, "No", "No.", 1),
    (YES_NO, "No", "The answer is no", 1),
    (YES_NO, "No", "Nobody", 0),
    (HAI, "いいえ", "いいえ、「はい」とは言えません。", 1),
    (HAI, "はい", "はい。", 1),
    # options that are numbers
    (NUMBERS, "C", "50", 1),
    (NUMBERS, "C", "The answer is 50.", 1),
    (NUMBERS, "C", "The answer is 2500.", 0),
    (NUMBERS, "B", "2", 1),
    (NUMBERS, "B", "-2", 0),
    (NUMBERS, "B", "It is 2.5.", 0),
    (["0", "1", "-1", "12"], "C", "C. -1", 1),
    (["0", "1", "-1", "12"], "C", "-1", 1),
    (["0", "1", "-1", "12"], "C", "C - 1", 0),
    (["- 1/2", "1/2"], "A", "A. - 1/2", 1),
    (ANIMALS, "C", "C - dog", 1),
    (["0", "1", "-1", "12"], "B", "The answer is -1", 0),
    # denials
    (PIECES, "B", "The answer cannot be B", 0),
    (PIECES, "B", "It can't be B.", 0),
    (PIECES, "B", "It can’t be B.", 0),
    (PIECES, "B", "It cannot possibly be the dog.", 0),
    (PIECES, "B", "It can't be anything but B.", 1),
    (PIECES, "B", "Everything but B", 0),
    (PIECES, "B", "anything except B is right", 0),
    (PIECES, "B", "Nothing but B", 1),
    (PIECES, "B", "None other than B", 1),
    (PIECES, "B", "Nothing fits except B.", 1),
    (PIECES, "B", "Every option but B is wrong.", 1),
    (PIECES, "B", "All options except A and B are wrong.", 0),
    (PIECES, "B", "Everything except A and B", 0),
    (PIECES, "B", "It's neither A, C, nor D. It's B.", 1),
    (PIECES, "B", "It is not A, B is right", 1),
    (PIECES, "B", "A、C、Dは誤りで、Bが正解です。", 1),
    (PIECES, "B", "AでもCでもDでもありません。Bです。", 1),
    (PIECES, "C", "B cannot be right, so C", 1),
    (PIECES, "B", "B cannot be wrong", 1),
    (PIECES, "B", "B is not only right, it is obvious", 1),
    (PIECES, "B", "I can't decide. B", 1),
    (PIECES, "B", "C is unlikely. B.", 1),
    (PIECES, "A", "B doesn't fit, C doesn't fit, D doesn't fit. A fits.", 1),
    (PIECES, "C", "It is not A or B; it is C", 1),
    (PIECES, "C", "A, B and D are incorrect. C is correct.", 1),
    (PIECES, "C", "A, B and D are wrong", 0),
    (PIECES, "B", "Bではないです", 0),
    (PIECES, "B", "B以外です", 0),
    (PIECES, "B", "B以外は誤りです", 1),
    (PIECES, "B", "Bは間違いなく正解です。", 1),
    (PIECES, "C", "AとBとDは誤りです。残るのはC。", 1),
    (ENTAILMENT, "B", "矛盾", 1),
    (ENTAILMENT, "B", "前提と仮説は矛盾しています。", 1),
    (ENTAILMENT, "B", "矛盾があります", 1),
    (ENTAILMENT, "B", "矛盾しない", 0),
    (ENTAILMENT, "B", "仮説は前提と矛盾していません。", 0),
    (ENTAILMENT, "B", "矛盾はありません", 0),
    (ENTAILMENT, "B", "矛盾するわけではない", 0),
    (ENTAILMENT, "B", "矛盾なし", 0),
    (ENTAILMENT, "A", "含意しない", 0),
    (ENTAILMENT, "A", "含意とは限らない。", 0),
    (ENTAILMENT, "A", "これは含意関係にあります", 1),
    (ENTAILMENT, "A", "前提は仮説を含意しています。", 1),
    (ENTAILMENT, "A", "矛盾がなく、含意関係にあります", 1),
    (ENTAILMENT, "C", "含意でも矛盾でもないので中立です。", 1),
    (ENTAILMENT, "C", "含意も矛盾も成り立たない。中立", 1),
    (ENTAILMENT, "C", "含意しません。矛盾もしません。中立です。", 1),
    (ENTAILMENT, "C", "含意関係にはありません。中立", 1),
    (ENTAILMENT, "C", "含意するとは言えないので中立", 1),
    (HAI_UNKNOWN, "C", "「はい」とは限りません。どちらとも言えない。", 1),
    (HAI_UNKNOWN, "C", "はいともいいえとも言えないので、どちらとも言えない", 1),
    (UNKNOWN, "C", "Yes cannot be concluded, so it cannot be determined.", 1),
    # corrections
    (PIECES, "B", "The answer is A. Wait, no, it's B.", 1),
    (PIECES, "A", "The answer is A. Wait, no, it's B.", 0),
    (PIECES, "B", "It's A. Wait, actually, it's B.", 1),
    (PIECES, "B", "The answer is B. No, it is not A.", 1),
    (PIECES, "B", "The answer is B. Actually, it is a common mistake to pick A.", 1),
    (PIECES, "B", "答えはAです。いや、Bです。", 1),
    (PIECES, "B", "答えはA。訂正します。正しくはBです。", 1),
    (PIECES, "B", "答えはBです。すみません、説明が長くなりました。", 1),
    # "no" as the answer and before a noun
    (YES_NO, "Yes", "Yes, no doubt about it.", 1),
    (YES_NO, "Yes", "No doubt: yes.", 1),
    (YES_NO, "Yes", "There is no cat, so yes.", 1),
    (YES_NO, "No", "No one knows.", 0),
    (YES_NO, "No", "No it is not", 1),
    (YES_NO, "No", "No because Tom is a dog", 1),
    (YES_NO, "No", "No\nTom is a dog.", 1),
    (YES_NO, "No", "Answer: No\n\nExplanation: Tom is a dog.", 1),
    (YES_NO, "No", "Yes and no", 0),
    # articles
    (KNAVES, "B", "Therefore, the answer is **A knave**.", 1),
    (KNAVES, "B", "A knave", 1),
    (KNAVES, "B", "knave", 1),
    (KNAVES, "B", "The answer is the knave", 1),
    (KNAVES, "B", "Cora is not a knight but a knave", 1),
    (KNAVES, "B", r"\boxed{\text{A knave}}", 1),
    (KNAVES, "B", "B. A knave", 1),
    (KNAVES, "B", "A. A knave", 0),
    (KNAVES, "A", "A", 1),
    (KNAVES, "A", "Answer: A", 1),
    (KNAVES, "A", "**A**", 1),
    (PIECES, "B", "A dog", 1),
    (PIECES, "B", "**A dog**", 1),
    (PIECES, "B", "The answer is A dog", 1),
    (PIECES, "B", "(A) dog", 0),
    (PIECES, "A", "A: cat", 1),
    (PIECES, "A", "The answer is A\n\nDog is wrong.", 1),
    (PIECES, "A", "The answer is A because it meows", 1),
    (PIECES, "B", "The answer is B, the cat meows", 1),
    (PIECES, "B", "The answer is a dog, a cat", 0),
    (PIECES, "B", "dog or cat barks", 0),
    (PAIRS, "A", "A only", 1),
    (PAIRS, "C", "The answer is A and B", 1),
    (PAIRS, "A", "only", 0),
    (["a", "an", "the", "no article"], "C", "the", 1),
    (BLOOD, "B", "答えはA型です", 1),
    (BLOOD, "A", "A", 1),
]


@pytest.mark.parametrize(("options", "reference", "reply", "score"), HARD_CASES)
def test_hard_cases(options: list[str], reference: str, reply: str, score: int) -> None:
    """Every reply in the table names the option that a careful person reads in it, or none."""
    grader = Choice(options=options)
    grader.check(reference)
    assert grader.score(reference, reply).value == score, grader.score(reference, reply)


def test_own_labels() -> None:
    """Options can be named by digits or kana instead of letters."""
    grader = Choice(options=["春", "夏", "秋"], labels=["ア", "イ", "ウ"])
    assert grader.score("イ", "答えはイです").value == 1.0
    assert grader.score("イ", "ウ").value == 0.0
    grader = Choice(options=["spring", "summer", "autumn"], labels=["1", "2", "3"])
    assert grader.score("2", "2.").value == 1.0
    assert grader.score("summer", "Answer: 2").value == 1.0
    assert grader.score("2", "Answer: 3").value == 0.0
    for reply in ("2番", "2番です。", "「2番」", "2番目", "答えは2番です", "私は2番だと思います"):
        assert grader.score("2", reply).value == 1.0, reply
    for reply in ("2番ではない。", "1番と2番", "2番大きいのは3番"):
        assert grader.score("2", reply).value == 0.0, reply


def test_several_options_are_said_in_the_reason() -> None:
    """The reason names what was recognised, so that a person can check it."""
    assert Choice(options=ANIMALS).score("C", "A or C").reason == "several choices named: A, C"
    assert Choice(options=ANIMALS).score("C", "Hm.").reason == "no choice recognised"
    assert Choice(options=ANIMALS).score("C", "C").reason == "chose C: dog"


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        (ANIMALS, "E"),
        (ANIMALS, "fish"),
        (ANIMALS, ""),
        (ANIMALS, None),
        (["one", "ONE"], "A"),
        (["one", " "], "A"),
    ],
)
def test_a_reference_outside_the_options_is_refused(
    options: list[str], reference: str | None
) -> None:
    """A label outside the set, an empty one and equal options are the suite author's mistake."""
    with pytest.raises(DataError):
        Choice(options=options).check(reference)


def test_an_invalid_reference_at_grading_time_is_unscored() -> None:
    """Only a grader that itself cannot decide says unscored."""
    assert Choice(options=ANIMALS).score("fish", "C").value is None


@given(
    options=st.lists(
        st.text(alphabet="abcdefghijあいうえお漢字 ", min_size=3, max_size=12).filter(
            lambda text: len(text.strip()) > 2
        ),
        min_size=2,
        max_size=6,
        unique_by=lambda text: " ".join(text.split()),
    ),
    data=st.data(),
)
def test_a_plain_letter_always_names_its_option(options: list[str], data: st.DataObject) -> None:
    """Whatever the options are, a bare letter and a labelled one name the option."""
    index = data.draw(st.integers(0, len(options) - 1))
    letter = "ABCDEF"[index]
    grader = Choice(options=options)
    for reply in (
        letter,
        f"({letter})",
        f"{letter}.",
        f"The answer is {letter}.",
        f"答え：{letter}",
    ):
        assert grader.score(letter, reply).value == 1.0, reply
