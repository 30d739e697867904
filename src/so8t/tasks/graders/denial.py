"""Whether a sentence denies the option that it names: "it cannot be B", 「矛盾しない」.

Only what stands right before or right behind the option is looked at; "B is what I would have
said" and irony are beyond it.
"""

from __future__ import annotations

import re
from itertools import pairwise

# How far back a denial may begin: "everything but the option ".
_REACH = 48
_CLOSE = r"[)\]}」』】\"'`*_]*"

_BEHIND_DENIAL = r"""
    [\s"'(*`]*(?:(?:possibly|necessarily|really)\s+)?(?:be\s+)?
    (?:the\s+|an?\s+)?(?:option\s+|choice\s+|answer\s+)?["'(*`\[「『]*$"""
_BEFORE = re.compile(
    rf"""(?:
        (?P<neither>\bneither) | \b(?:not|cannot|never|nor) | n['’]t
      | \b(?:rather\s+than|instead\s+of|eliminat(?:e|es|ed|ing)|rul(?:e|es|ed|ing)\s+out)
    ){_BEHIND_DENIAL}""",
    re.IGNORECASE | re.VERBOSE,
)
_EXCEPTION = re.compile(
    rf"""(?P<negative>\b(?:no|none|nothing|nobody|not|cannot)\b[^.!?\n]*?|n['’]t\b[^.!?\n]*?)?
    \b(?:except(?:\s+for)?|excluding|apart\s+from|aside\s+from|other\s+than
      | (?P<only>no(?:ne|thing|\s+one|body)?(?:\s+(?:option|choice|answer))?)\s+but
      | (?:every|any)(?:thing|one|body)?(?:\s+(?:option|choice|answer))?\s+but | all\s+but)
    {_BEHIND_DENIAL}""",
    re.IGNORECASE | re.VERBOSE,
)
_WRONG = r"(?:wrong|incorrect|false|unlikely|impossible|out|ruled\s+out|eliminated|excluded)\b"
# "B is not only right", "B cannot be wrong" deny nothing
_NOT = r"not\b(?!\s+only\b)"
_MANNER = r"(?:\s+(?:all|both|clearly|definitely|certainly|also|therefore|thus|obviously))?\s+"
_FITS = r"(?:be\b(?!\s+(?:wrong|incorrect|false))|fit|follow|match|work|hold|apply|make\s+sense)"
_AFTER_MANY = (
    rf"\s+(?:(?:are|were){_MANNER}(?:{_NOT}|{_WRONG})|(?:are|were)n['’]t\b"
    rf"|(?:cannot|can\s*not|can['’]t|could\s*n[o'’]t|do\s+not|don['’]t)\s+{_FITS})"
)
_AFTER_ONE = (
    r"\s*:\s*[*_]*(?:wrong|incorrect|false|no\b|×|✗|❌|誤り|不正解|不適切|間違い)"
    r"|\s+can\s+(?:also\s+)?be\s+(?:ruled\s+out|eliminated|excluded|discarded|rejected|dismissed)"
    rf"|\s+(?:(?:is|was){_MANNER}(?:{_NOT}|{_WRONG})|(?:is|was)n['’]t\b"
    rf"|(?:does\s+not|doesn['’]t)\s+{_FITS})"
)
# だ, です and する denied, and what is said of an answer that is wrong
_JA_WRONG = (
    r"(?:誤|間違(?!いな[くい])|不正解|不適|違|正しく(?:な|あり)|当てはま(?:らな|りませ)"
    r"|該当し(?:な|ませ))"
)
_JA_NOT = r"(?:な[いくしか](?!と|か)|ありませ[んず]|ございませ)"
_JA_UNDONE = r"(?:(?:さ?れ|し)(?:て(?:は|も)?(?:い|お)?)?(?:な[いくか]|ませ[んず]|らず|ず)|せず)"
_JA_FAILS = (
    r"(?:成立し|存在し|見られ|生じ|認められ|成り立た|成り立ち)(?:てい)?(?:な[いく]|ませ[んず])"
)
_JA_SAY = r"(?:言え|いえ|言い切れ|限ら|限り|なら|なり|思え)(?:な[いく]|ませ[んず])"
_AFTER_JA = rf"""(?:
    (?:では|じゃ)(?:な|あり) | でな[いく]
  | でも(?:な|あり) | でも[^。.!?\n]{{1,30}}?でも(?:な|ありませ)
  | も[^。.!?\n]{{1,20}}?も(?:{_JA_WRONG}|{_JA_NOT}|{_JA_UNDONE}|{_JA_FAILS}) | を除
  | 以外(?![^。\n]{{0,20}}{_JA_WRONG})
  | [はも]{_JA_WRONG} | [はがも]{_JA_NOT} | な[くし](?=[、。\n]|$)
  | [はがも]?{_JA_UNDONE} | [はがも]{_JA_FAILS}
  | の?関係(?:に|で|が)?[はも]?(?:な[いくし]|ありませ)
  | (?:する|である|になる)?(?:と|こと)(?:まで)?[はも]{_JA_SAY}
  | とも[^。.!?\n]{{1,20}}?とも{_JA_SAY}
  | することは{_JA_NOT} | (?:する|な)?(?:わけ|もの)で(?:は|も)?(?:な|あり)
)"""
_AFTER = re.compile(
    rf"{_CLOSE}(?:{_AFTER_ONE}|{_AFTER_MANY}|{_AFTER_JA})", re.IGNORECASE | re.VERBOSE
)
# "A, B and D are wrong" denies all three, "B, C is wrong" only C; AとBは違います both.
_ALL_AFTER = re.compile(
    rf"{_CLOSE}(?:{_AFTER_MANY}|(?:は|とも|は(?:どちら|いずれ|両方)も){_JA_WRONG})", re.IGNORECASE
)
_LINK = re.compile(
    rf"{_CLOSE}\s*(?:,\s*(?:and|or|nor)\b|,|、|&|/|\b(?:and|or|nor)\b|と|や|及び|および|・)\s*"
    r"(?:option\s+)?[(\[「『\"'*`]*",
    re.IGNORECASE,
)
_LONGEST_LINK = 24


