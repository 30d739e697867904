"""Grader `choice`: the one option that a reply names, by its letter or by its text."""

from __future__ import annotations

import re
from functools import lru_cache
from string import ascii_uppercase
from typing import ClassVar, Literal

from pydantic import Field

from so8t.domain.language import is_japanese
from so8t.domain.sample import Score
from so8t.errors import DataError
from so8t.tasks.graders.denial import denied, denied_behind
from so8t.tasks.graders.spec import GraderSpec, require_reference
from so8t.tasks.graders.text import bare_box, boxed, collapse, fold, labelled, nfkc, normalize

_OPEN = r"[\s(\[{<「『【\"'`*_]*"
_CLOSE = r"[)\]}>」』】\"'`*_]*"
# What may follow a label that is meant as one: never a letter, so that "Blue" is not B.
_STOP = r"(?![A-Za-z0-9])"
_FILLER = re.compile(
    r"(?:\s*(?:option|choice|letter|therefore|clearly|probably|definitely|選択肢|次の|やはり|[:、,=]))*\s*",
    re.IGNORECASE,
)
_CONCLUSION = re.compile(
    r"(?:\b(?:so|therefore|thus|hence|I\s+choose|I\s+pick|I(?:'d|\s+would)\s+(?:choose|pick|say)"
    r"|correct\s+(?:one|statement)\s+is)\b|したがって|よって|ゆえに|だから|つまり|正しいのは|選ぶのは)[\s,、:]*",
    re.IGNORECASE,
)
_JOIN = re.compile(
    r"[)\]}」』】\"'`*_.]*\s*(?:,|、|/|&|\+|\bor\b|\band\b|または|もしくは|か|と|および|及び)\s*"
    r"(?:option\s+|both\s+)?",
    re.IGNORECASE,
)
# "The answer is A. Wait, no, it's B." 「答えはAです。いや、Bです。」
_CORRECTION = re.compile(
    r"(?:^|[.!?,:;\n\u2013\u2014-])[ \n]{0,2}"
    r"(?:(?:wait|no|actually|sorry|oops|hmm+|correction|scratch\s+that|on\s+second\s+thought)\b"
    r"[\s,.:;!\u2013\u2014-]*){1,4}"
    r"(?:it(?:['’]s|\s+is|\s+(?:should|must|has\s+to)\s+be)|I\s+mean|make\s+(?:it|that))[\s,:]*"
    r"|(?:^|[。、.!\n])[ \n]{0,2}(?:いや|いえ|待って(?:ください)?|訂正(?:します)?|失礼(?:しました)?"
    r"|間違え(?:ました|た)|すみません)[。、,.\s]*(?:正しくは|やはり|やっぱり)?、?"
    r"(?=[^。\n]{1,40}?(?:です|でした|だ))",
    re.IGNORECASE,
)
_DASH = re.compile(r"^[-\u2013]\s+")
_CLAUSE_END = re.compile(r"[\"'」』)*_`]*(?:[\s]*[,.:;。、!\n(-]|です|だ|という)")
# What goes on behind a letter, not behind an article: "A or B", "A is right", "A because".
_BEHIND_LETTER = (
    r"(?:or|and|but|is|was|isn't|seems|because|since|as|would|must|does|doesn't|cannot|can't|fits"
    r"|matches|works|remains|only|alone|then)\b"
)
# "A dog", "I think"
_WORD_GOES_ON = re.compile(rf"[ \t]+(?!{_BEHIND_LETTER})[A-Za-z']")
_ARTICLE = re.compile(rf"(?:an?|the)\s+(?!{_BEHIND_LETTER})(?=[a-z]{{2}})", re.IGNORECASE)
_NOUN = re.compile(rf"(?!{_BEHIND_LETTER})[a-z]{{2}}", re.IGNORECASE)
# What goes on behind the answer "no", not behind the determiner.
_BEHIND_NO = (
    r"(?:because|since|as|it|that|this|the|there|they|he|she|we|you|i|not|and|or|but|is|was|for|in"
    r"|to|with|if|so|yes|thanks|therefore|option|answer)\b"
)
# "1番", but not "1番大きい"
_COUNTER = r"(?:番目?(?=\s*(?:$|[\n。、.,:!?)」』*_]|です|だ|が|を|は|で|と|か|に)))"


