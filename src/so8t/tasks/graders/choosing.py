"""Which option a reply settles on: the ways to state a choice, alike for all kinds of labels."""

from __future__ import annotations

import re
from functools import lru_cache

from so8t.domain.language import is_japanese
from so8t.tasks.graders.denial import denied, denied_behind
from so8t.tasks.graders.labels import BEHIND_LABEL, Labels
from so8t.tasks.graders.own_answer import whole_sentences
from so8t.tasks.graders.text import bare_box, boxed, collapse, fold, labelled, nfkc, normalize

_FILLER = re.compile(
    r"(?:\s*(?:option|choice|letter|number|therefore|clearly|probably|definitely|選択肢(?:は|の)?|次の|やはり"
    r"|→|->|=>|[:、,=]))*\s*",
    re.IGNORECASE,
)
# What comes before an answer without being a label of one: "so", "I choose", 「正しいのは」.
_CONCLUSION = re.compile(
    r"(?:\b(?:so|therefore|thus|hence"
    r"|(?:I|we|you)(?:'d|'ll|'m|\s+would|\s+will|\s+should|\s+am)?\s+(?:choose|pick|select|say|go(?:ing)?\s+with"
    r"|choosing|picking|(?:think|believe|guess)(?:\s+that)?(?:\s+it(?:'s|\s+is))?)"
    r"|correct\s+(?:one|statement|option|choice|letter|response)\s+is"
    r"|(?:only|best|right)\s+(?:\w+\s+){1,4}is)\b"
    r"|\bbut\s+(?:it(?:'s|\s+is)|now)\b|したがって|よって|ゆえに|だから|つまり|以上(?:より|から)"
    r"|(?:正しい|適切な|当てはまる|正解な|選ぶ|ふさわしい|近い|適当な)(?:の|もの|選択肢|答え)は|選択肢は)[\s,、:]*",
    re.IGNORECASE,
)
_JOIN = re.compile(
    r"[)\]}」』】\"'`*_.]*\s*(?:,|、|/|&|\+|\bor\b|\band\b|または|もしくは|か|と|および|及び)\s*"
    r"(?:option\s+|both\s+)?",
    re.IGNORECASE,
)
# "The answer is A. Wait, no, it's B." 「答えはAです。いや、Bです。」
_CORRECTION = re.compile(
    r"(?:^|[.!?,:;\n\u2013\u2014-])[ \n]{0,2}"
    r"(?:(?:wait|no|actually|sorry|oops|hmm+|correction|scratch\s+that|on\s+second\s+thought)\b"
    r"[\s,.:;!\u2013\u2014-]*){1,4}"
    r"(?:it(?:['’]s|\s+is|\s+(?:should|must|has\s+to)\s+be)|I\s+mean|make\s+(?:it|that))[\s,:]*"
    r"|(?:^|[。、.!\n])[ \n]{0,2}(?:いや|いえ|待って(?:ください)?|訂正(?:します)?|失礼(?:しました)?"
    r"|間違え(?:ました|た)|すみません)[。、,.\s]*(?:正しくは|やはり|やっぱり)?、?"
    r"(?=[^。\n]{1,40}?(?:です|でした|だ))",
    re.IGNORECASE,
)
_DASH = re.compile(r"^[-\u2013]\s+")
_CLAUSE_END = re.compile(r"[\"'」』)*_`]*(?:[\s]*[,.:;。、!\n(-]|です|だ|という)")
_ARTICLE = re.compile(rf"(?:an?|the)\s+(?!{BEHIND_LABEL})(?=[a-z]{{2}})", re.IGNORECASE)
_NOUN = re.compile(rf"(?!{BEHIND_LABEL})[a-z]{{2}}", re.IGNORECASE)
# One label out of several is said to be right, or better than another.
_ASSERTED = re.compile(
    r"[)\]}」』】\"'`*_]*\s*(?:(?:is|are|seems|looks|appears)\s+(?:to\s+be\s+)?(?:\w+\s+){0,2}?(?:correct|right|true"
    r"|best|better|closest|likeliest|appropriate|accurate|the\s+(?:\w+\s+){0,2}?(?:answer|option|choice|one))\b"
    r"|(?:is|fits?|works?|remains?|matches|it\s+is)\s*(?:best|better)?\s*(?:$|[.!\n])"
    r"|:\s*[*_]*(?:right|correct|true|yes\b|○|◯|✓|✔|✅|正しい|正解|適切)"
    r"|(?:が|は)(?:最も|一番|より)?(?:正し|正解|正答|適切|適当|当てはま|ふさわし|近い|答え|残)|を(?:選|採))",
    re.IGNORECASE,
)
# A clause about a label with which a reply begins: 「Bです。」, not 「Bですが、」.
_BEGINS = re.compile(
    r"(?:です|でしょう|である|だ)(?!が|けど|けれど|った|と)|だと(?:思|考)|(?:です|だ)と"
)
_REASON = re.compile(r"\s*(?:because|since|as|[!(（「-])")
_MATHS = re.compile(r"\$([^$\n]{1,24})\$|\\\(([^\n]{1,24}?)\\\)")
_ITEM_BREAK = re.compile(
    r"[\s,;、。.*_|/()（）-]*(?:\b(?:and|or)\b|と|または)?[\s(*_\[（-]*$", re.IGNORECASE
)
# What goes on behind the answer "no", not behind the determiner.
_BEHIND_NO = (
    r"(?:because|since|as|it|that|this|the|there|they|he|she|we|you|i|not|and|or|but|is|was|for|in"
    r"|to|with|if|so|yes|thanks|therefore|option|answer)\b"
)


