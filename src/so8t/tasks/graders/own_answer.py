"""What of a reply is the model's answer: not the turns it wrote for others; an answer tag's inside.

A model that does not stop goes on with the next question and answers that one too. What stands
behind a turn that it opened itself counts for nothing.
"""

from __future__ import annotations

import re

# Marks that end a turn in the formats of models, and names of who speaks at the start of a line.
_END_OF_TURN = re.compile(
    r"<\|(?:im_end|im_start|eot_id|endoftext|end_of_turn|start_header_id|user|assistant|system)\|>"
    r"|<(?:end_of_turn|start_of_turn|/s|eos)>|\[/?INST\]|<</?SYS>>"
    r"|^[ \t]*(?:\#{1,4}[ \t]*|\*\*)?"
    r"(?:User|Human|Assistant|Instruction|ユーザー|人間|アシスタント)(?:\*\*)?[ \t]*[:：]"
    r"|^[ \t]*\#{2,4}[ \t]*(?:Instruction|Input|Question|User|Human|指示|入力|質問)\b",
    re.IGNORECASE | re.MULTILINE,
)
# The next question of a list of questions; the first one of a reply may repeat what was asked.
_NEXT_QUESTION = re.compile(
    r"^[ \t]*(?:\#{1,4}[ \t]*|\*\*)?(?:(?:Next\s+)?Question|Problem|Q|質問|問題|問)"
    r"[ \t]*\d{0,3}(?:\*\*)?[ \t]*[:：.．]"
    r"(?=[ \t]*\S|[ \t]*\n)",
    re.IGNORECASE | re.MULTILINE,
)
_STATED = re.compile(
    r"\b(?:answer|ans|response|solution|choice)\b[\s*]*(?:[:：=]|is\b)|答え?[\s*]*(?:は|[:：])|正解|解答|回答|^\s*A\s*[:：]"
    r"|\\boxed|\#{4}",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"[.!?]+[\"')\]*]*(?=\s)|[。！？!?]|\n|\}\$?(?=\s)")
# So short a text before the next question is an answer without any words.
_BARE_CHARACTERS, _BARE_WORDS = 24, 3
_TAG = re.compile(
    r"<(?P<tag>answer|response|final[_ -]?answer|最終回答|回答|答え)\s*>"
    r"(?P<inside>.*?)(?:</(?P=tag)\s*>|\Z)",
    re.IGNORECASE | re.DOTALL,
)


def own_answer(text: str) -> str:
    """Return what is graded of a reply without its thinking, trimmed. It may be empty."""
    return tagged_answer(own_turn(text)).strip()


def ends_before_the_cut(text: str) -> bool:
    """Whether the answer of a reply that was cut off is whole: a turn or a tag ends it before."""
    closed = any("</" in match[0] for match in _TAG.finditer(text))
    return closed or len(own_turn(text)) < len(text)


def whole_sentences(text: str) -> str:
    """Return a text that was cut off up to the end of its last whole sentence or line."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]].rstrip() if ends else ""


def own_turn(text: str) -> str:
    """Return a reply up to the first turn that the model wrote for someone else.

    A reply that begins with such a mark keeps what stands behind it.
    """
    mark = next((m for m in _END_OF_TURN.finditer(text) if text[: m.start()].strip()), None)
    if mark is not None:
        text = text[: mark.start()]
    for question in _NEXT_QUESTION.finditer(text):
        before = text[: question.start()].strip()
        bare = len(before) <= _BARE_CHARACTERS and len(before.split()) <= _BARE_WORDS
        if before and (_STATED.search(before) or (bare and before[-1] not in ":：")):
            return text[: question.start()]
    return text


def tagged_answer(text: str) -> str:
    """Return what stands in the last `<answer>` or `<response>` with words in it, or the text."""
    inside = [match["inside"] for match in _TAG.finditer(text)]
    return next((one for one in reversed(inside) if one.strip()), text)
