"""How much planted personal data the detector finds, and how much harmless text it touches.

`python benchmarks/personal_data_recall.py [--items 2000] [--seed 1]` makes Japanese and English
sentences with one planted item each, in the writings that people use, and as many sentences with
numbers, dates, prices and names of versions in which there is nothing to find.
"""

from __future__ import annotations

import argparse
import random
import string
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from so8t.policy.personal_data import PersonalDataKind, find, luhn, my_number_check_digit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FULL = str.maketrans(
    "0123456789-@.",
    "\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19\uff0d\uff20\uff0e",
)
FULL_WIDTH = 0.3  # of Japanese numbers and addresses
ENGLISH = (
    "Please contact {} for details.",
    "My data: {}, thank you.",
    "({})",
    "He wrote {} on the form and left.",
    "{}",
    'See "{}" below',
)
JAPANESE = (
    "連絡先は{}です。",
    "{}までお願いします。",
    "担当者\uff08{}\uff09に確認してください。",
    "記入欄:{}",
    "「{}」と書いてあった。",
    "本日、{}を受け取りました",
)
HARMLESS = (
    "The meeting is on {y}-{m:02}-{d:02} at {h}:{n:02}.",
    "{y}年{m}月{d}日の売上は{p:,}円でした。",
    "Version {h}.{m}.{d} was released after {p} commits.",
    "価格は{p:,}円、数量は{n}個、合計{p2:,}円。",
    "The result is {f:.6f} with a p-value of 0.0{n}.",
    "3 x {n} = {x}; the ratio is {h}:{n}.",
    "pi is about 3.14159265358979, e about 2.718281828",
    "ISBN 978-4-00-{p4:06}-8 の{n}ページ",
    "Order number {p} weighs {n} kg and costs ${p}.99",
    "人口は{p2:,}人、面積は{p}平方キロメートル。",
    "第{n}条第{m}項に{d}日以内と定める。",
    "The password must have {n} characters and the token is a word.",
    "東京都の平均気温は{h}度、京都府は{n}度。",
    "Chapter {m}-{d}, pages {n}-{p}",
)


@dataclass(frozen=True)
class Item:
    """A sentence and what was planted in it; `kind` is None for a harmless one."""

    text: str
    kind: PersonalDataKind | None
    start: int = 0
    end: int = 0
    japanese: bool = False


def planted(rng: random.Random, kind: PersonalDataKind) -> str:
    """Make one item of a kind, in one of its writings."""
    return MAKERS[kind](rng)


def items(count: int, seed: int) -> Iterator[Item]:
    """Yield `count` sentences with something planted and as many without."""
    rng = random.Random(seed)
    kinds = list(PersonalDataKind)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        japanese = bool(number // len(kinds) % 2)
        what = planted(rng, kind)
        if (
            japanese
            and kind in (PersonalDataKind.PHONE, PersonalDataKind.EMAIL)
            and rng.random() < FULL_WIDTH
        ):
            what = what.translate(FULL)
        frame = rng.choice(JAPANESE if japanese else ENGLISH)
        start = frame.index("{}")
        yield Item(frame.replace("{}", what), kind, start, start + len(what), japanese)
    for _ in range(count):
        p = rng.randrange(100, 99999)
        yield Item(
            rng.choice(HARMLESS).format(
                y=rng.randrange(1950, 2040), m=rng.randrange(1, 13), d=rng.randrange(1, 29),
                h=rng.randrange(24), n=rng.randrange(1, 60), p=p, p2=p * rng.randrange(2, 900),
                p4=rng.randrange(10**6), f=rng.random() * 1000, x=3 * p,
            ),
            None,
        )  # fmt: skip


def measure(
    count: int, seed: int
) -> tuple[Counter[PersonalDataKind], Counter[PersonalDataKind], int, int]:
    """Return (planted, found whole) per kind, harmless sentences, and those touched."""
    there: Counter[PersonalDataKind] = Counter()
    found: Counter[PersonalDataKind] = Counter()
    harmless = touched = 0
    for item in items(count, seed):
        spans = find(item.text)
        if item.kind is None:
            harmless += 1
            touched += bool(spans)
            continue
        there[item.kind] += 1
        # Found means that nothing of it would be left: covered from the first to the last sign.
        covered = {place for span in spans for place in range(span.start, span.end)}
        value = range(item.start, item.end)
        if (
            item.kind is PersonalDataKind.SECRET
        ):  # the name of a setting may stay, its value may not
            equals = max(item.text.find("=", item.start, item.end), item.start - 1)
            value = range(equals + 1, item.end)
        marks = " \"'"
        found[item.kind] += all(p in covered or item.text[p] in marks for p in value)
    return there, found, harmless, touched


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(count))


def _letters(rng: random.Random, count: int, alphabet: str) -> str:
    return "".join(rng.choice(alphabet) for _ in range(count))


