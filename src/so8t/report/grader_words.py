"""What a grader said of an answer, in the language of the report.

The journal keeps the words that a grader recorded, in English. The English words of `grader.*` are
those words, so they are also what is recognised; anything else is shown as it was recorded.
"""

from __future__ import annotations

import re
import string
from functools import cache

from so8t.report.text import Text


def grader_words(reason: str, grader: str, text: Text) -> str:
    """Give `reason`, which a grader of type `grader` recorded, in the language of `text`."""
    if text.language == "en":
        return reason
    for kind in (grader, "any"):
        for key, pattern in _patterns(f"grader.{kind}.").items():
            if match := pattern.fullmatch(reason):
                return text(key, **match.groupdict())
    return reason


@cache
def _patterns(prefix: str) -> dict[str, re.Pattern[str]]:
    return {
        key: re.compile(
            "".join(
                re.escape(literal) + (f"(?P<{name}>.*)" if name else "")
                for literal, name, _, _ in string.Formatter().parse(words)
            ),
            re.DOTALL,
        )
        for key, words in Text("en").beginning_with(prefix).items()
    }
