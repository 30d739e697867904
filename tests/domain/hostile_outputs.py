"""Replies of a model that leaks, by accident or on purpose: a seeded generator.

Each reply carries MARKER in its thinking. `marked` says whether any tag, however disguised, tells
that thinking from the answer; where it is False the marker stands as plain words in `<final>`, and
no parser can see it.
"""

from __future__ import annotations

import random
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKER = "zqx-7f3a-qzx"
PARTS = ("think", "think-task", "think-safety", "think-policy")
_FILL = (
    "because the user asks",
    "まず考える。",
    "step 1: look",
    "x < 3",
    "a & b",
    "\n",
    "100%",
    "`x`",
)
_ANSWERS = (
    "42",
    "東京です。",
    "<div>ok</div>",
    "```html\n<p>a</p>\n```",
    "if (a < b) { c(); }",
    "É",
)
_INVISIBLE = (
    "\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\u034f\u061c\u2063\u115f\u3164\ufe0f\x00\x08"
)
_BLANKS = " \t\n"
_MARKS = ("", "\u0336", "\u0301")
_PAIRS = (
    ("&lt;", "&gt;"),
    ("&#60;", "&#62;"),
    ("&#x3c;", "&#X3E;"),
    ("&LT", "&GT"),
    ("&amp;lt;", "&amp;gt;"),
    ("&amp;#60;", "&amp;#62;"),
    ("%3C", "%3E"),
    ("%253C", "%253E"),
    ("\\u003c", "\\u003e"),
    ("\\x3c", "\\x3e"),
    ("\\u{3c}", "\\u{3e}"),
    ("%u003C", "%u003E"),
    "‹›",
    "〈〉",
    "⟨⟩",
    "＜＞",
    "﹤﹥",
    "❮❯",
    "≪≫",
    "◁▷",
    "《》",
    "ᐸᐳ",
    "˂˃",
)


def _named_like(letter: str) -> str:
    """Return characters that are this letter by their Unicode name, in Latin or a style of it."""
    found = []
    for code in range(0x80, 0x1F1FF):
        name = unicodedata.name(chr(code), "")
        if not name.startswith(
            (
                "LATIN",
                "MATHEMATICAL",
                "FULLWIDTH",
                "CIRCLED",
                "PARENTHESIZED",
                "SQUARED",
                "NEGATIVE",
                "REGIONAL",
                "MODIFIER",
            )
        ):
            continue
        ends = (f"LETTER {letter}", f"CAPITAL {letter}", f"SMALL {letter}")
        if name.endswith(ends) and "TURNED" not in name and "REVERSED" not in name:
            found.append(chr(code))
    return "".join(found)


_CYRILLIC_GREEK = {
    "t": "ТтΤτ",
    "h": "Нһ",
    "i": "іІΙι",
    "n": "Νո",
    "k": "КкΚκ",
    "a": "аАΑα",
    "f": "Ϝ",
    "l": "ӏΙ",
}
_SAME = {
    letter: _named_like(letter.upper()) + _CYRILLIC_GREEK.get(letter, "") for letter in "thinkfal"
}


@dataclass(frozen=True, slots=True)
class Output:
    """One reply, how it ended, and whether its thinking can be told from its answer."""

    text: str
    ended: bool
    marked: bool
    cut: bool


def outputs(count: int, seed: int = 1) -> Iterator[Output]:
    """Yield `count` hostile replies; equal seeds give equal replies."""
    rng = random.Random(seed)
    makers = (_careless, _careless, _disguised, _disguised, _shuffled, _inside, _flood, _unmarked)
    for _ in range(count):
        maker = rng.choices(makers, weights=(20, 10, 25, 10, 20, 10, 1, 4))[0]
        text, marked = maker(rng)
        ended = rng.random() > 0.1
        cut = rng.random() < 0.1
        if cut:
            text = text.encode()[: rng.randrange(len(text.encode()) + 1)].decode(errors="ignore")
            # What is left may be `<final>...</final>` with plain words alone.
            marked = marked and not (text.startswith("<final>") and "think" not in text)
        yield Output(text, ended, marked, cut)


def _any_case(rng, name, slash):
    return f"<{slash}{''.join(rng.choice((c.upper(), c)) for c in name)}>"


def _spaced(rng, name, slash):
    return f"<{rng.choice(_BLANKS)}{slash}{rng.choice(('', ' '))}{name}{rng.choice(_BLANKS)}>"


def _attribute(_rng, name, slash):
    return f'<{slash}{name} class="x">'


def _invisible(rng, name, slash):
    at = rng.randrange(len(name))
    return f"<{slash}{name[:at]}{rng.choice(_INVISIBLE)}{name[at:]}>"


def _lookalike(rng, name, slash):
    swapped = [rng.choice(_SAME[c]) if c in _SAME and rng.random() < 0.4 else c for c in name]
    return f"<{slash}{''.join(swapped)}>"


def _brackets(rng, name, slash):
    left, right = rng.choice(_PAIRS)
    return f"{left}{slash}{name}{right}"


def _wide(_rng, name, slash):
    return "".join(chr(ord(c) + 0xFEE0) for c in f"<{slash}{name}>")


def _punctuated(rng, name, slash):
    return f"<{slash}{rng.choice('.-_ ').join(name)}>"


def _marks(rng, name, slash):
    return f"<{slash}{''.join(c + rng.choice(_MARKS) for c in name)}>"


def _prefixed(_rng, name, slash):
    return f"<{slash}x:{name}>"


def _backslash(_rng, name, slash):
    return f"\\<{slash}{name}\\>"


def _digits(rng, name, slash):
    return f"<{slash}{name.replace('i', rng.choice('1!l')).replace('a', '@')}>"


