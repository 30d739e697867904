"""Tags of ours in any disguise: what a reader, a browser or a later program could take for one.

A text is folded to a skeleton (entities and escapes decoded, compatibility forms levelled, marks
and invisible characters dropped, look-alike characters exchanged), and tags are looked for there.
The folded text is only looked at; what is shown is always the text as it was.
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata

# What still looks like the key after NFKD and case folding. From the confusables of Unicode
# Technical Standard 39 (https://www.unicode.org/reports/tr39/), both cases, with small capitals,
# enclosed letters and the brackets that are drawn like angles. Where one sign looks like two
# letters (Greek eta is a small n and a capital H), the patterns below take either.
_LOOKALIKES = {
    "t": (
        "\u0167\u01ab\u01ad\u0288\u03c4\u0442\u13a2\u1d1b\u22a4\u27d9\u2ca7\ua4d4\ua787"
        "\U00010297\U000102b1\U00010315\U000118dc\U00016f0a\U0001f163\U0001f183\U0001f1f9"
        "\U0001f768"
    ),
    "h": (
        "\u0127\u0266\u029c\u043d\u04bb\u0570\u13bb\u13c2\u157c\u2c8f\ua4e7\U000102cf"
        "\U0001f157\U0001f177\U0001f1ed"
    ),
    "i": (
        "\u0131\u01c0\u0268\u0269\u026a\u03b9\u0456\u04cf\u06f1\u13a5\u16c1\u2223\u2373\u23fd"
        "\u2502\u2c93\u2d4f\ua4f2\ua647\U0001028a\U00010309\U00010320\U000118c3\U00016f28"
        "\U0001f158\U0001f178\U0001f1ee"
    ),
    "n": (
        "\u014b\u019e\u0272\u0274\u03b7\u03bd\u0578\u057c\u2c9b\ua4e0\U00010513\U0001f15d"
        "\U0001f17d\U0001f1f3"
    ),
    "k": (
        "\u0138\u0199\u03ba\u043a\u13e6\u16d5\u1d0b\u2c95\ua4d7\U00010518\U0001f15a\U0001f17a"
        "\U0001f1f0"
    ),
    "f": (
        "\u0192\u03dd\u0584\u15b4\u1e9d\ua4dd\ua730\ua799\uab35\U00010287\U000102a5\U00010525"
        "\U000118c2\U0001d213\U0001f155\U0001f175\U0001f1eb"
    ),
    "a": (
        "\u0251\u03b1\u03bb\u0430\u13aa\u15c5\u1d00\u2202\u237a\ua4ee\U000102a0\U00016f40"
        "\U0001f150\U0001f170\U0001f1e6"
    ),
    "l": (
        "\u0142\u019a\u026b\u026d\u029f\u13de\u14aa\u2cd1\ua4e1\U00010443\U00010526\U000118d2"
        "\U00016f16\U0001d22a\U0001f15b\U0001f17b\U0001f1f1"
    ),
    "<": (
        "\xab\u02c2\u1438\u16b2\u2039\u226a\u2272\u227a\u22b0\u22b2\u22d6\u22dc\u25c0\u25c1"
        "\u25c2\u276c\u276e\u2770\u27e8\u27ea\u2991\u29fc\u2a7b\u2aa1\u2aa6\u2aaa\u2bc7\u3008"
        "\u300a\U0001d236"
    ),
    ">": (
        "\xbb\u02c3\u1433\u203a\u226b\u227b\u22b1\u22b3\u22d7\u25b6\u25b7\u25b8\u25ba\u276d"
        "\u276f\u2771\u27e9\u27eb\u2992\u29fd\u2a7c\u2aa2\u2aa7\u2bc8\u3009\u300b\U00016f3f"
        "\U0001d237"
    ),
    "/": "\u1735\u2041\u2044\u2215\u2571\u27cb\u29f8\u2cc7\U0001d23a",
    "-": "\u02d7\u2010\u2012\u2013\u2014\u2015\u2043\u2212\u2796\u2cbb",
    "[": "\u2045\u27e6\u3010\u3014\u3016\u3018\u301a",
    "]": "\u2046\u27e7\u3011\u3015\u3017\u3019\u301b",
}
# Marks on letters, invisible and control characters: they change the look of a tag, not its name.
_DROPPED = frozenset({"Mn", "Me", "Cf", "Cc"})
# Letters that are drawn as nothing, or as a blank.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_ESCAPE = re.compile(
    r"\\u\{([0-9a-f]{1,6})\}|\\u([0-9a-f]{4})|\\U([0-9a-f]{8})|\\x([0-9a-f]{2})|%u([0-9a-f]{4})"
    r"|%([0-9a-f]{2})",
    re.IGNORECASE,
)
_CONTROLS = dict.fromkeys(code for code in [*range(32), 127] if chr(code) not in "\n\t")
_MOST_ROUNDS = 6
_LAST_CODE = 0x10FFFF

# One sign of a name, spelled with digits or punctuation as well; up to three other signs between.
_BETWEEN = r"[^<>a-z0-9]{0,3}"
_I = "[il1!|]"
_THINK = _BETWEEN.join(["[t7]", "[hn]", _I, "[nh]", "k"])
_FINAL = _BETWEEN.join(["f", _I, "[nh]", "[a4@]", _I])
# A tag may carry a prefix (`<x:think>`) and other signs between its bracket and its name.
_BEFORE = r"<[^<>a-z0-9]{0,16}(?:[a-z0-9]{1,16}:)?"
_TAGS = re.compile(
    "|".join(
        [
            # Any tag whose name begins with think.
            _BEFORE + _THINK,
            # final alone is a word of programs too: `i < final)` is a comparison, `<final` is not.
            r"<[^<>a-z0-9\s]{0,16}(?:[a-z0-9]{1,16}:)?" + _FINAL + r"(?![a-z0-9])",
            _BEFORE + _FINAL + r"[^<>a-z0-9]{0,16}>",
            # What other models call their thinking, and the control tokens of chat templates.
            _BEFORE + r"(?:thoughts?|reasoning|reflection|scratchpad)(?![a-z0-9])",
            r"<\|[a-z0-9_]{1,40}\|>",
            # [think], {/final}; [final] is an index or a link.
            r"[\[{]\s{0,3}[/\\]?\s{0,3}" + _THINK + r"(?:ing|[-_][a-z]{1,16})?\s{0,3}[\]}]",
            r"[\[{]\s{0,3}[/\\]\s{0,3}" + _FINAL + r"\s{0,3}[\]}]",
        ]
    )
)
# The name of a part without its brackets.
_NAMES = re.compile(r"think[-_](?:task|safety|policy)")
# They turn the direction of what follows: `>kniht<` is then read as a tag.
_OVERRIDES = re.compile("[\u202d\u202e]")


@functools.cache
def _table() -> dict[int, str]:
    return {ord(sign): plain for plain, signs in _LOOKALIKES.items() for sign in signs}


def has_tag(text: str, *, names: bool = True) -> bool:
    """Whether `text` holds a thinking or final tag, or what could be taken for one.

    With `names` the bare name of a part (think-safety) counts as one.

    Time is linear in the length. A text whose encoding does not come to an end in six rounds
    counts as one that hides something.
    """
    turned = bool(_OVERRIDES.search(text))
    for _ in range(_MOST_ROUNDS):
        folded = _fold(text)
        if _TAGS.search(folded) or (names and _NAMES.search(folded)):
            return True
        if turned and _TAGS.search(folded[::-1]):
            return True
        # Folding can make an entity or an escape visible: full-width signs, split entities.
        if folded == text:
            return False
        text = folded
    return True


def _fold(text: str) -> str:
    if "&" in text:
        text = html.unescape(text)
    if "\\" in text or "%" in text:
        text = _ESCAPE.sub(_character, text)
    if text.isascii():
        return text.translate(_CONTROLS).lower()
    text = unicodedata.normalize("NFKD", text)
    text = "".join(
        sign for sign in text if sign in "\n\t" or unicodedata.category(sign) not in _DROPPED
    )
    text = "".join(sign for sign in text if sign not in _BLANK)
    # Case folding can undo the decomposition.
    return unicodedata.normalize("NFKD", text.casefold()).translate(_table())


def _character(escape: re.Match[str]) -> str:
    code = int(next(group for group in escape.groups() if group is not None), 16)
    return chr(code) if code <= _LAST_CODE else escape[0]
