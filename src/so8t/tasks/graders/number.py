"""Grader `number`: the number that a reply gives as its answer."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar, Literal

from pydantic import Field

from so8t.domain.sample import Sample, Score
from so8t.errors import DataError
from so8t.tasks.graders.expressions import (
    MAY_DENY,
    aside_behind,
    is_denied,
    joined_by,
    of_an_expression,
    operator_between,
    read_box,
    spaced_thousands,
)
from so8t.tasks.graders.numerals import Number, NumeralKind, find_numbers, find_words, prepare
from so8t.tasks.graders.own_answer import whole_sentences
from so8t.tasks.graders.spec import GraderSpec, require_reference
from so8t.tasks.graders.text import LABEL, boxed, nfkc

# Between a label and its number: currency, brackets, "about", "x =". Nothing that could hold
# another statement: "Answer: Tom has 3 and buys 5, so 8" is not an answer of 3.
_FILLER = re.compile(
    r"""[\s*_`"'「『(\[,、:=]*
    (?:(?:about|approximately|approx\.?|around|exactly|just|simply|therefore|thus|then|
         equal\ to|約|およそ|ちょうど|合計で?|全部で|計|[a-zA-Z]\s*=)\s*,?\s*)*
    [\s*_`"'「『(\[,、:$\\]*""",
    re.VERBOSE,
)
# A lone "one" at the end of a short sentence is a number behind these: "It is one."
_STATES = re.compile(
    r"(?:^|[.!?\n])[^.!?\n]{0,40}(?:\b(?:is|are|was|were|be|equals?|makes?|gives?|leaves?)|=)"
    r"[ ](?:(?:only|just|exactly)[ ])?$"
)
_SENTENCE_END = re.compile(r"[ ]?[.!]?\s*(?:$|\n)|[.!]\s")
_SHORT = 60
_TWO_GROUPS = re.compile(r"\d \d{3}(?!\d)")
_EQUALS = "=≈"
# A note behind an answer tells of what it is made, or of another price: (内訳 ...).
_NOTE = re.compile(
    r"(?<=\S)\s?\((?:内訳|税込|税抜|税別|うち|参考|※|注|including|incl\.|of\s+which|breakdown)"
    r"[^()\n]{0,200}\)",
    re.IGNORECASE,
)


class NumberGrader(GraderSpec):
    """Equal as numbers, whatever the notation; units are not compared.

    The number is taken from the last box, else from behind the last label, else it is the last
    one of the reply. `tolerance` is an absolute difference, `relative_tolerance` a share of the
    reference; both are 0 by default, and arithmetic is exact.
    """

    rules: ClassVar[int] = 3

    type: Literal["number"] = "number"
    tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="absolute")
    relative_tolerance: float = Field(
        default=0.0, ge=0, lt=1, allow_inf_nan=False, description="share of the reference"
    )

    def check(self, reference: str | None) -> None:
        """Refuse a reference that is not exactly one number."""
        text = require_reference(self.name, reference)
        if single_number(text) is None:
            raise DataError(
                f"grader 'number' compares with a number, and the reference is {text!r}",
                hint="write one number, such as 1200, 1,200, 3/4, 25% or 三千五百",
            )

    def score(self, reference: str | None, answer: str) -> Score:
        """Score 1 for the right number, 0 for another or none."""
        right = single_number(reference or "")
        if right is None:
            return Score.unscored(f"the reference {reference!r} is not one number")
        given = answer_number(answer)
        if isinstance(given, str):
            return Score.invalid(given)
        return Score.number(float(self._equal(given, right)), _shown(given))

    def score_cut(self, sample: Sample, answer: str) -> Score | None:
        """A number in a closed box, or behind a label in a whole sentence, is the answer."""
        whole = answer if boxed(answer) is not None else whole_sentences(answer)
        if boxed(whole) is None and not LABEL.search(nfkc(whole)):
            return None
        score = self.score(sample.reference, whole)
        return score if score.valid else None

    def _equal(self, given: Number, right: Number) -> bool:
        """Compare the values; 25 % against a number without the sign may be 25 or 0.25."""
        pairs = [(given.value, right.value)]
        if given.percent and not right.percent:
            pairs.append((given.value / 100, right.value))
        elif right.percent and not given.percent:
            pairs.append((given.value, right.value / 100))
        if not (self.tolerance or self.relative_tolerance):
            return any(one == other for one, other in pairs)
        room = max(Fraction(self.tolerance), Fraction(self.relative_tolerance) * abs(right.value))
        return any(abs(one - other) <= room for one, other in pairs)


@lru_cache(maxsize=1024)
def single_number(text: str) -> Number | None:
    """Read a text that states exactly one number, perhaps with a unit; None for any other."""
    text = prepare(text)
    numbers = find_numbers(text)
    certain = [number for number in numbers if number.kind is NumeralKind.DIGITS]
    numbers = certain or numbers or find_words(text)
    return numbers[0] if len(numbers) == 1 else None


