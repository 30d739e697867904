"""Find the numbers in a text, in every notation that models write, as exact fractions."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from typing import TYPE_CHECKING

from so8t.tasks.graders.kanji import DIGIT_CLASS, NOT_A_NUMERAL, UNIT_CLASS, parse_kanji
from so8t.tasks.graders.text import nfkc

if TYPE_CHECKING:
    from collections.abc import Callable

# A longer run of digits is no answer to anything, and Python refuses to read 4300 digits at once.
_MAX_DIGITS = 400
_MAX_EXPONENT = 400


class NumeralKind(IntEnum):
    """How sure we can be that a match is meant as a number."""

    DIGITS = 0
    KANJI = 1
    WORDS = 2


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a prepared text: `text[start:stop]` is what was read."""

    value: Fraction
    percent: bool
    start: int
    stop: int
    kind: NumeralKind
    enumerator: bool = False


_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_VULGAR = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"

_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox)\s*\{([^{}]{0,200})\}")
# Each of these needs a backslash or a brace: LaTeX, down to the characters that it prints.
_LATEX: list[tuple[re.Pattern[str], str]] = [
    (_TEXT, r" \1"),  # in a fraction, and below around one
    # a mixed number keeps its two parts apart; anything else, a minus above all, stays joined
    (re.compile(r"(?<=[^\W_])(?:[ \t]|\\[,!;: ]){0,4}(?=\\[dtc]?frac)"), " "),
    (
        re.compile(
            r"\\[dtc]?frac\s*\{((?:[^{}\\]|\\[^A-Za-z{}]){1,60})\}"
            r"\s*\{((?:[^{}\\]|\\[^A-Za-z{}]){1,60})\}"
        ),
        r"\1/\2",
    ),
    (re.compile(r"\\[dtc]?frac\s*(\d)\s*(\d)"), r"\1/\2"),
    (_TEXT, r" \1"),
    (re.compile(r"\{,\}"), ","),
    # 12,\!000 and 12\,000
    (re.compile(r"(?<=\d),\\[,!;: ](?=\d{3}(?!\d))"), ","),
    (re.compile(r"(?<=\d)\\[,!;: ](?=\d)"), ""),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\\(?:times|cdot)(?![a-z])"), "×"),
    (re.compile(r"\\(?:approx|simeq)(?![a-z])"), "≈"),
    (re.compile(r"\^\{(-?\d{1,4})\}"), r"^\1"),
]
# Each of these needs a character beyond ASCII.
_TYPESET: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    # superscripts are exponents, not digits; NFKC would make 25 of 2⁵
    (re.compile(r"⁻?[⁰¹²³⁴-⁹]+"), lambda match: "^" + match[0].translate(_SUPERSCRIPTS)),
    # a circled number marks a place in a list, unless it is all that a label or the reply says
    (
        re.compile(
            r"(?P<label>\A[\s「『(（]{0,9}|(?:答え?|[解回正][答解]|番号|answer(?:[ ]is)?)"
            r"[はがの:：=]?[ 「『(（]{0,3})"
            r"(?P<circled>[①-⑳⑴-⒇])(?=[」』)）]?(?:です|だ|である|が正|\s{0,9}\Z|[。.]))",
            re.IGNORECASE,
        ),
        lambda match: f"{match['label']} {unicodedata.numeric(match['circled']):.0f}",
    ),
    (re.compile(r"[①-⑳⑴-⒇]"), " "),
    (re.compile(rf"(?<=[0-9A-Za-z０-９{DIGIT_CLASS}{UNIT_CLASS}{_VULGAR}])(?=[{_VULGAR}])"), " "),
    # the spaces that typesetters put between thousands
    (re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))"), ","),
]
# In order; the last of a rule says whether a text in ASCII can match it.
_AFTER_NFKC: list[tuple[re.Pattern[str], str, bool]] = [
    (re.compile("\u2044"), "/", False),
    (re.compile(r"(?<=\d)\*\*(?=\d)"), "^", True),
    (re.compile(r"\*\*|__"), "", True),
    (re.compile("[\u2212\u2012\u2010\u2011]|\u2013(?=[\\d.])"), "-", False),
    (re.compile(r"[▲△](?=[\d$¥])"), "-", False),
    (re.compile(r"(?<![A-Za-z])(?:minus|negative)\s+(?=[\d$.])", re.IGNORECASE), "-", True),
    (re.compile(r"マイナス(?=[\d〇一二三四五六七八九十百千])"), "-", False),
    (re.compile(r"(?<==)[ \t]{0,3}-[ \t]{1,3}(?=\d)"), " -", True),
    (re.compile(r"(?<=[({\[])-[ \t]{1,3}(?=\d)|(?<!\d\$)(?<=\$)-[ \t]{1,3}(?=\d)"), "-", True),
    (re.compile(r"(?<=\d)の(-?\d{1,4})乗(?!根)"), r"^\1", False),
    (re.compile(r"\b(USD|JPY|EUR|GBP|US|Rs\.?)(?=\d)"), r"\1 ", True),
]


