"""Grader `judge`: another model says which of two answers is better; shown twice, order swapped."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from so8t.domain.exchange import Message
from so8t.domain.sample import Score
from so8t.errors import DataError
from so8t.tasks.graders.choosing import recognise
from so8t.tasks.graders.spec import GraderSpec
from so8t.tasks.graders.text import answer_of

if TYPE_CHECKING:
    from so8t.domain.sample import Sample

Side = Literal["first", "second", "tie"]
#: What the score of an answer says until its pair has been judged.
WAITING = "waits for the judge"
_SIDES: tuple[Side, ...] = ("first", "second", "tie")
_OPTIONS = {
    "en": ("The first answer is better", "The second answer is better", "Both are equally good"),
    "ja": ("1番目の回答のほうがよい", "2番目の回答のほうがよい", "どちらも同じくらいよい"),
}
_LABELS = ("1", "2", "0")
_ASK = {
    "en": (
        "Compare two answers to the same question. Their order and their length do not matter."
        "{criteria}\n\n[Question]\n{question}{reference}\n\n[Answer 1]\n{first}\n\n"
        "[Answer 2]\n{second}\n\nWhich answer is better? Write 1 if it is answer 1, 2 if it is "
        "answer 2, 0 if both are equally good. Write this digit alone on the last line after "
        '"Answer:".'
    ),
    "ja": (
        "同じ質問への2つの回答を比べてください。順番や長さは考えないでください。{criteria}\n\n"
        "【質問】\n{question}{reference}\n\n【回答1】\n{first}\n\n【回答2】\n{second}\n\n"
        "どちらの回答がよいですか。回答1なら1、回答2なら2、同じくらいなら0と、"
        "最後の行に「答え：」に続けて数字だけを書いてください。"
    ),
}
_REFERENCE = {"en": "\n\n[A right answer]\n{0}", "ja": "\n\n【正しい答えの例】\n{0}"}


class LLMJudge(GraderSpec):
    """Pairwise, by the model that the run's `judge` names.

    The better answer scores 1 and the other 0. Judged once in each order; where the two verdicts
    differ, or both say so, it is a tie: 0.5 each. A verdict that cannot be read leaves the pair
    unscored. A reference is shown to the judge as a right answer; it need not be there.
    """

    rules: ClassVar[int] = 1
    binary: ClassVar[bool] = False

    type: Literal["judge"] = "judge"
    criteria: str = Field(default="", description="what the judge is to look at, in a sentence")

    def check(self, reference: str | None) -> None:
        """Refuse an empty reference; none at all is fine."""
        if reference is not None and not reference.strip():
            raise DataError("grader 'judge' has an empty reference", hint="leave it out")

    def score(self, reference: str | None, answer: str) -> Score:  # noqa: ARG002 - no single answer has one
        """Say that this answer has no score before the other one is there."""
        return Score.unscored(WAITING)


def judge_messages(sample: Sample, first: str, second: str) -> tuple[Message, ...]:
    """Put two answers to a question before a judge, in the question's language."""
    language = "ja" if sample.language == "ja" else "en"
    criteria = str(sample.grader.get("criteria", ""))
    text = _ASK[language].format(
        criteria=f" {criteria}" if criteria else "",
        question="\n".join(f"[{m.role}] {m.content}" for m in sample.messages)
        if len(sample.messages) > 1
        else sample.messages[0].content,
        reference="" if sample.reference is None else _REFERENCE[language].format(sample.reference),
        first=answer_of(first),
        second=answer_of(second),
    )
    return (Message("user", text),)


def side_of(reply: str, language: str) -> Side | None:
    """Read which answer a judge prefers; None where that cannot be read."""
    options = _OPTIONS["ja" if language == "ja" else "en"]
    found = recognise(answer_of(reply), options, _LABELS)
    return None if isinstance(found, str) else _SIDES[found]


def without_a_judge(text_a: str, text_b: str) -> tuple[float, float] | None:
    """Score a pair that needs no judge: equal answers, or one that says nothing; else None."""
    a, b = answer_of(text_a), answer_of(text_b)
    if a == b:
        return (0.5, 0.5) if a else (0.0, 0.0)
    return None if a and b else (float(bool(a)), float(bool(b)))


def paired_score(a_first: Side | None, b_first: Side | None) -> tuple[float, float] | None:
    """Score A and B from the verdict with A shown first and the one with B shown first.

    None where either could not be read. Verdicts that contradict each other are a tie: what
    changes with the order is a habit of the judge, not a quality of the answers.
    """
    if a_first is None or b_first is None:
        return None
    if (a_first, b_first) == ("first", "second"):
        return 1.0, 0.0
    if (a_first, b_first) == ("second", "first"):
        return 0.0, 1.0
    return 0.5, 0.5