def denied_behind(text: str, end: int) -> bool:
    """Whether what follows an option that ends here denies it."""
    return _AFTER.match(text, end) is not None


def denied(text: str, named: list[tuple[int, int]]) -> list[bool]:
    """Tell of each option named in a text, by its start and end, whether it is denied.

    `named` is in order. A denial of the last of a list ("A, B and D are wrong") or of the first
    ("neither A, B nor D") is one of the whole list. What is excepted from a denial ("nothing but
    B", "everything except B is wrong") is not denied.
    """
    # links[i] joins what stands before i to i
    links = ["", *(_link(text, here[1], there[0]) for here, there in pairwise(named)), ""]
    before: list[bool] = []
    # of what is an exception: True where the rule is a denial already
    exceptions: list[bool | None] = []
    neither = False
    for i, (start, _) in enumerate(named):
        front = text[max(0, start - _REACH) : start]
        word, exception = _BEFORE.search(front), _EXCEPTION.search(front)
        neither = bool(word and word["neither"]) or (neither and bool(links[i]))
        either = bool({"or", "nor"} & set(links[i].casefold().split())) and before[-1]
        before.append(word is not None or neither or either)
        if exception:
            exceptions.append(bool(exception["negative"] or exception["only"]))
        else:
            exceptions.append(exceptions[-1] if links[i] else None)
    result: list[bool] = []
    wrong = all_wrong = False
    for i in reversed(range(len(named))):
        end, link = named[i][1], links[i + 1]
        # 「B、Cは誤り」 may begin with an answer, 「A、B、Cは誤り」 does not
        listed = bool(link) and ("、" not in link or bool(links[i]) or bool(links[i + 2]))
        all_wrong = _ALL_AFTER.match(text, end) is not None or (listed and all_wrong)
        wrong = denied_behind(text, end) or (listed and wrong and exceptions[i] is not None)
        if exceptions[i] is None:
            result.append(before[i] or wrong or all_wrong)
        else:
            result.append(not (exceptions[i] or wrong))
    return result[::-1]


def _link(text: str, end: int, start: int) -> str:
    """Give what joins two options of one list; nothing where they are not in one."""
    if start - end > _LONGEST_LINK:
        return ""
    match = _LINK.fullmatch(text, end, start)
    return match[0] if match else ""
