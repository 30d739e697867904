"""What every grader does to a reply before it looks at it: take the answer out, level the text.

Change a rule here and raise `TEXT_RULES`: it is part of every grader's digest.
"""

from __future__ import annotations

import re
import unicodedata

TEXT_RULES = 1

# <think>, <thinking>, <think-task>, <think-safety>, <thought>, <reasoning>, <reflection>
_THINK_TAG = re.compile(
    r"<(/?)(?:think(?:ing)?(?:[-_][a-z0-9]+)*|thoughts?|reasoning|reflection)\s*/?>", re.IGNORECASE
)
_FINAL_TAG = re.compile(r"<(/?)final\s*>", re.IGNORECASE)
# The harmony format of gpt-oss, for servers that hand it on unparsed.
_FINAL_CHANNEL = "<|channel|>final<|message|>"
_HARMONY_END = re.compile(r"<\|(?:end|return|call)\|>")
_SPACE = re.compile(r"\s+")
_KATAKANA_TO_HIRAGANA = {code: code - 0x60 for code in range(0x30A1, 0x30F7)}


def strip_thinking(text: str) -> str:
    """Return the reply without its thinking parts.

    A closing tag without an opening one (templates that put `<think>` into the prompt) ends a
    thinking part that began with the reply. An opening tag that is never closed begins one that
    lasts to the end: a reply that was cut while thinking has no answer. Thinking parts do not
    nest; the first closing tag ends them, which is what the models themselves do.
    """
    kept: list[str] = []
    inside = False
    last = 0
    for tag in _THINK_TAG.finditer(text):
        closing = tag.group(1) == "/"
        if closing and not inside:
            kept.clear()
        elif not closing and not inside:
            kept.append(text[last : tag.start()])
        inside = not closing
        last = tag.end()
    if not inside:
        kept.append(text[last:])
    return "".join(kept)


def final_part(text: str) -> str:
    """Return what stands in the last `<final>` (or final channel), or the text itself."""
    _, found, channel = text.rpartition(_FINAL_CHANNEL)
    if found:
        text = _HARMONY_END.split(channel, maxsplit=1)[0]
    start: int | None = None
    end = len(text)
    for tag in _FINAL_TAG.finditer(text):
        if tag.group(1) != "/":
            start, end = tag.end(), len(text)
        elif start is not None and end == len(text):
            end = tag.start()
    return text if start is None else text[start:end]


def answer_of(reply: str) -> str:
    """Return the part of a reply that is graded, trimmed. It may be empty."""
    return final_part(strip_thinking(reply)).strip()


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
      \b{_LABEL_WORDS_EN}\b[\s*_`"')\]]*(?P<colon_en>[:=]|\bis\b:?|\bwould\s+be\b|\bmust\s+be\b)
    | {_LABEL_WORDS_JA}[\s*_`」』】\])]*(?:[:=]|は|が|として、?)
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