class Choice(GraderSpec):
    """One option out of several, named by its label (A, B, ...) or by its text.

    The reference is a label or an option's text. A reply that names no option, or several
    without saying which of them it settles on, is in the wrong format: it scores 0.
    """

    rules: ClassVar[int] = 2

    type: Literal["choice"] = "choice"
    options: list[str] = Field(min_length=2, max_length=26, description="texts of the options")
    labels: list[str] | None = Field(
        default=None, description="names of the options; A, B, C, ... when left out"
    )
    equal: bool = Field(
        default=False,
        description="options may have equal texts, as published sets do; only labels name those",
    )

    def check(self, reference: str | None) -> None:
        """Refuse equal options, labels that do not fit and a reference outside the options."""
        text = require_reference(self.name, reference)
        levelled = [normalize(option) for option in self.options]
        for option, plain in zip(self.options, levelled, strict=True):
            if not plain:
                raise DataError(f"grader 'choice' has an option without text: {option!r}")
            if levelled.count(plain) > 1 and not self.equal:
                raise DataError(f"grader 'choice' has the option {option!r} twice")
        if self.labels is not None:
            plain_labels = [normalize(label) for label in self.labels]
            if len(self.labels) != len(self.options):
                raise DataError(
                    f"grader 'choice' has {len(self.labels)} labels for {len(self.options)} options"
                )
            if not all(plain_labels) or len(set(plain_labels)) != len(plain_labels):
                raise DataError("grader 'choice' has an empty label, or one twice")
        index = self.index_of(text)
        if index is None:
            raise DataError(
                f"grader 'choice': the reference {text!r} is none of the options",
                hint=f"write a label ({', '.join(self.names())}) or the text of one option",
            )

    def names(self) -> list[str]:
        """Give the label of each option."""
        return self.labels or list(ascii_uppercase[: len(self.options)])

    def index_of(self, reference: str) -> int | None:
        """Position of the option that a reference means, by its text first, then by its label.

        A text that is also the label of another option (options B, A) means the option.
        """
        plain = normalize(reference)
        for texts in (self.options, self.names()):
            levelled = [normalize(text) for text in texts]
            if levelled.count(plain) == 1:
                return levelled.index(plain)
        return None

    def score(self, reference: str | None, answer: str) -> Score:
        """Score 1 for the right option; 0 for another, none, or several."""
        right = self.index_of(reference or "")
        if right is None:
            return Score.unscored(f"the reference {reference!r} is none of the options")
        chosen = recognise(answer, tuple(self.options), tuple(self.names()))
        if isinstance(chosen, str):
            return Score.invalid(chosen)
        return Score.number(
            float(chosen == right), f"chose {self.names()[chosen]}: {self.options[chosen]}"[:120]
        )


def recognise(answer: str, options: tuple[str, ...], labels: tuple[str, ...]) -> int | str:
    """Return the position of the option that an answer settles on, or why there is none.

    In this order, the first that decides: the content of a box; what stands behind the last
    label ("the answer is") or correction ("no, it's"); what the reply begins with; its last line;
    what follows a last "so"; the only label named; the only option text named.
    """
    finder = _finder(options, labels)
    inside = boxed(answer)
    if inside is not None:
        answer = bare_box(inside)
    text = nfkc(answer).strip()
    for found in (
        finder.whole(text),
        finder.behind(text, sorted([*labelled(text), *_ends(_CORRECTION, text)])),
        finder.beginning(text),
        finder.whole(text.rsplit("\n", maxsplit=1)[-1]),
        finder.behind(text, _ends(_CONCLUSION, text)),
    ):
        if len(found) == 1:
            return next(iter(found))
        if found:
            return finder.several(found)
    texts, rest = finder.texts_named(text)
    # letters inside an option's text ("vitamin C") name no option
    named = finder.labels_named(rest) or texts
    if len(named) == 1:
        return next(iter(named))
    return finder.several(named) if named else "no choice recognised"


