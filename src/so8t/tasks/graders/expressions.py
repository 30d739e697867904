"""What stands around a number and makes it no answer: operators, roots, denials, asides, a box."""

from __future__ import annotations

import re

from so8t.tasks.graders.numerals import Number, NumeralKind, find_numbers, find_words, prepare

# What may stand between two numbers of one expression: a unit and an operator.
_OPERATOR = re.compile(
    r"[ ]?[^\W\d_]{0,12}[)\]}]?[ ]?(?P<op>[-+*/×÷=≈~〜]|x|\bor\b|\bto\b|または|もしくは|あるいは)"
    r"[ ]?[(\[$¥€£]{0,3}"
)
_UNIT_LENGTH = 40
_LOOK_BACK = 48


def operator_between(text: str, one: Number, other: Number) -> str | None:
    """Return the operator that joins two neighbouring numbers, or None."""
    gap = text[one.stop : other.start]
    # the minus that was read as part of the second number, and did not make it negative
    if text[other.start] == "-" and other.value >= 0:
        gap += "-"
    match = _OPERATOR.fullmatch(gap) if len(gap) <= _UNIT_LENGTH else None
    return match["op"] if match else None


def joined_by(text: str, one: Number, other: Number, operators: str) -> bool:
    """Tell whether one of these characters joins two neighbouring numbers."""
    return operator_between(text, one, other) in tuple(operators)


# denials -------------------------------------------------------------------------------------

#: A text without a match denies no number.
MAY_DENY = re.compile(
    r"not\b|n['’]t|never|n?either|nor\b|rather|instead|≠|\\ne|wrong|incorrect|false"
    r"|では|じゃ|でない|は間違|は誤",
    re.IGNORECASE,
)
_DENIED_BEFORE = re.compile(
    r"""(?:(?:\b(?:can)?not|n['’]t|\bnever|\bneither|\bnor|\brather[ ]than|\binstead[ ]of)\s{1,2}
          (?:(?:be|just|simply|only|exactly|equal|to|the[ ]number)\s{1,2}){0,2}
        | (?:≠|\\neq?)[ ]?)
        [("'「『\[\\]{0,3}$""",
    re.IGNORECASE | re.VERBOSE,
)
# ではないか asks for assent, and ではなければならない demands.
_DENIED_BEHIND = re.compile(
    r"""[)\]"'*」』]{0,2}
    (?: [^\n。.、,!?\d一二三四五六七八九十百千]{0,6}?
        (?: (?:では|じゃ)
            (?: な(?:く|かっ|さ|い(?!(?:の|ん)?(?:でしょう|だろう|です)?(?:か(?!も)|\?)))
              | あり(?:ません(?!か|\?)|得|え))
          | でない(?=[。.]|\s|です|\Z)
          | は(?:間違|誤り))
      | [ ]?(?:is|are|was)(?:n['’]t|[ ]not)[ ]
            (?:(?:the|an)[ ])?(?:final[ ])?(?:right|correct|answer|result|solution)
      | [ ]?(?:is|was)[ ](?:wrong|incorrect|false)\b)""",
    re.VERBOSE,
)


def is_denied(text: str, start: int, stop: int) -> bool:
    """Tell whether a text says that what stands at `start` to `stop` is not the answer."""
    return bool(
        _DENIED_BEFORE.search(text[max(0, start - _LOOK_BACK) : start])
        or _DENIED_BEHIND.match(text, stop)
    )


# roots, multiples, variables -------------------------------------------------------------------

# No space: "\sqrt{25} is 5" has its root behind it.
_ROOT_BEFORE = re.compile(r"(?:√|\\[dtc]?frac|\\?sqrt)[A-Za-z0-9{}\\^(\[\]/-]{0,30}$")
_MULTIPLE = re.compile(r"[ ]?[*×·]?[ ]?(?:\\(?:sqrt|pi)(?![a-z])|[√π]|(?:sqrt|pi)\b)")
# 3x and 2ab, and neither 3x as many nor the units 5 m, 5 g and 5 s.
_VARIABLE = re.compile(
    r"(?:[ ]?[abeijknqruvwxyz]|[abxyz]{2,3})(?=\s*(?:$|[.,;](?:\s|$)|[-+*/^_()=$\\}]))"
)


def of_an_expression(text: str, number: Number, *, variables: bool) -> bool:
    """Tell whether a number is a part of √2, 2√2 or 3π; with `variables` also of 3x."""
    before = text[max(0, number.start - _LOOK_BACK) : number.start]
    return bool(
        _ROOT_BEFORE.search(before)
        or _MULTIPLE.match(text, number.stop)
        or (variables and _VARIABLE.match(text, number.stop))
    )


# asides ----------------------------------------------------------------------------------------

_ASIDE = 120
_ASIDE_END = re.compile(r"[^()\n]{0,60}\)[ ]?(?:です|[。.!]|\s*\Z)")
_UNIT_BEFORE_ASIDE = re.compile(r"[^\d\n.。!?:;=,、()+*×÷^-]{1,24}")


