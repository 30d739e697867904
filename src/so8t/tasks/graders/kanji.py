"""Japanese numerals to exact numbers: 三千五百, 二〇二四, 1億2,345万, 3千5百, 壱萬."""

from __future__ import annotations

import re
from fractions import Fraction

DIGITS = {char: value for value, char in enumerate("〇一二三四五六七八九")} | {
    "零": 0,
    "壱": 1,
    "弐": 2,
    "参": 3,
}
SMALL_UNITS = {"十": 10, "拾": 10, "百": 100, "千": 1000}
LARGE_UNITS = {"万": 10**4, "萬": 10**4, "億": 10**8, "兆": 10**12, "京": 10**16}

DIGIT_CLASS = "".join(DIGITS)
UNIT_CLASS = "".join((*SMALL_UNITS, *LARGE_UNITS))

_PIECE = re.compile(rf"(?P<arabic>\d[\d,]*(?:\.\d+)?)|(?P<kanji>[{DIGIT_CLASS}]+)|(?P<unit>.)")


def parse_kanji(text: str) -> Fraction | None:
    """Give the value of a Japanese numeral, or None where it is not one.

    Arabic digits may stand for the kanji digits, with thousands separators and decimals
    ("1.5億"). Units must fall: 百千 is no number. A large unit needs a factor: 万 alone is a word.
    """
    total = section = Fraction(0)
    current: Fraction | None = None
    last_small = last_large = 10**20
    for piece in _PIECE.finditer(text):
        if piece["unit"] is None:
            if current is not None:
                return None
            current = _digits(piece)
        elif small := SMALL_UNITS.get(piece["unit"]):
            if small >= last_small or current == 0:
                return None
            section += (1 if current is None else current) * small
            current, last_small = None, small
        elif large := LARGE_UNITS.get(piece["unit"]):
            factor = section + (current or 0)
            if large >= last_large or factor == 0:
                return None
            total += factor * large
            section, current, last_small, last_large = Fraction(0), None, 10**20, large
        else:
            return None
    if not text:
        return None
    return total + section + (current or 0)


def _digits(piece: re.Match[str]) -> Fraction:
    """Read a run of digits by position, 二〇二四 as 2024."""
    if piece["arabic"] is not None:
        return Fraction(piece["arabic"].replace(",", ""))
    return Fraction(int("".join(str(DIGITS[char]) for char in piece["kanji"])))


# Words that begin or end with a kanji numeral and count nothing, or nothing certain (数百, 十数人).
# A numeral in running text is only looked at when there are no digits, so this list need not be
# long.
NOT_A_NUMERAL = re.compile(
    r"一(?=緒|般|番|方|部|旦|切|応|致|定|種|体|気|見|覧|言|瞬|貫|律|連|層|環|概|因|助|端|面|括|生)"
    r"|二(?=次|重|度と)|三(?=角)|四(?=角|則|捨|半期|国|季|方)|五(?=十音|感|輪)|六(?=角)|七(?=夕)"
    r"|八(?=百屋)|九(?=州)|十(?=分(?!の)|字)|百(?=科|貨)|千(?=葉|代)"
    r"|(?<=統|唯|同|第|単|均|随|逐|画|専|択)[一二三四五六七八九十]|(?<=万が)一|(?<=不)十"
    r"|(?:(?<=[何幾])|(?<=数)(?<![\u4e00-\u9fff]数))[十百千万億]"
    r"|[十百千万億](?=数(?:[人個本枚年回冊件名匹台日十百千]))"
)