def _email(rng: random.Random) -> str:
    name = rng.choice(("taro.yamada", "j_smith", "info", "a.b+c", "hanako2024", "x-y"))
    host = rng.choice(("example.co.jp", "mail.example.com", "example.org", "a-b.example.ne.jp"))
    return f"{name}{rng.choice(('', _digits(rng, 2)))}@{host}"


def _phone(rng: random.Random) -> str:
    d = lambda n: _digits(rng, n)  # noqa: E731 - ten short writings follow
    return rng.choice((
        f"0{rng.choice('789')}0-{d(4)}-{d(4)}", f"03-{d(4)}-{d(4)}", f"(06){d(4)}-{d(4)}",
        f"0{rng.choice('789')}0{d(8)}", f"+81-{rng.choice('789')}0-{d(4)}-{d(4)}",
        f"+81 {rng.choice('36')} {d(4)} {d(4)}", f"0120-{d(3)}-{d(3)}", f"045({d(3)}){d(4)}",
        f"+1 ({rng.randrange(200, 999)}) {rng.randrange(200, 999)}-{d(4)}",
        f"{rng.randrange(200, 999)}-{rng.randrange(200, 999)}-{d(4)}",
        f"+44 20 {d(4)} {d(4)}", f"+49 30 {d(6)}", f"090 {d(4)} {d(4)}", f"0776-{d(2)}-{d(4)}",
    ))  # fmt: skip


def _card(rng: random.Random) -> str:
    body = rng.choice(("4", "51", "55", "3530", "6011")) + _digits(rng, 20)
    body = body[:15]
    number = next(body + str(last) for last in range(10) if luhn(body + str(last)))
    gap = rng.choice(("", " ", "-"))
    return gap.join(number[i : i + 4] for i in range(0, 16, 4))


def _my_number(rng: random.Random) -> str:
    eleven = _digits(rng, 11)
    number = f"{eleven}{my_number_check_digit(eleven)}"
    gap = rng.choice(("", " ", "-"))
    return gap.join((number[:4], number[4:8], number[8:]))


def _address(rng: random.Random) -> str:
    place = rng.choice((
        "東京都千代田区丸の内1丁目", "大阪府大阪市北区梅田2-4", "北海道札幌市中央区北3条西6丁目",
        "神奈川県横浜市中区本町6-50", "京都府京都市上京区下立売通5番", "沖縄県那覇市泉崎1-2-2",
    ))  # fmt: skip
    code = f"〒{_digits(rng, 3)}{rng.choice(('-', ''))}{_digits(rng, 4)}"
    return rng.choice((f"{code} {place}", code, place, f"{code}{place}"))


def _ip(rng: random.Random) -> str:
    four = ".".join(str(rng.randrange(1, 255)) for _ in range(4))
    groups = [f"{rng.randrange(1, 65536):x}" for _ in range(8)]
    short = f"2001:db8::{groups[0]}:{groups[1]}"
    return rng.choice((four, four, ":".join(["2001", *groups[1:]]), short))


def _secret(rng: random.Random) -> str:
    some = string.ascii_letters + string.digits
    return rng.choice((
        "AKIA" + _letters(rng, 16, string.ascii_uppercase + string.digits),
        "ghp_" + _letters(rng, 36, some), "hf_" + _letters(rng, 34, some),
        "sk-" + _letters(rng, 48, some), "AIza" + _letters(rng, 35, some),
        "xoxb-" + _digits(rng, 12) + "-" + _letters(rng, 24, some),
        f"api_key={_letters(rng, 24, some)}7", f'password = "{_letters(rng, 12, some)}9"',
        "eyJhbGciOiJIUzI1NiJ9." + _letters(rng, 30, some) + "." + _letters(rng, 30, some),
        "-----BEGIN RSA PRIVATE KEY-----\n" + _letters(rng, 64, some)
        + "\n-----END RSA PRIVATE KEY-----",
    ))  # fmt: skip


MAKERS: dict[PersonalDataKind, Callable[[random.Random], str]] = {
    PersonalDataKind.SECRET: _secret,
    PersonalDataKind.EMAIL: _email,
    PersonalDataKind.CREDIT_CARD: _card,
    PersonalDataKind.MY_NUMBER: _my_number,
    PersonalDataKind.POSTAL_ADDRESS: _address,
    PersonalDataKind.PHONE: _phone,
    PersonalDataKind.IP_ADDRESS: _ip,
}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=2100)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    there, found, harmless, touched = measure(asked.items, asked.seed)
    print(f"{'kind':16}{'planted':>9}{'found':>8}{'recall':>9}")
    for kind in PersonalDataKind:
        share = found[kind] / there[kind]
        print(f"{kind.value:16}{there[kind]:9}{found[kind]:8}{share:9.1%}")
    total = there.total()
    print(f"{'all':16}{total:9}{found.total():8}{found.total() / total:9.1%}")
    print(f"harmless sentences touched: {touched} of {harmless} ({touched / harmless:.1%})")


if __name__ == "__main__":
    main()
