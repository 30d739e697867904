"""Finds documents that are marked confidential: 社外秘, 機密, CONFIDENTIAL and their like.

A mark stands apart from the sentences of a document. These are marks: a line with nothing but the
word (brackets, stars and the like around it do not count), the word in 【】 or [] anywhere, and
the word with a colon or a bar behind it in one of the first three lines. "This is confidential."
within a text is none.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_WORDS: Final = (
    r"(?:(?:関係者)?(?:社|部)?外秘|部内秘|極秘|厳秘|機密|機密情報|機密文書|社外秘資料|取扱注意|"
    r"(?:strictly |company |highly |private and |private & )?confidential|"
    r"top secret|(?:for )?internal use only|do not distribute|not for distribution)"
)
_LINE: Final = re.compile(rf"{_WORDS}(?:\s*[/|・,-]\s*{_WORDS})*", re.IGNORECASE)
_BRACKETS: Final = re.compile(rf"[【\[]\s*{_WORDS}\s*[】\]]", re.IGNORECASE)
_HEAD: Final = re.compile(rf"{_WORDS}\s*[:|]", re.IGNORECASE)
_DECORATION: Final = " \t\r()<>「」『』\u3014\u3015■□●○◆◇★☆*#_=~!.。-"
_HEAD_LINES: Final = 3


def is_marked(text: str) -> bool:
    """Whether a document is marked confidential."""
    folded = unicodedata.normalize("NFKC", text)
    if _BRACKETS.search(folded):
        return True
    lines = [line.strip(_DECORATION) for line in folded.splitlines() if line.strip()]
    if any(_LINE.fullmatch(line) for line in lines):
        return True
    return any(_HEAD.match(line) for line in lines[:_HEAD_LINES])
