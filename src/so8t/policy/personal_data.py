"""Finds and masks personal data and secrets in Japanese and English text.

Pure functions on patterns and check digits; no text that was found is ever logged or kept, only
its place and kind. Patterns find what has a form of its own. Names of persons have none and are
not found.

Check digits: Luhn (ISO/IEC 7812-1) for payment cards; modulus 11 for My Number (Ordinance of the
Ministry of Internal Affairs and Communications No. 85 of 2014, article 5). Telephone numbers:
ITU-T E.164 and the Japanese numbering plan.
"""

from __future__ import annotations

import ipaddress
import re
from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class PersonalDataKind(StrEnum):
    """What was found."""

    SECRET = "secret"  # noqa: S105 - the name of a kind
    EMAIL = "email"
    CREDIT_CARD = "credit_card"
    MY_NUMBER = "my_number"
    POSTAL_ADDRESS = "postal_address"
    PHONE = "phone"
    IP_ADDRESS = "ip_address"


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a text: characters from `start` to before `end`."""

    start: int
    end: int
    kind: PersonalDataKind


# One character for one, so that places in the folded text are places in the text.
_FOLD: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    0x3000: " ",
    0x00A0: " ",
    **dict.fromkeys(map(ord, "‐‑‒–—―−﹣－"), "-"),  # noqa: RUF001 - the dashes people type
}
# A long vowel sign between digits is a dash that was typed on a Japanese keyboard.
_LONG_VOWEL: Final = re.compile(r"(?<=[0-9])ー(?=[0-9])")

_DIGIT_BEFORE: Final = r"(?<![0-9A-Za-z])(?<![0-9][-.,])"
_DIGIT_AFTER: Final = r"(?![0-9]|[-.,][0-9])"

_EMAIL: Final = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@"
    r"(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)
_CARD: Final = re.compile(_DIGIT_BEFORE + r"[2-6][0-9](?:[ -]?[0-9]){11,17}" + _DIGIT_AFTER)
_MY_NUMBER: Final = re.compile(
    _DIGIT_BEFORE
    + r"(?<![0-9] )[0-9]{4}(?P<gap>[ -]?)[0-9]{4}(?P=gap)[0-9]{4}(?! [0-9]{4})"
    + _DIGIT_AFTER
)
_PHONES: Final = (
    # +81 3-1234-5678, +1 (555) 123-4567
    re.compile(
        r"(?<![0-9A-Za-z+])\+[1-9][0-9]{0,2}+(?:[ .-]?\(?[0-9]{1,5}+\)?){1,5}" + _DIGIT_AFTER
    ),
    # 03-1234-5678, (03)1234-5678, 03(1234)5678, 090 1234 5678
    re.compile(
        _DIGIT_BEFORE
        + r"(?:\(0[0-9]{1,4}\)[ -]?|0[0-9]{1,4}[ (-])[0-9]{1,4}[ )-][0-9]{3,4}"
        + _DIGIT_AFTER
    ),
    # 09012345678, 0312345678
    re.compile(_DIGIT_BEFORE + r"0(?:[5-9]0[0-9]{8}|[1-9][0-9]{8})" + _DIGIT_AFTER),
    # (555) 123-4567, 555-123-4567
    re.compile(
        _DIGIT_BEFORE
        + r"(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[-.])[0-9]{3}[-.][0-9]{4}"
        + _DIGIT_AFTER
    ),
)
_PREFECTURE: Final = r"(?:北海道|東京都|京都府|大阪府|[一-龥]{2,3}県)"
_STREET: Final = r"[^\s。、,]{0,24}?[市区町村郡][^\n。、,]{0,24}?[0-9一二三四五六七八九十]{1,8}(?:丁目|番地?|号|-[0-9]+)[^\n\s。、,]{0,24}"  # noqa: E501 - one pattern
_ADDRESSES: Final = (
    re.compile(rf"〒[ ]?[0-9]{{3}}-?[0-9]{{4}}(?![0-9])(?:\s{{0,3}}(?:{_PREFECTURE})?{_STREET})?"),
    re.compile(_PREFECTURE + _STREET),
)
_IPV4: Final = re.compile(r"(?<![0-9A-Za-z.-])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9A-Za-z]|\.[0-9])")
_IPV6: Final = re.compile(
    r"(?<![0-9A-Za-z.])(?<![0-9A-Fa-f:]:)(?:[0-9A-Fa-f]{1,4}|(?=::))"
    r"(?::[0-9A-Fa-f]{0,4}){2,7}(?![0-9A-Za-z:])"
)
# A key is from the first line to the last, where that one comes soon.
_KEY_BEGIN: Final = re.compile(r"-----BEGIN (?:[A-Z]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END: Final = re.compile(r"-----END (?:[A-Z]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_LONGEST_KEY: Final = 8192
_SECRETS: Final = (
    re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    re.compile(r"(?<![A-Za-z0-9])gh[opsur]_[A-Za-z0-9]{30,255}"),
    re.compile(r"(?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{22,255}"),
    re.compile(r"(?<![A-Za-z0-9])(?:sk|pk|rk)[-_](?:[A-Za-z]{2,10}[-_])?[A-Za-z0-9_-]{20,200}"),
    re.compile(r"(?<![A-Za-z0-9])(?:hf|npm|pypi|glpat|xox[abeoprs])[-_][A-Za-z0-9_-]{16,255}"),
    re.compile(r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}"),
    re.compile(
        r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,1024}\.[A-Za-z0-9_-]{8,1024}\.[A-Za-z0-9_-]{8,1024}+"
    ),
    re.compile(r"sk-[A-Za-z0-9_-]{20,200}T3BlbkFJ[A-Za-z0-9]{20}"),
    re.compile(r"//\S{1,200}?/:_authToken=\s{0,4}(?:npm_\S{1,200}|[A-Fa-f0-9-]{36})"),
    # The value only, so that what it was stays readable.
    re.compile(
        r"(?i)(?<![A-Za-z0-9])(?:api[_-]?key|secret(?:[_-]?key)?|password|passwd|access[_-]?token|auth[_-]?token)"
        r"['\"]?[ ]?[:=][ ]?['\"]?(?=[^\s'\"]{0,64}[0-9])(?P<value>[^\s'\"\[\]<>,;。、]{8,128})"
    ),
)
# Regular expressions kept up to date by others; entropy and keyword guesses hit ordinary words.
# Not the two whose time grows with the square of the text (OpenAI, npm): theirs stand above.
_PLUGINS: Final = {
    "aws": "AWSKeyDetector",
    "discord": "DiscordBotTokenDetector",
    "gitlab_token": "GitLabTokenDetector",
    "mailchimp": "MailchimpDetector",
    "pypi_token": "PypiTokenDetector",
    "sendgrid": "SendGridDetector",
    "slack": "SlackDetector",
    "square_oauth": "SquareOAuthDetector",
    "stripe": "StripeDetector",
    "telegram_token": "TelegramBotTokenDetector",
    "twilio": "TwilioKeyDetector",
}
_CARD_LENGTHS: Final = range(13, 20)
_PHONE_DIGITS: Final = range(8, 16)
_JAPANESE_DIGITS: Final = (10, 11)
_MOST_PASSES: Final = 8


def knows_more_secrets() -> bool:
    """Whether detect-secrets (extra `policy`) adds its forms of keys to those that stand here."""
    return find_spec("detect_secrets") is not None


def find(text: str) -> list[Span]:
    """Return what was found, in order, without overlap.

    Where two kinds claim the same characters, the one that is first in `Kind` has them.
    """
    folded = _LONG_VOWEL.sub("-", text.translate(_FOLD))
    taken: list[Span] = []
    for kind, places in (
        (PersonalDataKind.SECRET, _secrets(folded)),
        (PersonalDataKind.EMAIL, _places(_EMAIL, folded)),
        (PersonalDataKind.CREDIT_CARD, _cards(folded)),
        (PersonalDataKind.MY_NUMBER, _my_numbers(folded)),
        (PersonalDataKind.POSTAL_ADDRESS, _all(_ADDRESSES, folded)),
        (PersonalDataKind.PHONE, _phones(folded)),
        (PersonalDataKind.IP_ADDRESS, _addresses(folded)),
    ):
        for start, end in places:
            # What is taken does not overlap: its neighbours alone can be in the way.
            at = bisect_left(taken, start, key=lambda span: span.start)
            before, after = taken[at - 1 : at], taken[at : at + 1]
            if not (before and start < before[0].end) and not (after and after[0].start < end):
                taken.insert(at, Span(start, end, kind))
    return taken


def mask(text: str) -> tuple[str, list[PersonalDataKind]]:
    """Replace what is found by its kind in brackets, `[EMAIL]`; also return the kinds found.

    What is left has nothing to find in it: masking it again changes nothing.
    """
    kinds: list[PersonalDataKind] = []
    for _ in range(_MOST_PASSES):
        spans = find(text)
        if not spans:
            break
        kinds += [span.kind for span in spans]
        pieces, at = [], 0
        for span in spans:
            pieces += [text[at : span.start], f"[{span.kind.upper()}]"]
            at = span.end
        text = "".join((*pieces, text[at:]))
    return text, kinds


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value  # noqa: PLR2004 - two digits become their sum
    return total % 10 == 0


def my_number_check_digit(first_eleven: str) -> int:
    """Return the twelfth digit of a My Number."""
    weights = (2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6)  # from the right
    total = sum(int(d) * w for d, w in zip(reversed(first_eleven), weights, strict=True))
    rest = total % 11
    return 0 if rest <= 1 else 11 - rest


def _places(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    for match in pattern.finditer(text):
        yield match.span("value") if "value" in pattern.groupindex else match.span()


def _all(patterns: Iterable[re.Pattern[str]], text: str) -> Iterator[tuple[int, int]]:
    for pattern in patterns:
        yield from _places(pattern, text)


def _private_keys(text: str) -> Iterator[tuple[int, int]]:
    """Yield each key block; each line that ends one is looked for once, so this is linear."""
    ends = (found.span() for found in _KEY_END.finditer(text))
    end = next(ends, None)
    done = 0
    for begin in _KEY_BEGIN.finditer(text):
        if begin.start() < done:
            continue
        while end is not None and end[0] < begin.end():
            end = next(ends, None)
        whole = end is not None and end[0] - begin.end() <= _LONGEST_KEY
        done = end[1] if end is not None and whole else begin.end()
        yield begin.start(), done


def _secrets(text: str) -> Iterator[tuple[int, int]]:
    yield from _private_keys(text)
    yield from _all(_SECRETS, text)
    yield from _all(_others_secrets(), text)


@cache
def _others_secrets() -> tuple[re.Pattern[str], ...]:
    if not knows_more_secrets():
        return ()
    found: list[re.Pattern[str]] = []
    for module, name in _PLUGINS.items():
        plugin = getattr(import_module(f"detect_secrets.plugins.{module}"), name)
        found += plugin.denylist
    return tuple(found)


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text):
        digits = _digits(match[0])
        if len(digits) in _CARD_LENGTHS and luhn(digits):
            yield match.span()


def _my_numbers(text: str) -> Iterator[tuple[int, int]]:
    for match in _MY_NUMBER.finditer(text):
        digits = _digits(match[0])
        if my_number_check_digit(digits[:11]) == int(digits[11]):
            yield match.span()


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for pattern in _PHONES:
        for match in pattern.finditer(text):
            digits = _digits(match[0])
            japanese = digits.startswith("0")
            if len(digits) in (_JAPANESE_DIGITS if japanese else _PHONE_DIGITS):
                yield match.span()


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            try:
                address = ipaddress.ip_address(match[0])
            except ValueError:
                continue
            # These are every machine's own and tell nothing about a person.
            if not (address.is_loopback or address.is_unspecified):
                yield match.span()