class _Finder:
    """Patterns for one list of options; every method gives the set of positions it finds."""

    def __init__(self, options: tuple[str, ...], labels: tuple[str, ...]) -> None:
        self._labels = labels
        self._texts = [normalize(option) for option in options]
        names = [nfkc(label).strip() for label in labels]
        self._letters = all(re.fullmatch("[A-Z]", name) for name in names)
        digits = all(re.fullmatch(r"\d{1,2}", name) for name in names)
        self._label_index = {name.casefold(): i for i, name in enumerate(names)}
        alternatives = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        counter = f"{_COUNTER}?" if digits else ""
        self._token = re.compile(
            rf"{_OPEN}(?P<label>{alternatives}){_STOP}{_CLOSE}{counter}", re.IGNORECASE
        )
        # In running text only capitals count, and A and I, which are words, only where they are
        # marked as labels.
        words = "".join(name for name in names if self._letters and name not in "AI")
        marked = (
            rf"\((?P<round>{alternatives})\)|\[(?P<square>{alternatives})\]"
            rf"|「(?P<quoted>{alternatives})」|\*\*(?P<bold>{alternatives})\*\*"
        )
        option = (
            r"(?:[Oo]ption|[Cc]hoice|[Ll]etter|[Aa]nswer|選択肢)\s*"
            rf"(?P<option>{alternatives}){_STOP}"
        )
        bare = rf"(?<![A-Za-z0-9'.+-])(?P<bare>[{words}])(?![A-Za-z0-9'+-])" if words else r"(?!)"
        article = (
            r"(?<![A-Za-z0-9'.+-])(?P<article>A)(?=[.,;:)、。]|\s*$|\s*\n|\s*[はがもをとかでだ]"
            rf"|\s+{_BEHIND_LETTER})"
            if self._letters
            else r"(?!)"
        )
        leading = rf"(?:^|\n)[ \t]*(?P<leading>{alternatives})[).:、。]\s"
        numbered = rf"(?<![0-9.])(?P<numbered>{alternatives}){_COUNTER}" if digits else r"(?!)"
        self._named = re.compile(f"{marked}|{option}|{leading}|{bare}|{article}|{numbered}")
        # a text that two options share names neither
        self._texts = [
            t if self._texts.count(t) == 1 else f"\0{i}" for i, t in enumerate(self._texts)
        ]
        self._texts = _without_articles(self._texts)
        sorted_texts = sorted(range(len(options)), key=lambda i: -len(self._texts[i]))
        self._text_patterns = [(i, _text_pattern(self._texts[i])) for i in sorted_texts]

    def several(self, found: set[int]) -> str:
        """Say which options were named."""
        return f"several choices named: {', '.join(self._labels[i] for i in sorted(found))}"

    def whole(self, text: str) -> set[int]:
        """Find the option that the text is, and nothing else: B, (b), **B.**, "B: the text"."""
        index = self._text_index(text)
        if index is not None:
            return {index}
        match = self._token.match(text)
        if not match:
            return set()
        index = self._label_index[match["label"].casefold()]
        rest = text[match.end() :].strip()
        if not rest.strip(".。!):*、") or rest in ("です", "です。", "だ", "だ。", "である。"):
            return {index}
        body = rest.lstrip(" .:)、。")
        # a dash is the text's own ("- 1/2") before it is one behind the label ("B - dog")
        for text_of in (body, _DASH.sub("", body, count=1)):
            other = self._text_index(text_of)
            if other is not None:
                return {index, other}
        return set()

    def _text_index(self, text: str) -> int | None:
        """Position of the option whose text this is, with or without an article."""
        plain = normalize(_unwrapped(text))
        return next((i for i, pattern in self._text_patterns if pattern.fullmatch(plain)), None)

    def behind(self, text: str, positions: list[int]) -> set[int]:
        """Find the option named right behind the last position that has one."""
        for position in reversed(positions):
            filler = _FILLER.match(text, position)
            start = filler.end() if filler else position
            found = self._at(text, start)
            if found:
                return found
        return set()

    def beginning(self, text: str) -> set[int]:
        """Find the option that the reply begins with, unless it begins by repeating the list."""
        listed = {
            match["leading"] for match in self._named.finditer(text) if match["leading"] is not None
        }
        if len(listed) > 1:
            return set()
        match = self._token.match(text)
        if match:
            after = text[match.end() : match.end() + 1]
            bracketed = match[0] != match["label"]
            if after in ("", "\n", ".", ":", ",", "、", "。", ")") or bracketed:
                found = self._at(text, 0)
                # "A and B are both tempting, but": several at the beginning settle nothing yet
                return found if len(found) == 1 else set()
        return self._text_at(text, 0, alone=True)

    def _at(self, text: str, start: int) -> set[int]:
        """Find the options named at a position: one, or several joined by "or", "and", a comma."""
        found: set[int] = set()
        while True:
            match = self._token.match(text, start)
            # "a" and "i" are words where a sentence goes on behind them
            if match and not self._is_word(text, match):
                if denied_behind(text, match.end()):
                    return set()
                found.add(self._label_index[match["label"].casefold()])
                end = match.end()
            else:
                return found | self._text_at(text, start, alone=bool(found))
            join = _JOIN.match(text, end)
            if not join:
                return found
            start = join.end()

    def _is_word(self, text: str, match: re.Match[str]) -> bool:
        """Whether a label is a word: "a dog", "I think", or the first one of an option's text."""
        if not self._letters:
            return False
        label, end = match["label"], match.end("label")
        for _, pattern in self._text_patterns:
            option = pattern.match(text, match.start("label"))
            if option and option.end() > end:
                return True
        closed = match.end() > end
        goes_on = bool(_WORD_GOES_ON.match(text[end : end + 20]))
        return goes_on and not closed and (label.islower() or label in "AI")

    def _text_at(self, text: str, start: int, *, alone: bool = False) -> set[int]:
        """Find the option texts at a position: the longest one, and others joined to it by "or".

        With `alone` only where a clause ends behind it ("Yes, ..."), not where it goes on.
        """
        piece = text[start : start + 1000].lstrip(" \t\n\"'`*_「『(")
        # any white space is a space, but a line that ends is told from words that go on
        lines = (collapse(fold(line)) for line in piece.split("\n"))
        plain = "\v".join(line for line in lines if line).rstrip(".。 ") + "\n"
        found: set[int] = set()
        position = 0
        listed = False
        while True:
            hits = ((i, pattern.match(plain, position)) for i, pattern in self._text_patterns)
            index, hit = next(((i, hit) for i, hit in hits if hit), (0, None))
            if hit is None or denied_behind(plain, hit.end()):
                return found
            join = _JOIN.match(plain, hit.end())
            if (alone or listed) and not (join or _CLAUSE_END.match(plain, hit.end())):
                return found if listed else set()
            found.add(index)
            if not join:
                return found
            # behind a comma another sentence may begin: "the dog, the cat meows"
            listed = join[0].rstrip().endswith((",", "、"))
            position = join.end()

    def labels_named(self, text: str) -> set[int]:
        """Find every label named in running text and not denied."""
        matches = list(self._named.finditer(text))
        refused = denied(text, [match.span() for match in matches])
        return {
            self._label_index[
                next(group for group in match.groups() if group is not None).casefold()
            ]
            for match, is_denied in zip(matches, refused, strict=True)
            if not is_denied
        }

    def texts_named(self, text: str) -> tuple[set[int], str]:
        """Find every option text that is not denied, longest first, and what is left of the reply.

        What a longer option covers is not looked at again: "black cat" does not name "cat".
        """
        found = set()
        for index, pattern in self._text_patterns:
            spans = [match.span() for match in pattern.finditer(text)]
            if not all(denied(text, spans)):
                found.add(index)
            # what stands before, between and behind
            edges = [0, *(edge for span in spans for edge in span), len(text)]
            text = "\0".join(text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))
        return found, text