def prepare(text: str) -> str:
    """Bring LaTeX, superscripts, full-width digits and the many minus signs to one form."""
    if "\\" in text or "{" in text:
        for pattern, printed in _LATEX:
            text = pattern.sub(printed, text)
    if not text.isascii():
        for pattern, replacement in _TYPESET:
            text = pattern.sub(replacement, text)
        text = nfkc(text)
    simple = text.isascii()
    for pattern, plain, in_ascii in _AFTER_NFKC:
        if in_ascii or not simple:
            text = pattern.sub(plain, text)
    return text


# Possessive quantifiers: a long run of digits is read once or not at all, never cut in two.
# The second form is the Indian one: 12,34,567. Groups are bounded, as a list of numbers is not one.
_ARABIC = (
    r"(?:\d{1,3}(?:,\d{3}(?!\d)){1,12}+|\d{1,2}(?:,\d{2}(?!\d)){1,12}+,\d{3}(?!\d)|\d++)"
    r"(?:\.\d++)?+"
)
_ARABIC_START = r"(?<![A-Za-z0-9_^])(?<!\d\.)"
# Bounded, as a list of numbers would otherwise be read to its end from each of them.
_MIXED = (
    rf"\d[\d,]{{0,40}}+(?:\.\d{{1,40}}+)?+[{UNIT_CLASS}][\d,.{DIGIT_CLASS}{UNIT_CLASS}]{{0,60}}+"
)
_KANJI = rf"[{DIGIT_CLASS}{UNIT_CLASS}]++"
_ATOM = rf"(?:{_MIXED}|{_ARABIC}|{_KANJI})"

_NUMBER = re.compile(
    rf"""
    (?P<sign>-)?
    (?P<currency>[$¥€£₩][ ]?)?
    (?P<late_sign>(?<=[$¥€£₩])-)?
    (?:
        (?P<ja_whole>{_ATOM}(?=と))?+(?(ja_whole)と) (?P<ja_den>{_ATOM})分の(?P<ja_num>{_ATOM})
      | (?P<wari>{_ATOM})割(?!り)(?:(?P<bu>{_ATOM})分)?+
      | {_ARABIC_START}(?:(?P<whole>\d++)(?:[ ]{{1,2}}|[ ]and[ ]|と))?+
            (?P<num>{_ARABIC})[ ]?/[ ]?(?P<den>{_ARABIC})(?![ ]?/[ ]?\d)
      | {_ARABIC_START}(?P<mixed>{_MIXED})
      | {_ARABIC_START}(?P<arabic>{_ARABIC})
            (?:(?:[ ]?[×x*·][ ]?10\^|[eE])(?P<exponent>[+-]?\d{{1,4}})(?![\dA-Za-z])
              | \^(?P<power>-?\d{{1,4}}))?
      | (?<![\w.])(?P<point>\.\d++)
      | (?P<kanji_point>[{DIGIT_CLASS}十]++[・点][{DIGIT_CLASS}]++)
      | (?P<kanji>{_KANJI})
      | (?P<zero>(?<![ァ-ヺー])ゼロ(?![ァ-ヺー]|より|以|から|か|に近))
      | (?P<half>半分(?=です|だ(?!け)|である|[にと]なり|\s{{0,9}}(?:[。.」』)]|\Z)))
    )
    (?P<suffix>[ ]?(?:%|percent\b|per[ ]cent\b|パーセント)
      | [ ]?(?:hundred|thousand|million|billion|trillion)\b
      | (?:[kKmMbB]|bn)(?![A-Za-z]))?
    """,
    re.VERBOSE,
)
_SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_CURRENCY_SCALES = {"k": 1000, "m": 10**6, "b": 10**9, "bn": 10**9}
_OPERAND_END = re.compile(r"(?:[A-Za-z_]|[0-9)\]}%°]\s*)$")
# 数100人 and 何千: some hundreds, some thousands; a kanji before 数 makes another word (人数)
_ROUND = re.compile(r"10+")
_SEVERAL = re.compile(r"(?:^|[^\u4e00-\u9fff])数$|[何幾]$")
_ENUMERATOR_BEFORE = re.compile(
    r"(?:^|\n)[ \t#>*-]*(?:\(|(?:step|ステップ|手順|case|part|question|problem)\s*#?)?$",
    re.IGNORECASE,
)
_ENUMERATOR_AFTER = re.compile(r"[.):](?!\d)[ \t]*\S")