def recognise(answer: str, options: tuple[str, ...], labels: tuple[str, ...]) -> int | str:
    """Return the position of the option that an answer settles on, or why there is none.

    In this order, the first that decides: the content of a box; what stands behind the last
    label ("the answer is") or correction ("no, it's"); what the reply begins with; its last line;
    what follows a last "so"; the only label named; the one label that is called right; the only
    option text named. A list of the options, in any order, says nothing.
    """
    finder = _finder(options, labels)
    inside = boxed(answer)
    if inside is not None:
        answer = bare_box(inside)
    answer = _MATHS.sub(lambda match: match[1] or match[2], bare_box(answer))
    text = finder.without_list(nfkc(answer).strip())
    if (lines := finder.whole_lines(text)) and len(lines) > 1:
        return finder.several(lines)
    for found in (
        finder.whole(text),
        finder.behind(text, sorted([*labelled(text), *_ends(_CORRECTION, text)])),
        finder.beginning(text),
        finder.whole(text.rsplit("\n", maxsplit=1)[-1]),
        finder.behind(text, _ends(_CONCLUSION, text)),
    ):
        if len(found) == 1:
            return next(iter(found))
        if found:
            return finder.several(found)
    texts, rest = finder.texts_named(text)
    # letters inside an option's text ("vitamin C") name no option
    named = finder.labels_named(rest)
    for found in (named, finder.asserted(rest) if len(named) > 1 else set(), texts):
        if len(found) == 1:
            return next(iter(found))
    named = named or texts
    return finder.several(named) if named else "no choice recognised"


def stated(answer: str, options: tuple[str, ...], labels: tuple[str, ...]) -> int | None:
    """Position of the option that the whole sentences of a cut reply state as their answer.

    By a box, behind a label or a correction, or at the beginning; what is only mentioned settles
    nothing.
    """
    finder = _finder(options, labels)
    inside = boxed(answer)
    text = finder.without_list(
        nfkc(bare_box(whole_sentences(answer) if inside is None else inside))
    )
    if inside is not None:
        found = finder.whole(text.strip())
    else:
        positions = sorted([*labelled(text), *_ends(_CORRECTION, text)])
        found = finder.behind(text, positions) or finder.beginning(text)
    return next(iter(found)) if len(found) == 1 else None