@lru_cache(maxsize=256)
def _finder(options: tuple[str, ...], labels: tuple[str, ...]) -> _Finder:
    return _Finder(options, labels)


def _unwrapped(text: str) -> str:
    """Take away quotes, emphasis and brackets around a text, and a copula behind it."""
    bare = text.strip(" \t\n*_`\"'「」『』").rstrip(".。!")
    for copula in ("です", "だ"):
        if is_japanese(bare):
            bare = bare.removesuffix(copula)
    return bare.strip(" *_`\"'「」『』")


def _ends(pattern: re.Pattern[str], text: str) -> list[int]:
    """Positions right behind each match."""
    return [match.end() for match in pattern.finditer(text)]


def _without_articles(texts: list[str]) -> list[str]:
    """Options without the article that they begin with, as long as they still differ.

    Not where "a" is the name of something: "A only", "B only".
    """
    letters = any(re.match(r"[b-z](?![a-z0-9'])", text) for text in texts)
    if letters:
        return texts
    bare = [text[match.end() :] if (match := _ARTICLE.match(text)) else text for text in texts]
    return [short if bare.count(short) == 1 else texts[i] for i, short in enumerate(bare)]


def _text_pattern(text: str) -> re.Pattern[str]:
    """Match an option's text: at a letter only at the edge of a word, and numbers only whole.

    With or without an English article before it: "A dog" is the option dog.
    """
    left = r"(?<![A-Za-z0-9])" if text[0].isascii() and text[0].isalnum() else ""
    right = r"(?![A-Za-z0-9])" if text[-1].isascii() and text[-1].isalnum() else ""
    left += r"(?<![-\u2212/^])(?<!\d[.,])" if text[0].isdecimal() else ""
    right += r"(?![.,/^]\d)" if text[-1].isdecimal() else ""
    if text == "no":  # "no doubt", "no one knows", "no cat purrs"
        right += rf"(?![ \t]+(?!{_BEHIND_NO})[a-z])"
    elif _NOUN.match(text):
        left += r"(?:(?:an?|the)[ \t]+)?"
    words = r"\s+".join(re.escape(word) for word in text.split())
    return re.compile(left + words + right, re.IGNORECASE)