def find_numbers(text: str) -> list[Number]:
    """Give the numbers of a prepared text, in order, in digits and in Japanese numerals."""
    found = []
    for match in _NUMBER.finditer(text):
        number = _read(text, match)
        if number is not None:
            found.append(number)
    return found


def _read(text: str, match: re.Match[str]) -> Number | None:
    """Turn a match into a number; None for a word with a numeral in it or a number without end."""
    if len(match[0]) > _MAX_DIGITS:
        return None
    in_kanji = match["kanji"] or match["kanji_point"] or match["zero"] or match["half"]
    kind = NumeralKind.KANJI if in_kanji else NumeralKind.DIGITS
    if _counts_nothing(text, match, kind):
        return None
    value = _value(match)
    if value is None:
        return None
    suffix = (match["suffix"] or "").strip()
    stop = match.end()
    percent = False
    if suffix in _SCALES:
        value *= _SCALES[suffix]
    elif suffix.lower() in _CURRENCY_SCALES:
        # 5k is a run and 5m a length; $5k and $5m are amounts
        if match["currency"]:
            value *= _CURRENCY_SCALES[suffix.lower()]
        else:
            stop -= len(suffix)
    elif suffix:
        percent = True
    # A minus behind an operand subtracts (10-5); anywhere else it is a sign.
    before = text[max(0, match.start() - 8) : match.start()]
    if match["late_sign"] or (match["sign"] and not _OPERAND_END.search(before)):
        value = -value
    line = text[max(0, match.start() - 24) : match.start()]
    if match.start() > len(line):
        line = "x" + line if "\n" not in line else line
    enumerator = bool(
        kind is NumeralKind.DIGITS
        and _ENUMERATOR_BEFORE.search(line)
        and _ENUMERATOR_AFTER.match(text, stop)
    )
    return Number(value, percent, match.start(), stop, kind, enumerator)


def _counts_nothing(text: str, match: re.Match[str], kind: NumeralKind) -> bool:
    """Tell whether the numeral is a part of a word, or of one that counts nothing certain."""
    start = max(0, match.start() - 2)
    if kind is NumeralKind.KANJI:
        word = NOT_A_NUMERAL.search(text[start : match.end() + 3], match.start() - start)
        return word is not None and start + word.start() < match.end()
    round_number = match["arabic"] and _ROUND.fullmatch(match["arabic"])
    return bool(round_number and _SEVERAL.search(text[start : match.start()]))


def _value(match: re.Match[str]) -> Fraction | None:
    """Give the unsigned value of a match without its suffix."""
    if match["arabic"]:
        return _powered(_arabic(match["arabic"]), match["exponent"], match["power"])
    if match["point"]:
        return Fraction("0" + match["point"])
    if match["den"]:
        return _ratio(_arabic(match["num"]), _arabic(match["den"]), match["whole"])
    if match["mixed"]:
        return _atom(match["mixed"])
    return _japanese_value(match)


def _japanese_value(match: re.Match[str]) -> Fraction | None:
    """Give the value of a notation that only Japanese has."""
    if match["ja_den"]:
        return _ratio(_atom(match["ja_num"]), _atom(match["ja_den"]), match["ja_whole"])
    if match["wari"]:
        return _sum(_atom(match["wari"]), 10, _atom(match["bu"] or "0"), 100)
    if match["kanji_point"]:
        whole, _, decimals = match["kanji_point"].replace("点", "・").partition("・")
        return _sum(_atom(whole), 1, _atom(decimals), 10 ** len(decimals))
    if match["zero"] or match["half"]:
        return Fraction(0) if match["zero"] else Fraction(1, 2)
    return _atom(match["kanji"])


