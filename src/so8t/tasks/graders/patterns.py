"""Graders `keywords` and `regex`: what must, may and must not stand in a reply."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, ClassVar, Literal

from pydantic import Field

from so8t.domain.sample import Sample, Score
from so8t.errors import DataError
from so8t.tasks.graders.spec import GraderSpec
from so8t.tasks.graders.text import collapse, fold, fold_kana

# A pattern that takes longer than this on one reply would take hours on another.
TIMEOUT_SECONDS = 1.0


class Keywords(GraderSpec):
    """All of `all`, at least one of `any`, none of `none`.

    Compared after NFKC and case folding. A keyword that begins or ends with a letter or digit of
    an alphabet with spaces between words begins or ends a word there: "cat" is not in
    "concatenate", 猫 is in 黒猫は. A number at either end is a whole number there: "3" is not in
    "3.5", "100" not in "1,100". "C" is neither in "C++" nor in "C#".
    """

    rules: ClassVar[int] = 2

    type: Literal["keywords"] = "keywords"
    any: list[str] = Field(default=[], description="at least one of these")
    all: list[str] = Field(default=[], description="every one of these")
    none: list[str] = Field(default=[], description="none of these")
    kana: bool = Field(default=False, description="katakana and hiragana are equal")

    def check(self, reference: str | None) -> None:
        """Refuse a grader without keywords, and a keyword without text."""
        if reference is not None and not reference.strip():
            raise DataError("grader 'keywords' has an empty reference", hint="leave it out")
        if not (self.any or self.all):
            raise DataError(
                "grader 'keywords' has nothing to look for",
                hint='give "any": [...] or "all": [...]',
            )
        for keyword in (*self.any, *self.all, *self.none):
            if not collapse(fold(keyword)):
                raise DataError(f"grader 'keywords' has a keyword without text: {keyword!r}")

    def score(self, reference: str | None, answer: str) -> Score:  # noqa: ARG002 - has none
        """Score 1 when every condition holds, else 0 with the first that does not."""
        text = self._level(answer)
        missing = [word for word in self.all if not self._stands_in(word, text)]
        if missing:
            return Score.number(0.0, f"missing: {missing[0]}")
        unwanted = [word for word in self.none if self._stands_in(word, text)]
        if unwanted:
            return Score.number(0.0, f"unwanted: {unwanted[0]}")
        found = [word for word in self.any if self._stands_in(word, text)]
        if self.any and not found:
            return Score.number(0.0, "none of the keywords")
        return Score.number(1.0, f"found: {(found or self.all)[0]}")

    def score_cut(self, sample: Sample, answer: str) -> Score | None:  # noqa: ARG002 - has none
        """An unwanted word stays; wanted ones are there where nothing is unwanted."""
        if any(self._stands_in(word, self._level(answer)) for word in self.none):
            return self.score(None, answer)
        found = self.score(None, answer)
        return found if found.value == 1.0 and not self.none else None

    def _level(self, text: str) -> str:
        text = collapse(fold(text))
        return fold_kana(text) if self.kana else text

    def _stands_in(self, keyword: str, text: str) -> bool:
        return bool(_keyword_pattern(self._level(keyword)).search(text))


# Letters and digits of scripts that put spaces between words; kana and kanji are not among them.
_WORD = "0-9a-z_\u00df-\u024f\u0370-\u052f"


@lru_cache(maxsize=1024)
def _keyword_pattern(keyword: str) -> re.Pattern[str]:
    left = rf"(?<![{_WORD}])" if re.match(rf"[{_WORD}]", keyword) else ""
    right = rf"(?![{_WORD}])" if re.search(rf"[{_WORD}]$", keyword) else ""
    if re.match(r"[0-9]", keyword):
        left += r"(?<![0-9]\.)"
    if re.match(r"[0-9]{3}(?![0-9])", keyword):
        left += r"(?<![0-9],)"
    if re.search(r"[0-9]$", keyword):
        right += r"(?!\.[0-9]|,[0-9]{3}(?![0-9]))"
    elif right:
        # A+B has an A in it; A+ is another mark, and C++ and C# are other languages
        right += r"(?!\+\+|[+#](?![\w(]))"
    return re.compile(left + re.escape(keyword) + right)


class Regex(GraderSpec):
    """A pattern found in the reply, or one that the whole reply matches.

    The syntax is that of the `regex` package, which has Python's and more. The reply is not
    levelled first. A search that takes longer than a second is ended and unscored.
    """

    rules: ClassVar[int] = 1

    type: Literal["regex"] = "regex"
    pattern: str = Field(min_length=1, description="a regular expression, Python syntax")
    match: Literal["search", "full"] = Field(
        default="search", description="somewhere in the reply, or all of it"
    )
    ignore_case: bool = False

    def check(self, reference: str | None) -> None:
        """Refuse a pattern that does not compile, or that an empty reply would match."""
        if reference is not None and not reference.strip():
            raise DataError("grader 'regex' has an empty reference", hint="leave it out")
        import regex  # type: ignore[import-untyped] # noqa: PLC0415 - as below

        try:
            compiled = _compiled(self.pattern, self.ignore_case)
        except regex.error as error:
            raise DataError(f"grader 'regex': {self.pattern!r} is no pattern: {error}") from error
        if self.match == "search" and compiled.search("") is not None:
            raise DataError(
                f"grader 'regex': {self.pattern!r} is found in every reply, even an empty one"
            )

    def score(self, reference: str | None, answer: str) -> Score:  # noqa: ARG002 - has none
        """Score 1 for a match, 0 for none; unscored where the search takes too long."""
        if self._search(answer) is None:
            return Score.number(0.0, "no match")
        return Score.number(1.0, "match")

    def score_cut(self, sample: Sample, answer: str) -> Score | None:  # noqa: ARG002 - has none
        """What a search has found is found."""
        found = self.score(None, answer) if self.match == "search" else None
        return found if found is not None and found.value == 1.0 else None

    def _search(self, answer: str) -> Any:
        compiled = _compiled(self.pattern, self.ignore_case)
        if self.match == "full":
            return compiled.fullmatch(answer, timeout=TIMEOUT_SECONDS)
        return compiled.search(answer, timeout=TIMEOUT_SECONDS)


@lru_cache(maxsize=256)
def _compiled(pattern: str, ignore_case: bool) -> Any:
    # Python's `re` has no time limit.
    import regex  # noqa: PLC0415 - only these graders need it

    return regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)


def search_within_limit(pattern: str, text: str) -> bool:
    """Search with a time limit.

    Raises:
        TimeoutError: the limit has passed.

    """
    return _compiled(pattern, False).search(text, timeout=TIMEOUT_SECONDS) is not None
