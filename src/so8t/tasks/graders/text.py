"""What every grader does to a reply before it looks at it: take the answer out, level the text.

Change a rule here and raise `TEXT_RULES`: it is part of every grader's digest.
"""

from __future__ import annotations

import re
import unicodedata

TEXT_RULES = 2

# <think>, <thinking>, <think-task>, <think-safety>, <thought>, <reasoning>, <reflection>; the marks
# of Seed-OSS, Magistral, Kimi, OpenThinker. A kind of mark ends what its own kind began.
_THINK_TAG = re.compile(
    r"""
      <(?P<tag>/?)(?:think(?:ing)?(?:[-_][a-z0-9]+)*|thoughts?|reasoning|reflection)\s*/?>
    | <(?P<seed>/?)seed:think>
    | <(?P<analysis>/?)analysis>
    | \[(?P<bracket>/?)THINK\]
    | ◁(?P<triangle>/?)think▷
    | <\|(?P<token>begin|end)_of_thought\|>
    """,
    re.IGNORECASE | re.VERBOSE,
)
_FINAL_TAG = re.compile(r"<(/?)final\s*>|<\|(begin|end)_of_solution\|>", re.IGNORECASE)
# The harmony format of gpt-oss, for servers that hand it on unparsed.
_HARMONY = re.compile(r"<\|(start|channel|message|end|return|call)\|>")
_FINAL_CHANNEL = "final"
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
    inside: str | None = None
    last = 0
    for mark in _THINK_TAG.finditer(text):
        kind = mark.lastgroup
        closing = mark[kind or 0].casefold() in ("/", "end")
        if inside is not None and (kind != inside or not closing):
            continue
        if closing and inside is None:
            kept.clear()
        elif not closing:
            kept.append(text[last : mark.start()])
        inside = None if closing else kind
        last = mark.end()
    if inside is None:
        kept.append(text[last:])
    return "".join(kept)


def without_channels(text: str) -> str:
    """Return the last message of the final channel of a harmony reply; of others the text itself.

    A reply with channels and none of them final was cut while thinking, or called a tool: what
    stands outside its messages is all that is left of it.
    """
    outside: list[str] = []
    final: str | None = None
    channel = ""
    seen = False
    last, state = 0, ""
    for mark in _HARMONY.finditer(text):
        piece = text[last : mark.start()]
        if state == "message" and channel == _FINAL_CHANNEL:
            final = piece
        # the prompt may have ended with <|channel|>
        if state == "channel" or (state == "" and mark[1] == "message"):
            channel, seen = (piece.split(maxsplit=1) or [""])[0], True
        elif state == "":
            outside.append(piece)
        last, state = mark.end(), mark[1]
    if not seen:
        return text
    if state == "message" and channel == _FINAL_CHANNEL:
        final = text[last:]
    return "".join(outside) if final is None else final


def final_part(text: str) -> str:
    """Return what stands in the last `<final>` (or solution), or the text itself."""
    start: int | None = None
    end = len(text)
    for tag in _FINAL_TAG.finditer(text):
        if tag[1] != "/" and (tag[2] or "").casefold() != "end":
            start, end = tag.end(), len(text)
        elif start is not None and end == len(text):
            end = tag.start()
    return text if start is None else text[start:end]


def answer_of(reply: str) -> str:
    """Return the part of a reply that is graded, trimmed. It may be empty."""
    return final_part(strip_thinking(without_channels(reply))).strip()


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