def _sum(one: Fraction | None, part: int, other: Fraction | None, small: int) -> Fraction | None:
    """Add a number of parts and a number of smaller parts."""
    return None if one is None or other is None else one / part + other / small


def _arabic(text: str) -> Fraction:
    plain = text.replace(",", "")
    # Fraction reads any text by a pattern, which takes longer than all else here.
    return Fraction(int(plain)) if plain.isdecimal() else Fraction(plain)


def _atom(text: str) -> Fraction | None:
    return parse_kanji(text.rstrip(",.")) if text else None


def _ratio(
    numerator: Fraction | None, denominator: Fraction | None, whole: str | None
) -> Fraction | None:
    """Numerator over denominator, and a whole number before it; None when it cannot be."""
    if numerator is None or not denominator:
        return None
    ahead = _atom(whole) if whole else Fraction(0)
    return None if ahead is None else ahead + numerator / denominator


def _powered(base: Fraction, exponent: str | None, power: str | None) -> Fraction | None:
    """Base times ten to the exponent, or to the power; None beyond any reasonable answer."""
    if exponent is not None:
        return base * Fraction(10) ** int(exponent) if abs(int(exponent)) <= _MAX_EXPONENT else None
    if power is not None:
        size = int(power)
        if abs(size) * len(str(base)) > _MAX_EXPONENT or (base == 0 and size < 0):
            return None
        return Fraction(base**size)
    return base


_UNITS_EN = {
    word: value
    for value, word in enumerate(
        [
            *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
            *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
            *("seventeen", "eighteen", "nineteen"),
        ]
    )
}
_TENS_EN = {
    word: 10 * value
    for value, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2
    )
}
_PARTS_EN = {
    word: value
    for value, word in enumerate(
        ["half", "third", "quarter", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"],
        start=2,
    )
} | {"halve": 2, "fourth": 4, "hundredth": 100, "thousandth": 1000}
_WORD = "|".join((*_UNITS_EN, *_TENS_EN, *_SCALES))
_WORDS = re.compile(
    rf"""\b(?P<sign>minus[ ]|negative[ ])?
    (?:(?P<whole>(?:{_WORD})(?:(?:[ -]|[ ]and[ ])(?:{_WORD}))*+)\b
        (?:(?P<more>[ ]and[ ](?:a|one)[ -]|[ -])(?P<part>{"|".join(_PARTS_EN)})(?P<plural>s?)\b)?
      | (?<!in[ ])(?P<half>half)(?=\s{{0,9}}(?:[.!*)\]]|\Z)))""",
    re.IGNORECASE | re.VERBOSE,
)


def find_words(text: str) -> list[Number]:
    """Give the numbers that a prepared text spells out in English, in order."""
    found = []
    for match in _WORDS.finditer(text):
        value: Fraction | int | None = Fraction(1, 2)
        stop = match.end()
        if match["whole"]:
            value = _words_value(re.split(r" and |[ -]", match["whole"].lower()))
            if value is not None and match["part"]:
                part = Fraction(1, _PARTS_EN[match["part"].lower()])
                if len(match["more"]) > 1:
                    value += part
                elif bool(match["plural"]) == (value != 1):
                    value *= part
                else:  # the twenty-fifth is an ordinal number
                    stop = match.end("whole")
        if value is not None:
            value = -value if match["sign"] else value
            found.append(Number(Fraction(value), False, match.start(), stop, NumeralKind.WORDS))
    return found


def _words_value(words: list[str]) -> int | None:
    """Give the value of English number words, or None where they make no number (two three)."""
    total = section = 0
    room = 10**20
    for word in words:
        if word == "hundred":
            section = (section or 1) * 100
            room = 100
        elif word in _SCALES:
            total += (section or 1) * _SCALES[word]
            section, room = 0, 10**20
        else:
            value = _UNITS_EN.get(word, _TENS_EN.get(word, 0))
            if room <= value:
                return None
            section += value
            room = 10 if word in _TENS_EN else 1
            if value == 0 and len(words) > 1:
                return None
    return total + section