def aside_behind(text: str, numbers: list[Number]) -> int:
    """Where the numbers end that no closing aside holds: 1 for "5 apples (from 2 + 3)".

    An aside is a parenthesis right behind a number and its unit, at the end of a sentence, with
    several numbers in it and no "=" that concludes them. A single number there may be the answer.
    """
    count = len(numbers)
    last = numbers[-1]
    start = text.rfind("(", max(0, last.start - _ASIDE), last.start)
    if start < 0 or ")" in text[start : last.start] or not _ASIDE_END.match(text, last.stop):
        return count
    first = count - 1
    while first > 0 and numbers[first - 1].start > start:
        first -= 1
    if first == 0 or first == count - 1:
        return count
    gap = text[numbers[first - 1].stop : start]
    if not _UNIT_BEFORE_ASIDE.fullmatch(gap) or _OPERATOR.fullmatch(gap):
        return count
    return count if joined_by(text, numbers[-2], last, "=≈") else first


# 1 234 -----------------------------------------------------------------------------------------

_SPACED = re.compile(
    r"[\s*_`$¥€£(]{0,8}-?(?P<number>[1-9]\d{0,2}(?:[ ]\d{3}){1,6})(?:\.\d{1,40})?(?![\d,])"
    r"(?=[ ]?(?:dollars|euros|yen|円|€|\\?%)?(?:です)?[ \t*_`.。)\]}$\\]{0,10}$)",
    re.MULTILINE,
)


def spaced_thousands(text: str, position: int) -> tuple[int, int] | None:
    """Where 1 234 stands, if it stands at `position` and is all that its line goes on to say."""
    match = _SPACED.match(text, position)
    return None if match is None else match.span("number")


# boxes -----------------------------------------------------------------------------------------

_RAISED = re.compile(r"\^[ ]?\{?[ ]?(?:\\circ|\\degree|°|(?:st|nd|rd|th)(?![a-z]))[ ]?\}?")
_SUBSCRIPT = re.compile(r"_(?:\{[^{}]{0,20}\}|\w)")
# The commands that print no part of an expression; any other one is mathematics.
_TYPOGRAPHY = re.compile(
    r"\\(?:[,;:!> ()\[\]]|(?:q?quad|displaystyle|textstyle|left|right|[bB]igg?[lr]?|mathbf|mathit"
    r"|mathsf|mathrm|textit|textrm|textsf|boldsymbol|bm|bf|rm|it|operatorname|large|Large|small"
    r"|normalsize|ldots|dots|degree|circ|Omega|ohm|mu|yen|euro|pounds|underline|unit)(?![A-Za-z]))"
)
_SECOND_STATEMENT = re.compile(r"[,;、](?!\d{3})|\b(?:and|or)\b|または|\\q?quad")
_SIGN = re.compile(r"^[\s$({]*(?P<sign>[-+])\s*(?=[\d.$¥€£])")
_TRAILING_ASIDE = re.compile(r"(?<=[^\d(])\([^()]*\)\s*$")
_OPERATION_BEFORE = re.compile(r"[-+*/×÷^!|][\s({\[]*+$|[<>≤≥≠±√∞∈]|\\[A-Za-z]|\b(?:log|ln|sqrt)\b")
_OPERATION_BEHIND = re.compile(
    r"[\s)}\]]*+(?:[+×÷^!(]|\*\s*\S|-\s*(?:[\s({]|[a-z]\b)|/\s*[({a-z](?![a-z]))"
    r"|[^\n]*?(?:[<>≤≥≠±√π∞∈]|\\[A-Za-z]|\bor\b|または|もしくは|あるいは)"
)


def read_box(inside: str) -> Number | str:
    r"""Return the one number that a `\boxed{...}` holds, or why it is not one number.

    A name before "=", a unit, words and a closing parenthesis may stand with it. Of equations one
    after another it is the last value: 8 of `3 + 5 = 8`.
    """
    text = _RAISED.sub("", prepare(inside))
    text = _SUBSCRIPT.sub("", text)
    parts = re.split(r"[=≈]", text)
    if any(_SECOND_STATEMENT.search(part) for part in parts[1:-1]):
        return _expression(inside)
    for part in reversed(parts):
        value = _one_number(part)
        if value is not None:
            return value if isinstance(value, Number) else _expression(inside)
    return "no number in the reply"


def _one_number(part: str) -> Number | str | None:
    """Return the number that a side of an equation is, "" for an expression, None without any."""
    part = _TYPOGRAPHY.sub(" ", part).strip()
    part = _SIGN.sub(lambda match: match["sign"].replace("+", ""), part)
    spaced = spaced_thousands(part, 0)
    if spaced is not None:
        part = part[: spaced[1]].replace(" ", ",") + part[spaced[1] :]
    if _any_number(part[: part.rfind("(")] if "(" in part else ""):
        part = _TRAILING_ASIDE.sub("", part)
    numbers = _any_number(part)
    if len(numbers) != 1:
        return "" if numbers else None
    number = numbers[0]
    before, behind = part[: number.start], part[number.stop :]
    if part[number.start] == "-" and number.value > 0:
        return ""
    if _OPERATION_BEFORE.search(before) or _OPERATION_BEHIND.match(behind):
        return ""
    return "" if of_an_expression(part, number, variables=True) else number


def _any_number(text: str) -> list[Number]:
    """Give the numbers in digits, else those in kanji, else those in words."""
    numbers = find_numbers(text)
    return [one for one in numbers if one.kind is NumeralKind.DIGITS] or numbers or find_words(text)


def _expression(inside: str) -> str:
    return f"an expression, not a number: {inside.strip()}"[:120]