class _Finder:
    """Patterns for one list of options; every method gives the set of positions it finds."""

    def __init__(self, options: tuple[str, ...], labels: tuple[str, ...]) -> None:
        self._texts = [normalize(option) for option in options]
        self._labels = Labels(labels)
        self._names = labels
        # a text that two options share names neither
        self._texts = [
            t if self._texts.count(t) == 1 else f"\0{i}" for i, t in enumerate(self._texts)
        ]
        self._texts = _without_articles(self._texts)
        sorted_texts = sorted(range(len(options)), key=lambda i: -len(self._texts[i]))
        self._text_patterns = [(i, _text_pattern(self._texts[i])) for i in sorted_texts]
        self._text_patterns_by_index = dict(self._text_patterns)
        texts = "|".join(r"\s+".join(map(re.escape, self._texts[i].split())) for i in sorted_texts)
        # "(B) the text", "B: the text", 「イ 文」
        self._item = re.compile(
            rf"[(（\[*_ ]{{0,4}}(?<![A-Za-z0-9])(?P<label>{self._labels.alternatives})"
            rf"[)）\].:、。*_ \t-]{{1,6}}"
            rf"[\"'「*_]*(?P<text>{texts})(?![A-Za-z0-9])[\"'」*_.]*",
            re.IGNORECASE,
        )

    def several(self, found: set[int]) -> str:
        """Say which options were named."""
        return f"several choices named: {', '.join(self._names[i] for i in sorted(found))}"

    def whole(self, text: str) -> set[int]:
        """Find the option that the text is, and nothing else: B, (b), **B.**, "B: the text"."""
        index = self._text_index(text)
        if index is not None:
            return {index}
        match = self._labels.token.match(text)
        if not match:
            return set()
        index = self._labels.of(match["label"])
        rest = text[match.end() :].strip()
        if not rest.strip(".。!):*、") or rest in ("です", "です。", "だ", "だ。", "である。"):
            return {index}
        body = rest.lstrip(" .:)、。")
        # a dash is the text's own ("- 1/2") before it is one behind the label ("B - dog")
        for text_of in (body, _DASH.sub("", body, count=1)):
            other = self._text_index(text_of)
            if other is not None:
                return {index, other}
        return set()

    def whole_lines(self, text: str) -> set[int]:
        """Find the options that the lines are, where each line is one."""
        lines = [self.whole(line.strip()) for line in text.splitlines() if line.strip()]
        return set().union(*lines) if lines and all(len(found) == 1 for found in lines) else set()

    def _text_index(self, text: str) -> int | None:
        """Position of the option whose text this is, with or without an article."""
        plain = normalize(_unwrapped(text))
        return next((i for i, pattern in self._text_patterns if pattern.fullmatch(plain)), None)

    def behind(self, text: str, positions: list[int]) -> set[int]:
        """Find the option named right behind the last position that has one."""
        for position in reversed(positions):
            filler = _FILLER.match(text, position)
            start = filler.end() if filler else position
            found = self._at(text, start)
            if found:
                return found
        return set()

    def beginning(self, text: str) -> set[int]:
        """Find the option that the reply begins with, unless it begins by repeating the list."""
        listed = self._labels.listed(text)
        if len(listed) > 1:
            return set()
        match = self._labels.token.match(text)
        if match:
            after = text[match.end() : match.end() + 1]
            bracketed = match[0] != match["label"]
            if _BEGINS.match(text, match.end()) or _ASSERTED.match(text, match.end()):
                found = self._at(text, 0)
                return found if len(found) == 1 else set()
            own = self._text_patterns_by_index[self._labels.of(match["label"])]
            spoken = text[match.end() : match.end() + 400].lstrip(" \t.:、。*_-").replace("\n", " ")
            closed = bracketed and (own.match(spoken) or _REASON.match(text, match.end()))
            if after in ("", "\n", ".", ":", ",", "、", "。", ")") or closed:
                found = self._at(text, 0)
                # "A and B are both tempting, but": several at the beginning settle nothing yet
                return found if len(found) == 1 else set()
        return self._text_at(text, 0, alone=True)

    def _at(self, text: str, start: int) -> set[int]:
        """Find the options named at a position: one, or several joined by "or", "and", a comma."""
        found: set[int] = set()
        while True:
            match = self._labels.token.match(text, start)
            # "a" and "i" are words where a sentence goes on behind them
            if match and not self._is_word(text, match):
                if denied_behind(text, match.end()):
                    return set()
                found.add(self._labels.of(match["label"]))
                end = match.end()
            else:
                return found | self._text_at(text, start, alone=bool(found))
            join = _JOIN.match(text, end)
            if not join:
                return found
            start = join.end()

    def _is_word(self, text: str, match: re.Match[str]) -> bool:
        """Whether a label is a word: "a dog", "I think", or the first one of an option's text."""
        label = match.start("label")
        for _, pattern in self._text_patterns:
            option = pattern.match(text, label)
            if option and option.end() > match.end("label"):
                return self._labels.letters
        return self._labels.is_article(text, match)

    def _text_at(self, text: str, start: int, *, alone: bool = False) -> set[int]:
        """Find the option texts at a position: the longest one, and others joined to it by "or".

        With `alone` only where a clause ends behind it ("Yes, ..."), not where it goes on.
        """
        piece = text[start : start + 1000].lstrip(" \t\n\"'`*_「『(")
        # any white space is a space, but a line that ends is told from words that go on
        lines = (collapse(fold(line)) for line in piece.split("\n"))
        plain = "\v".join(line for line in lines if line).rstrip(".。 ") + "\n"
        found: set[int] = set()
        position = 0
        listed = False
        while True:
            hits = ((i, pattern.match(plain, position)) for i, pattern in self._text_patterns)
            index, hit = next(((i, hit) for i, hit in hits if hit), (0, None))
            if hit is None or denied_behind(plain, hit.end()):
                return found
            join = _JOIN.match(plain, hit.end())
            if (alone or listed) and not (join or _CLAUSE_END.match(plain, hit.end())):
                return found if listed else set()
            found.add(index)
            if not join:
                return found
            # behind a comma another sentence may begin: "the dog, the cat meows"
            listed = join[0].rstrip().endswith((",", "、"))
            position = join.end()

    def labels_named(self, text: str) -> set[int]:
        """Find every label named in running text and not denied."""
        return {index for _, _, index in self._mentioned(text)}

    def asserted(self, text: str) -> set[int]:
        """Find every label that is called right: "B is better", 「イが正しい」."""
        found: set[int] = set()
        mentioned = self._mentioned(text)
        for n, (_, end, index) in enumerate(mentioned):
            if not _ASSERTED.match(text, end):
                continue
            found.add(index)
            for before, here in zip(
                mentioned[n - 1 :: -1] if n else [], mentioned[n::-1], strict=False
            ):
                # a comma alone ends a clause: "between C and D, C is better"
                join = _JOIN.fullmatch(text, before[1], here[0])
                if not join or join[0].strip() == ",":
                    break
                found.add(before[2])
        return found

    def _mentioned(self, text: str) -> list[tuple[int, int, int]]:
        found = list(self._labels.mentions(text))
        refused = denied(text, [(start, end) for start, end, _ in found])
        return [one for one, no in zip(found, refused, strict=True) if not no]

    def without_list(self, text: str) -> str:
        """Take out a list of the options, each label beside its own text, in any order.

        Two items at the least, and every option or those that begin the reply; "B: the text"
        alone is an answer.
        """
        runs: list[list[re.Match[str]]] = []
        for match in self._item.finditer(text):
            index = self._labels.of(match["label"])
            own = self._text_patterns_by_index[index].match(match["text"].strip(" *_`\"'「」"))
            if not own or own.end() < len(match["text"].strip(" *_`\"'「」.。、,;)）")):
                continue
            last = runs[-1] if runs else []
            seen = {self._labels.of(one["label"]) for one in last}
            joined = last and _ITEM_BREAK.match(text[last[-1].end() : match.start()])
            if joined and index not in seen:
                last.append(match)
            else:
                runs.append([match])
        for run in reversed(runs):
            if len(run) > 1:
                text = f"{text[: run[0].start()].rstrip()}\n{text[run[-1].end() :].lstrip()}"
        return text.strip()

    def texts_named(self, text: str) -> tuple[set[int], str]:
        """Find every option text that is not denied, longest first, and what is left of the reply.

        What a longer option covers is not looked at again: "black cat" does not name "cat".
        """
        found = set()
        for index, pattern in self._text_patterns:
            spans = [match.span() for match in pattern.finditer(text)]
            if not all(denied(text, spans)):
                found.add(index)
            # what stands before, between and behind
            edges = [0, *(edge for span in spans for edge in span), len(text)]
            text = "\0".join(text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))
        return found, text