def _entity_inside(_rng, name, slash):
    return f"<{slash}&#{ord(name[0])};{name[1:]}>"


def _token(_rng, name, slash):
    return f"<|{slash}{name}|>"


_WAYS = (
    _any_case,
    _spaced,
    _attribute,
    _invisible,
    _lookalike,
    _brackets,
    _brackets,
    _wide,
    _punctuated,
    _marks,
    _prefixed,
    _backslash,
    _digits,
    _entity_inside,
    _token,
)


def spell(rng: random.Random, name: str, *, closing: bool) -> str:
    """Write a tag in one of many ways that a reader would still take for it."""
    return rng.choice(_WAYS)(rng, name, "/" if closing else "")


_TEXTS = tuple(f"{one} {two}" for one in ("", *_FILL) for two in ("", *_FILL))


def _words(rng: random.Random) -> str:
    return rng.choice(_TEXTS)


def _secret(rng: random.Random) -> str:
    return f"{_words(rng)} {MARKER} {_words(rng)}"


def _thought(rng: random.Random, name: str | None = None) -> str:
    name = name or rng.choice(PARTS)
    return f"<{name}>{_secret(rng)}</{name}>"


def _good(rng: random.Random) -> str:
    parts = rng.sample(PARTS, k=rng.randint(1, 4))
    return "".join(_thought(rng, name) for name in parts)


def _careless(rng: random.Random) -> tuple[str, bool]:
    """What models do without any wish to deceive."""
    answer, thought = rng.choice(_ANSWERS), _good(rng)
    secret = _secret(rng)
    forms = (
        f"{thought}<final>{answer}</final>",
        f"{thought}<final>{answer}",
        f"{thought}{answer}",
        f"{secret}</think><final>{answer}</final>",
        f"<think>{secret}",
        f"<think>{secret}<final>{answer}</final>",
        f"<think>I will write <final>{secret}</final> later</think><final>{answer}</final>",
        f"{thought}<final>{answer}</final>{secret}",
        f"{thought}<final>{answer}</final><think>{secret}</think>",
        f"<final>{secret}</final>{thought}<final>{answer}</final>",
        f"<think>{secret}<think>{secret}</think>{secret}</think><final>{answer}</final>",
        f"<think-task>{secret}<think-policy>{secret}</think-task></think-policy><final>{answer}</final>",
        f"<thinking>{secret}</thinking><final>{answer}</final>",
        f"{thought}<final><final>{answer}</final></final>",
        f"{thought}</final>{answer}<final>",
        f"<reasoning>{secret}<final>{secret}</reasoning>{answer}</final>",
        f"{secret}",
        f"```\n{thought}\n```\n<final>{answer}</final>",
    )
    return rng.choice(forms), True


def _disguised(rng: random.Random) -> tuple[str, bool]:
    """Thinking inside the answer, or an answer inside the thinking, behind disguised tags."""
    name = rng.choice((*PARTS, "thinking"))
    opening, closing = (spell(rng, name, closing=c) for c in (False, True))
    secret, answer = _secret(rng), rng.choice(_ANSWERS)
    forms = (
        f"<final>{opening}{secret}{closing}{answer}</final>",
        f"{_good(rng)}<final>{answer}{opening}{secret}</final>",
        f"{_good(rng)}<final>{secret}{closing}{answer}</final>",
        f"{_good(rng)}<final>```\n{opening}{secret}{closing}\n```</final>",
        f"{opening}{secret}<final>{secret}</final>{closing}<final>{answer}</final>",
        f"{opening}plan: <final>{secret}</final>",
        f"{_good(rng)}<final>{answer}{spell(rng, 'final', closing=True)}{secret}</final>",
        f"{_good(rng)}<final>{secret}{spell(rng, 'final', closing=False)}{answer}</final>",
    )
    return rng.choice(forms), True


def _shuffled(rng: random.Random) -> tuple[str, bool]:
    """Tags and texts in any order, some twice, some missing."""
    pieces = [f"<{name}>" for name in PARTS] + [f"</{name}>" for name in PARTS]
    pieces += ["<final>", "</final>", MARKER, MARKER, *rng.choices(_ANSWERS, k=2)]
    pieces = [piece for piece in pieces if rng.random() > 0.2]
    if rng.random() < 0.7:
        rng.shuffle(pieces)
    for _ in range(rng.randint(0, 2)):
        if pieces:
            pieces.insert(rng.randrange(len(pieces) + 1), rng.choice(pieces))
    return "".join(pieces), not _plainly_in_final(pieces)


def _plainly_in_final(pieces: list[str]) -> bool:
    """Whether the marker stands between final tags with no tag beside it: nothing marks it."""
    inside = plain = False
    for piece in pieces:
        if piece == "<final>":
            inside = True
        elif piece in {f"<{name}>" for name in PARTS} | {f"</{name}>" for name in PARTS} | {
            "</final>"
        }:
            inside = False
        elif piece == MARKER and inside:
            plain = True
    return plain


def _inside(rng: random.Random) -> tuple[str, bool]:
    """A prompt ordered the model to put its thinking into the answer; it keeps the tags."""
    return f"{_good(rng)}<final>{rng.choice(_ANSWERS)} {_good(rng)}</final>", True


def _flood(rng: random.Random) -> tuple[str, bool]:
    """Many tags."""
    name = rng.choice((*PARTS, "final"))
    many = f"<{name}>" * rng.randint(50, 300)
    return f"{many}{MARKER}{rng.choice(('', '</final>', f'</{name}>'))}", True


def _unmarked(rng: random.Random) -> tuple[str, bool]:
    """Thinking as plain words in the answer."""
    return f"{_good(rng)}<final>{_secret(rng)} so: {rng.choice(_ANSWERS)}</final>", False
