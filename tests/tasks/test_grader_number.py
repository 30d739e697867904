"""The number grader."""

from __future__ import annotations

import unicodedata
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from so8t.errors import DataError
from so8t.tasks.graders import numerals
from so8t.tasks.graders.number import NumberGrader, answer_number, single_number

# reference, reply, is it right
HARD_CASES = [
    # plain
    ("18", "18", True),
    ("18", "18.", True),
    ("18", "18.0", True),
    ("18", "19", False),
    ("18", "The total is 18 dollars", True),
    ("18", "", False),
    ("18", "I do not know.", False),
    # thousands, units, currency
    ("1600", "1,600", True),
    ("1,450,000", "$1,450,000.00", True),
    ("12345678", "1,23,45,678", True),
    ("1234", "1\u202f234", True),
    ("1000", r"1{,}000", True),
    ("1000", r"1\,000", True),
    ("5", "5kg", True),
    ("5", "an area of 5 m²", True),
    ("5", "5㎡です", True),
    ("2", "The formula is H2O", False),
    ("2500000", "2.5 million", True),
    ("5000", "$5k", True),
    ("5", "a 5k run", True),
    ("3.5", "3.50ドル", True),
    (".5", "0.5", True),
    ("1500", "1.5 × 10^3", True),
    ("1500", "1.5×10³", True),
    ("1500", "1.5e3", True),
    ("1024", "2^10", True),
    # negative
    ("-5", "−5", True),
    ("-5", "－５", True),
    ("-5", "マイナス5度です", True),
    ("-5", "minus 5", True),
    ("-5", "▲5", True),
    ("-5", "-$5", True),
    ("-5", "$-5", True),
    ("-5", "x = - 5", True),
    ("5", "- 5", True),
    ("5", "-5", False),
    ("5", "10-5=5", True),
    ("-5", "10-5", False),
    ("5", "10-5", False),
    # fractions, percent
    ("3/4", "0.75", True),
    ("0.75", r"\frac{3}{4}", True),
    ("0.75", r"$\dfrac34$", True),
    ("1.5", "1 1/2", True),
    ("1.5", "1½", True),
    ("1.5", "1と2分の1", True),
    ("3/4", "４分の３", True),
    ("3/4", "四分の三", True),
    ("3/4", "4分の3です。", True),
    ("4/3", "4分の3です。", False),
    ("3", "6/2", True),
    ("25%", "25%", True),
    ("25", "25%", True),
    ("25", "25パーセント", True),
    ("0.25", "25 percent", True),
    ("25%", "0.25", True),
    ("25%", r"25\%", True),
    ("25%", "2.5%", False),
    ("0.3", "3割", True),
    ("35%", "3割5分", True),
    # Japanese numerals
    ("3500", "三千五百", True),
    ("3500", "三千五百円です。", True),
    ("3500", "3千5百円", True),
    ("20", "二十", True),
    ("20", "二〇", True),
    ("2024", "二〇二四年", True),
    ("12345", "一万二千三百四十五", True),
    ("123450000", "1億2,345万", True),
    ("350000", "３５万円", True),
    ("15000", "1.5万", True),
    ("10", "十", True),
    ("10000", "壱萬円", True),
    ("3.14", "三・一四", True),
    ("三千五百", "3500", True),
    ("三千五百", "３，５００円", True),
    ("8", "八個です", True),
    ("8", "一番多いのは八個です", True),
    ("1", "一般的には分かりません", False),
    ("10", "十分です", False),
    ("５", "5", True),
    # the last number, and what is not it
    ("8", "Tom has 3 apples. He buys 5 more. 3 + 5 = 8.", True),
    ("8", "3 + 5", False),
    ("8", "5 or 8", False),
    ("8", "8または9", False),
    ("15", "It is 10-15.", False),
    ("8", "1. Add them.\n2. The sum is 8.\n3. Check the work.", True),
    ("8", "Step 1: add\nStep 2: 8\nStep 3: done", True),
    ("8", "8 apples, the only one left", True),
    ("7", "There are seven.", True),
    ("21", "twenty-one", True),
    ("3500", "three thousand five hundred", True),
    ("105", "one hundred and five", True),
    ("1", "one", True),
    ("2", "That is the one.", False),
    ("9", "24 / 8 / 3 makes 1, and 3 × 3 = 9 km/h", True),
    # labels and boxes
    ("8", "The answer is 8. I checked it 3 times.", True),
    ("8", "The answer is 3 + 5 = 8, as 2 steps show.", True),
    ("8", "**Answer:** 8\n\nThere were 3 and 5.", True),
    ("8", "Final answer: **$8**. That took 2 steps.", True),
    ("8", "#### 8\nin 2 steps", True),
    ("8", "Answer: Tom has 3 apples. He buys 5. In total 8.", True),
    ("8", "答えは8個です。3と5を足しました。", True),
    ("8", "答え：８\n確認：3+5", True),
    ("8", "答えは、約8です（2回計算）。", True),
    ("8", "正解は八個。3と5を足した。", True),
    ("8", "答えは5ではありません。8です。", True),
    ("8", "The answer is 7. Wait. The answer is 8. Done in 2.", True),
    ("8", "The answer is not 5 but 8", True),
    ("8", r"So \boxed{8} after 2 steps", True),
    ("8", r"\boxed{5}, no: \boxed{x = 8\text{ km}}. 3", True),
    ("3/4", r"\boxed{\frac{3}{4}} or 1", True),
    ("8", r"\boxed{\text{eight}} 3", True),
    ("-3", r"\boxed{-3}", True),
    ("12", "Answer: 12 apples.", True),
    ("8", "The answer is 7 or 8", False),
]