def answer_number(answer: str) -> Number | str:
    """Return the number that a reply gives as its answer, or a reason why there is none."""
    inside = boxed(answer)
    if inside is not None:
        return read_box(inside)
    text = _with_thousands_joined(prepare(answer))
    text = _NOTE.sub("", text)
    numbers = find_numbers(text)
    words = find_words(text)
    labelled = _behind_label(text, sorted([*numbers, *words], key=lambda number: number.start))
    if labelled is not None:
        return labelled
    if MAY_DENY.search(text):
        numbers, words = _not_denied(text, numbers), _not_denied(text, words)
    certain = [number for number in numbers if number.kind is NumeralKind.DIGITS]
    # "the last one" and 一人で count nothing beside digits, and little without them
    return _last_of(text, certain or numbers or _without_pronouns(words, text))


def _with_thousands_joined(text: str) -> str:
    """Read 1 234 as 1,234 where it is the whole reply, or all that a label points at."""
    if not _TWO_GROUPS.search(text):
        return text
    found = spaced_thousands(text, 0)
    if found is not None and "\n" not in text.strip():
        places = [found]
    else:
        fillers = (_FILLER.match(text, label.end()) for label in LABEL.finditer(text))
        places = [place for f in fillers if f and (place := spaced_thousands(text, f.end()))]
    for start, stop in places:
        text = text[:start] + text[start:stop].replace(" ", ",") + text[stop:]
    return text


def _not_denied(text: str, numbers: list[Number]) -> list[Number]:
    """Leave out "not 5" and 5ではない, with the expression that each begins or ends."""
    kept: list[Number] = []
    index = 0
    while index < len(numbers):
        end = _chain_end(text, numbers, index)
        if not is_denied(text, numbers[index].start, numbers[end].stop):
            kept += numbers[index : end + 1]
        index = end + 1
    return kept


def _without_pronouns(words: list[Number], text: str) -> list[Number]:
    """Leave out a lone "one" unless the reply says little else, or a sentence states it."""
    if len(text.split()) <= len(words) + 1:
        return words
    return [
        word
        for word in words
        if text[word.start : word.stop].lower() not in ("one", "half")
        or (
            _STATES.search(text[max(0, word.start - _SHORT) : word.start])
            and _SENTENCE_END.match(text, word.stop)
        )
    ]


def _behind_label(text: str, numbers: list[Number]) -> Number | str | None:
    """Return what the last label points at, or None where no label has a number right behind."""
    result: Number | str | None = None
    index = 0
    for label in LABEL.finditer(text):
        filler = _FILLER.match(text, label.end())
        stop = filler.end() if filler else label.end()
        while index < len(numbers) and numbers[index].start < label.end():
            index += 1
        if index == len(numbers) or numbers[index].start > stop:
            continue
        end = _chain_end(text, numbers, index)
        if is_denied(text, numbers[index].start, numbers[end].stop):
            continue
        result = _conclusion(text, numbers[index : end + 1], labelled=True)
    return result


def _last_of(text: str, numbers: list[Number]) -> Number | str:
    """Return the last number, with the expression that it ends taken whole."""
    usable = [number for number in numbers if not number.enumerator] or numbers
    if not usable:
        return "no number in the reply"
    usable = usable[: aside_behind(text, usable)]
    start = len(usable) - 1
    while start > 0 and operator_between(text, usable[start - 1], usable[start]):
        start -= 1
    return _conclusion(text, usable[start:])


def _chain_end(text: str, numbers: list[Number], index: int) -> int:
    """Index of the last number of the expression that begins at `index`."""
    while index + 1 < len(numbers) and operator_between(text, numbers[index], numbers[index + 1]):
        index += 1
    return index


def _conclusion(text: str, chain: list[Number], *, labelled: bool = False) -> Number | str:
    """Return the value of an expression that ends in "= 8"; no other expression is an answer."""
    start, stop = chain[0].start, chain[-1].stop
    if len(chain) == 1 or joined_by(text, chain[-2], chain[-1], _EQUALS):
        if not of_an_expression(text, chain[-1], variables=labelled):
            return chain[-1]
        start, stop = max(0, chain[-1].start - 8), stop + 4
    return f"an expression, not a number: {text[start:stop]}"[:120]


def _shown(number: Number) -> str:
    """Write what was read, for a person to check."""
    value = number.value
    if value.denominator == 1:
        text = str(value.numerator)
    else:
        try:
            text = f"{float(value):.10g}"
        except OverflowError:
            text = "a number beyond 1e308"
    return f"read {text}{'%' if number.percent else ''}"[:120]