@lru_cache(maxsize=256)
def _finder(options: tuple[str, ...], labels: tuple[str, ...]) -> _Finder:
    return _Finder(options, labels)


def _unwrapped(text: str) -> str:
    """Take away quotes, emphasis and brackets around a text, and a copula behind it."""
    bare = text.strip(" \t\n*_`\"'「」『』").rstrip(".。!")
    for copula in ("です", "だ"):
        if is_japanese(bare):
            bare = bare.removesuffix(copula)
    return bare.strip(" *_`\"'「」『』")


def _ends(pattern: re.Pattern[str], text: str) -> list[int]:
    """Positions right behind each match."""
    return [match.end() for match in pattern.finditer(text)]


def _without_articles(texts: list[str]) -> list[str]:
    """Options without the article that they begin with, as long as they still differ.

    Not where "a" is the name of something: "A only", "B only".
    """
    letters = any(re.match(r"[b-z](?![a-z0-9'])", text) for text in texts)
    if letters:
        return texts
    bare = [text[match.end() :] if (match := _ARTICLE.match(text)) else text for text in texts]
    return [short if bare.count(short) == 1 else texts[i] for i, short in enumerate(bare)]


def _text_pattern(text: str) -> re.Pattern[str]:
    """Match an option's text: at a letter only at the edge of a word, and numbers only whole.

    With or without an English article before it: "A dog" is the option dog.
    """
    left = r"(?<![A-Za-z0-9])" if text[0].isascii() and text[0].isalnum() else ""
    right = r"(?![A-Za-z0-9])" if text[-1].isascii() and text[-1].isalnum() else ""
    left += r"(?<![-\u2212/^])(?<!\d[.,])" if text[0].isdecimal() else ""
    right += r"(?![.,/^]\d)" if text[-1].isdecimal() else ""
    if text == "no":  # "no doubt", "no one knows", "no cat purrs"
        right += rf"(?![ \t]+(?!{_BEHIND_NO})[a-z])"
    elif _NOUN.match(text):
        left += r"(?:(?:an?|the)[ \t]+)?"
    words = r"\s+".join(re.escape(word) for word in text.split())
    return re.compile(left + words + right, re.IGNORECASE)