@pytest.mark.parametrize(("reference", "reply", "right"), HARD_CASES)
def test_hard_cases(reference: str, reply: str, right: bool) -> None:
    """Every notation in the table is read as the number that a careful person reads."""
    grader = NumberGrader()
    score = grader.score(reference, reply)
    assert score.value == float(right), score


def test_there_are_enough_hard_cases() -> None:
    """The table holds at least 25 cases, in both languages, right and wrong."""
    assert len(HARD_CASES) >= 25
    assert {right for *_, right in HARD_CASES} == {True, False}


def test_tolerance_is_absolute() -> None:
    """A difference up to the tolerance is right, beyond it wrong."""
    grader = NumberGrader(tolerance=0.01)
    assert grader.score("3.14", "3.145").value == 1.0
    assert grader.score("3.14", "3.16").value == 0.0


def test_relative_tolerance_is_a_share_of_the_reference() -> None:
    """One percent of 1000 is 10."""
    grader = NumberGrader(relative_tolerance=0.01)
    assert grader.score("1000", "1009").value == 1.0
    assert grader.score("1000", "1011").value == 0.0


@pytest.mark.parametrize("reference", ["", "  ", "many", "3 or 4", "3, 4", "about", None])
def test_a_reference_that_is_not_one_number_is_refused(reference: str | None) -> None:
    """The suite's author is told, not the model's score."""
    with pytest.raises(DataError):
        NumberGrader().check(reference)


def test_an_invalid_reference_at_grading_time_is_unscored() -> None:
    """A grader that cannot decide says so; zero would be a word about the model."""
    assert NumberGrader().score("many", "5").value is None


# round trips ---------------------------------------------------------------------------------


def in_kanji(value: int) -> str:
    """Write 0 to 9999兆 in kanji, 3500 as 三千五百."""
    if value == 0:
        return "〇"
    out = ""
    for unit, large in (("兆", 10**12), ("億", 10**8), ("万", 10**4), ("", 1)):
        group, value = divmod(value, large)
        if not group:
            continue
        for small, size in (("千", 1000), ("百", 100), ("十", 10)):
            count, group = divmod(group, size)
            out += f"{'〇一二三四五六七八九'[count] if count > 1 else ''}{small}" if count else ""
        # 万 alone is no number: its factor 1 is written
        out += "〇一二三四五六七八九"[group] if group else ""
        out += unit
    return out


def in_mixed(value: int) -> str:
    """Write 12345678 as 1234万5678."""
    out = ""
    for unit, large in (("兆", 10**12), ("億", 10**8), ("万", 10**4)):
        group, value = divmod(value, large)
        out += f"{group}{unit}" if group else ""
    return out + (str(value) if value or not out else "")


WHOLE = st.integers(min_value=0, max_value=10**16 - 1)
FULL_WIDTH = str.maketrans("0123456789,.-%", "０１２３４５６７８９，．－％")


@given(WHOLE)
def test_whole_numbers_are_read_in_every_notation(value: int) -> None:
    """0 to 9999兆: digits, separators, full width, kanji, by position, mixed."""
    by_position = "".join("〇一二三四五六七八九"[int(digit)] for digit in str(value))
    for text in (
        str(value),
        f"{value:,}",
        f"{value:,}".translate(FULL_WIDTH),
        in_kanji(value),
        in_mixed(value),
        in_mixed(value).translate(FULL_WIDTH),
        by_position,
    ):
        number = single_number(text)
        assert number is not None, text
        assert number.value == value, text


@given(WHOLE, st.booleans())
def test_sentences_around_a_number_do_not_change_it(value: int, negative: bool) -> None:
    """The number that a sentence states is the one that is read."""
    value = -value if negative else value
    for sentence in (
        f"The answer is {value:,}.",
        f"答えは{value}です。",
        f"So the total is **{value:,}** apples.",
        rf"Therefore \boxed{{{value}}}.",
        f"#### {value}",
        f"1. first\n2. then\n3 + 4 = {value}",
    ):
        number = answer_number(sentence)
        assert not isinstance(number, str), sentence
        assert number.value == value, sentence


@given(st.fractions(min_value=0, max_value=10**6, max_denominator=10**4))
def test_fractions_are_exact(value: Fraction) -> None:
    """Fractions, mixed numbers and decimals are read without rounding."""
    a, b = value.numerator, value.denominator
    whole, rest = divmod(a, b)
    for text in (f"{a}/{b}", rf"\frac{{{a}}}{{{b}}}", f"{b}分の{a}", f"{whole} {rest}/{b}"):
        number = single_number(text)
        assert number is not None, text
        assert number.value == value, text


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=4))
def test_decimals_are_exact(value: object) -> None:
    """Decimals are read as written, with their sign."""
    for text in (f"{value}", f"{value:,}", f"{value}".translate(FULL_WIDTH)):
        number = single_number(text)
        assert number is not None, text
        assert number.value == Fraction(str(value)), text


@given(st.text(st.characters(max_codepoint=127)) | st.text("minus 12.$**__{}\\frac^-="))
def test_rules_are_left_out_only_where_they_cannot_match(text):
    """Preparing a text gives what all rewriting rules one after another give."""
    expected = text
    for pattern, replacement in (*numerals._LATEX, *numerals._TYPESET):
        expected = pattern.sub(replacement, expected)
    expected = unicodedata.normalize("NFKC", expected)
    for pattern, replacement, _ in numerals._AFTER_NFKC:
        expected = pattern.sub(replacement, expected)
    assert numerals.prepare(text) == expected
