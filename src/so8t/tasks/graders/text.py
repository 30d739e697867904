"""What every grader does to a reply before it looks at it: take the answer out, level the text.

Change a rule here, in `own_answer` or in `split_reply` and raise `TEXT_RULES`: it is part of every
grader's digest.
"""

from __future__ import annotations

import re
import unicodedata

from so8t.domain.thinking import split_reply
from so8t.tasks.graders.own_answer import own_answer

TEXT_RULES = 4

_SPACE = re.compile(r"\s+")
_KATAKANA_TO_HIRAGANA = {code: code - 0x60 for code in range(0x30A1, 0x30F7)}


def answer_of(reply: str) -> str:
    """Return the part of a reply that is graded, trimmed. It may be empty."""
    return own_answer(split_reply(reply).answer)


def nfkc(text: str) -> str:
    """Level full-width and half-width forms and compatibility characters."""
    return unicodedata.normalize("NFKC", text)


def fold(text: str) -> str:
    """NFKC, case-folded; folding can undo composition, so NFKC comes again."""
    return nfkc(nfkc(text).casefold())


def fold_kana(text: str) -> str:
    """Katakana as hiragana, so that the two writings of one word are equal."""
    return text.translate(_KATAKANA_TO_HIRAGANA)


def collapse(text: str) -> str:
    """Any run of white space becomes one space; none is left at the ends."""
    return _SPACE.sub(" ", text).strip()


def normalize(text: str, *, kana: bool = False) -> str:
    """Give the form in which two short answers are compared.

    NFKC, case-folded, white space collapsed, trimmed, without full stops at the end. With `kana`
    katakana and hiragana are equal.
    """
    text = collapse(collapse(fold(text)).rstrip(".。 "))
    return fold_kana(text) if kana else text


# What people and models write before an answer. The colon of the first form and the verb of the
# second are what makes a label: "answer" alone is a word like any other.
_LABEL_WORDS_EN = (
    r"(?:(?:final|correct|right|best|my)\s+){0,3}(?:answer|choice|option|solution|result)"
)
_LABEL_WORDS_JA = r"(?:最終(?:的な)?|私の)?(?:答え|答|解答|回答|正解|正答|解|結論|選択)"
LABEL = re.compile(
    rf"""
      \b{_LABEL_WORDS_EN}\b(?:\s+to\s+(?:the|this)\s+(?:question|problem))?[\s*_`"')\]]*
      (?P<colon_en>[:=]|[-–—](?=\s)|\bis\b:?|\b(?:would|must|should|has\s+to|will)\s+be\b)
    | \b(?:ans|response|selection|conclusion)\b[*_`]*(?:[:=]|\.(?=\s*\S{1, 4}\s*$))
    | {_LABEL_WORDS_JA}[\s*_`」』】\])]*(?:[:=]|→|->|=>|は|が|として、?)
    | 【{_LABEL_WORDS_JA}】 | ^[ \t■●*]*{_LABEL_WORDS_JA}[ \t]+(?=\S)
    | ^[ \t]*\#{{4}}(?=\s)
    | (?<![A-Za-z])A\s*:(?=\s|[^\s\w])
    """,
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)


def labelled(text: str) -> list[int]:
    """Positions right behind each label ("the answer is", "答え:", "####"), in order.

    `text` is NFKC already, which makes the full-width colon an ordinary one.
    """
    return [match.end() for match in LABEL.finditer(text)]


_BRACES = re.compile(r"\\[{}]|(\\(?:boxed|fbox)[ \t]*\{)|[{}]")


def boxed(text: str) -> str | None:
    r"""Return what the last `\boxed{...}` that is closed holds; None without one."""
    # one pass with a stack: a page of boxes that never close costs no more than any other page
    open_braces: list[int | None] = []
    found: tuple[int, int] | None = None
    for brace in _BRACES.finditer(text):
        if brace[1]:
            open_braces.append(brace.end())
        elif brace[0] == "{":
            open_braces.append(None)
        elif brace[0] == "}" and open_braces:
            start = open_braces.pop()
            if start is not None and (found is None or start > found[0]):
                found = start, brace.start()
    return None if found is None else text[found[0] : found[1]]


_TEXT_COMMAND = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|operatorname)[ \t]*\{([^{}]*)\}"
)


def bare_box(inside: str) -> str:
    r"""Return what a box holds without `\text{...}` and the like around words."""
    return _TEXT_COMMAND.sub(r"\1", inside)


# Pairs that may stand around an answer; the longer mark first.
_QUOTES = ("「」", "『』", '""', "\u201c\u201d", "''", "\u2018\u2019")
_EMPHASIS = ("***", "**", "*", "```", "`")
_PAIRS = tuple([(mark, mark) for mark in _EMPHASIS] + [(pair[0], pair[1]) for pair in _QUOTES])
# Only around a reply: `__init__` as a reference is not `init`.
_REPLY_PAIRS = (*_PAIRS, ("__", "__"), ("_", "_"), ("(", ")"), ("【", "】"))
# 5! and n! are other than 5 and n
_CLOSING_SIGN = re.compile(r"(?:(?<=[^\W\d_]{2})|(?<=[\u3040-\u30ff\u3400-\u9fff」』\"*]))[!?]+$")
_COPULA = re.compile(r"(?:です|でした|である|(?<=[\u30a0-\u30ff\u3400-\u9fff」』\"*])だ)$")
_MOST_LAYERS = 12


def layers(text: str, *, reply: bool) -> list[str]:
    """Give an answer normalized, then without one thing after the other around it.

    Quotes, 「」, 『』, Markdown emphasis, a closing `!` or `?`; around a reply also round brackets
    and です, でした, だ. Nothing is taken away that leaves nothing.
    """
    found = [normalize(text)]
    while len(found) < _MOST_LAYERS:
        inner = normalize(_peeled(found[-1], reply=reply))
        if inner in ("", found[-1]):
            break
        found.append(inner)
    return found


def _peeled(text: str, *, reply: bool) -> str:
    """Take one thing from around a text; the text itself where there is none."""
    for opening, closing in _REPLY_PAIRS if reply else _PAIRS:
        if text.startswith(opening) and text.endswith(closing):
            inner = text[len(opening) : len(text) - len(closing)]
            if len(text) > len(opening) + len(closing) and not (
                opening in inner or closing in inner
            ):
                return inner
    bare = _CLOSING_SIGN.sub("", text)
    return _COPULA.sub("", bare) if reply and bare == text else bare
