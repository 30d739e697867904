"""Labels of options in running text: which letter, digit or kana is meant as one.

Whatever the labels are called (A, ア, 1, ①, イ, 甲, II), the same ways to mention one count. What
differs is what else the characters of a script can be: the article "a", the particle は, the 2 of
"2 dogs", the A of "vitamin A". Text is NFKC already, which makes ① a 1, a full-width A
an A and ｱ an ア.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from so8t.tasks.graders.text import nfkc

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN = r"[\s(\[{<「『【\"'`*_]*"
CLOSE = r"[)\]}>」』】\"'`*_]*"
# What goes on behind a label, not behind an article or a quantity: "A or B", "2 is right".
BEHIND_LABEL = (
    r"(?:or|and|but|is|was|are|were|isn't|seems|because|since|as|would|must|does|doesn't|cannot|can't|fits"
    r"|matches|works|remains|only|alone|then|looks|should|could|over|rather|instead|here|has\s+to|the\b|my\b|it\s+(?:is|was)|can|may|might"
    r"|for\s+(?:this|the\s+reason)|vs|versus|with\s+confidence|makes?\s+(?:the\s+most\s+)?sense)\b"
)
# "1番", but not "1番大きい"
_COUNTER = (
    r"(?:番目?(?=\s*(?:$|[\n。、.,:!?)」』*_]|です|だ|が|を|は|で|と|か|に(?:決|し|な)"
    r"|の(?:「|選択)|または|もしくは)))"
)
# The word before a label that stands alone in a sentence. Behind any other word it belongs to that
# word: "vitamin A", "figure 2", "is 100 C".
_FRAME = re.compile(
    r"(?:^|[^a-z'])(?:is|be|it's|that's|was|are|am|being|choose|chose|chosen|choosing|pick|picked|picking"
    r"|select|selected|selecting|say|said|saying|go|going|went|prefer|with|for|of|to|as|on|at|between|except|but|and"
    r"|or|nor|not|neither|either|both|than|then|so|thus|hence|therefore|because|since|while|whereas"
    r"|although|though|if|that|into|from|by|like|only|just|also|even|probably|definitely|clearly"
    r"|certainly|likely|maybe|perhaps|surely|actually|indeed|obviously|namely|option|options|choice"
    r"|choices|answer|answers|ans|letter|label|number|no|item|statement|alternative|eliminate|exclude|discard|reject"
    r"|eliminated|excluded|remove|leaves|leaving|remains|yes|okay|ok|sure|well|hmm|here|first|second"
    r"|finally|namely|say|means|meaning|consider|take|guess|vote|believe|think|out|over|versus|vs|says|marks?|write"
    r"|answering|[a-z]+ly|makes?|match(?:es)?|gives?|corresponds?|response|solution|result|conclusion|correct|right|best|have|has|would|must|should|will|keep|keeps)\s*$",
    re.IGNORECASE,
)
_JA_FRAME = re.compile(
    r"(?:[\u3041-\u3096]|選択肢|選択|肢|答え?|正解|正答|解答|回答|解|結論|記号|番号|以上|項目|案|設問|候補)[\s]*$"
)
# Nouns of which a letter behind or before is a part: "B vitamins", "C major".
_BOUND_NOUN = re.compile(
    r"\s+(?:vitamins?|majors?|minors?|sharp|flat|cells?|levels?|grades?|teams?|sides?|batter(?:y|ies)"
    r"|students?|movies?|rolls?|sections?|degrees?)\b"
)
_WORD_BEHIND = re.compile(rf"[ \t]+(?!{BEHIND_LABEL})[A-Za-z']", re.IGNORECASE)
# What a sentence does with a label in Japanese; a noun or a counter makes it part of something.
_JA_BEHIND = re.compile(
    r"\s*(?:$|[\n。、.,:;!?…()（）「」『』【】\[\]\"'`*/&~〜→=-]|です|でした|だ|で(?!き)|では|でも|でしょう|である"
    r"|が|を|は|も|と|か|や|に(?:な|決|し|賛|当|該)|という|または|もしくは|および|及び|以外|のみ|だけ|より|から"
    r"|の(?:[「『(（\"]|ほう|方|選択|み|内容|よう|どちら|いずれ|二|2|両|ため|は|が)|[A-Za-z0-9 ]|"
    + _COUNTER
    + ")"
)

_PRONOUN = re.compile(r"[ \t]+(?:would|could|should|must|can(?:not|'t)?|may|might)\b")
# "1 + 2", "$ 2", "2 %": a quantity
_OPERATOR_BEHIND = re.compile(r"\s*[-+*/=×÷^<>%°]\s*\w")
_OPERATOR_BEFORE = re.compile(r"[\w)]\s*[-+*/=×÷^<>]\s*$|[$¥]\s*$")
# A kana is a label where a word could end: あ in 「答えはあです」, not in 「答えはありません」.
_HIRAGANA_END = (
    r"(?=$|[^\u3041-\u3096]|で(?:す|し|は|も|あ)|だ|が|を|と|の|に(?:な|し|決)|は|も|か|や|じゃ|よ(?:り|。)|ね|または"
    r"|という|および)"
)


class Labels:
    """The labels of one list of options."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = [nfkc(name).strip() for name in names]
        bare = [name.strip("()[]{}.「」【】") for name in self.names]
        if all(bare) and len(set(bare)) == len(bare):
            self.names = bare
        plain = [name.casefold() for name in self.names]
        self._index = {name: i for i, name in enumerate(plain)}
        self.letters = all(re.fullmatch("[A-Za-z]", name) for name in self.names)
        self._digits = all(re.fullmatch(r"\d{1,2}", name) for name in self.names)
        self._hiragana = any(re.fullmatch("[\u3041-\u3096]", name) for name in self.names)
        self._one_case = len(set(plain)) < len(plain)
        ordered = sorted(self.names, key=len, reverse=True)
        self.alternatives = "|".join(map(re.escape, ordered))
        counter = f"{_COUNTER}?" if self._digits or not self.letters else ""
        stop = r"(?![A-Za-z0-9]|['’][A-Za-z])"
        if self._digits:
            stop = r"(?![A-Za-z0-9%°])(?![.,]\d)"
        elif re.search("[\u30a0-\u30ff]", self.alternatives):
            stop = r"(?![A-Za-z0-9\u30a1-\u30fa\u30fc])"
        if self._hiragana:
            stop += _HIRAGANA_END
        flags = re.NOFLAG if self._one_case else re.IGNORECASE
        self.token = re.compile(
            rf"{OPEN}(?P<label>{self.alternatives}){stop}{CLOSE}{counter}", flags
        )
        self._marked = re.compile(
            rf"\((?P<round>{self.alternatives})\)|\[(?P<square>{self.alternatives})\]"
            rf"|「(?P<quoted>{self.alternatives})」|\*\*(?P<bold>{self.alternatives})\*\*"
            r"|(?:[Oo]ption|[Cc]hoice|[Ll]etter|[Aa]nswer|[Ss]tatement|選択肢)\s*[\"'「(]?"
            rf"(?P<option>{self.alternatives}){stop}"
            rf"|(?:^|\n)[ \t]*(?:[-*•]\s+)?(?P<leading>{self.alternatives})(?=[).:、。]\s)"
        )
        case = "(?i:" if not self.letters or self.names[0].islower() else "(?:"
        self._bare = re.compile(
            rf"(?<![A-Za-z0-9'’+@#$£€¥°_-])(?<!\d[.,])(?P<bare>{case}{self.alternatives})){stop}{counter}(?![’'+_])"
        )

    def of(self, name: str) -> int:
        """Position of the option with this label."""
        found = self._index.get(name.casefold())
        return self.names.index(name) if found is None or self._one_case else found

    def listed(self, text: str) -> set[int]:
        """Labels that begin a line of the text, as in a list of options."""
        return {
            self.of(match["leading"])
            for match in self._marked.finditer(text)
            if match["leading"] is not None
        }

    def mentions(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Yield each mention of a label in running text: its start, its end, the position."""
        marked = [
            match
            for match in self._marked.finditer(text)
            # "the answer I choose"
            if not (
                match["option"]
                and self._is_word(match["option"])
                and _WORD_BEHIND.match(text[match.end() : match.end() + 24])
            )
        ]
        spans = [match.span() for match in marked]
        found = [
            (*match.span(), self.of(next(group for group in match.groups() if group is not None)))
            for match in marked
        ]
        for match in self._bare.finditer(text):
            start, end = match.span()
            inside = any(a <= start and end <= b for a, b in spans)
            if not inside and self._stands_alone(text, start, end):
                found.append((start, end, self.of(match["bare"])))
        yield from sorted(found)

    def _stands_alone(self, text: str, start: int, end: int) -> bool:
        """Whether a label without a mark around it is a label, by what stands beside it."""
        before, after = text[max(0, start - 24) : start], text[end : end + 24]
        last, following = before.rstrip(" \t*_\"'`([「『"), after.lstrip("*_\"'`)]」』")
        if not (_frames(last) and _goes_on(following)):
            return False
        if self._digits:
            return not (
                _WORD_BEHIND.match(following)
                or _OPERATOR_BEHIND.match(following)
                or _OPERATOR_BEFORE.search(last)
            )
        label = text[start:end]
        if self._hiragana:
            return self._hiragana_alone(last, label)
        if self._is_word(label):
            return not (
                _WORD_BEHIND.match(following) or (label in "Ii" and _PRONOUN.match(following))
            )
        return not (self.letters and _BOUND_NOUN.match(following))

    def _is_word(self, label: str) -> bool:
        return label in ("A", "I") or (self.letters and label.islower())

    def _hiragana_alone(self, last: str, label: str) -> bool:
        """Whether a kana that may be a particle stands behind a word that ends there."""
        if not last or last[-1] < "\u3041" or not last[-1].isalnum():
            return True
        if label == "い" and re.search(r"(?:^|[^\w])は$", last):
            return False
        return bool(
            re.search(
                rf"(?:は|も|なく|ので|から|たぶん|おそらく|やはり|きっと|つまり|よって|したがって"
                rf"|なら|ると|くて|選択肢|正解|正答|解答|回答|記号|番号"
                rf"|(?:{self.alternatives})(?:と|か|や|または|もしくは|および|及び))$",
                last,
            )
        )

    def is_article(self, text: str, match: re.Match[str]) -> bool:
        """Whether a label right behind a statement is a word: "the answer is a dog"."""
        label, end = match["label"], match.end("label")
        closed = match.end() > end
        goes_on = bool(_WORD_BEHIND.match(text[end : end + 20]))
        return goes_on and not closed and self._is_word(label)


def _frames(last: str) -> bool:
    """Whether what stands before a label leaves it a word of its own."""
    if not last or not last[-1].isalnum():
        return True
    if last[-1].isascii():
        return _FRAME.search(last) is not None
    return last[-1] < "\u3041" or _JA_FRAME.search(last) is not None


def _goes_on(following: str) -> bool:
    """Whether what stands behind a label is no noun or counter that it would be a part of."""
    japanese = following and following[0] >= "\u3005" and following[0].isalnum()
    return not japanese or _JA_BEHIND.match(following) is not None
