"""The questions with both answers, those that differ first, made fit to be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from so8t.domain.exchange import Arm
from so8t.domain.thinking import redact
from so8t.journal.rows import AnswerRecord
from so8t.report.redact import shorten
from so8t.report.view import AnswerView, SampleView, SideBySide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.domain.sample import Sample

#: Characters of one question or answer; the middle of a longer one is left out, and counted.
LONGEST = 3_000
# Small models fill their token budget with empty lines; two tell as much as fifty.
_BLANK_LINES = re.compile(r"[^\S\n]*\n(?:[^\S\n]*\n){2,}")


@dataclass(frozen=True, slots=True)
class Marks:
    """What stands for thinking that is hidden, and for {count} characters that were too many.

    `thinking` None shows everything: for the eyes of whoever has the journal anyway.
    """

    thinking: str | None = "[thinking hidden] "
    omitted: str = " [... {count} characters left out ...] "

    def told(self, text: str) -> str:
        """Return what of a model's words, or of a grader's that may quote them, is shown."""
        return text if self.thinking is None else redact(text, self.thinking)


@dataclass(frozen=True, slots=True)
class _Both:
    """One question's two answers."""

    position: int
    a: AnswerRecord
    b: AnswerRecord

    @property
    def side(self) -> str:
        """Who scored higher: "a", "b", "same", or "missing" where a score is."""
        a, b = self.a.standing.counted, self.b.standing.counted
        if a is None or b is None:
            return "missing"
        return "same" if a == b else "b" if b > a else "a"

    @property
    def rank(self) -> tuple[int, int]:
        """Scores differ, then a score is missing, then other words for one score, then the rest."""
        order = {"a": 0, "b": 0, "missing": 1}.get(self.side)
        if order is None:
            order = 2 if self.a.reply.text != self.b.reply.text else 3
        return order, self.position


def side_by_side(
    samples: Sequence[Sample], answers: dict[Arm, list[AnswerRecord]], embed: int, marks: Marks
) -> SideBySide:
    """Pair the answers of all questions that both arms have answered; show at most `embed`."""
    by_place = {arm: {answer.position: answer for answer in answers[arm]} for arm in Arm}
    both = [
        _Both(position, a, by_place[Arm.B][position])
        for position, a in by_place[Arm.A].items()
        if position in by_place[Arm.B]
    ]
    ordered = sorted(both, key=lambda one: one.rank)
    differing = sum(one.side in ("a", "b") for one in both)
    return SideBySide(
        shown=tuple(_sample(samples[one.position], one, marks) for one in ordered[:embed]),
        differing=differing,
        differing_left_out=max(0, differing - embed),
        left_out=max(0, len(ordered) - embed),
    )


def _sample(sample: Sample, both: _Both, marks: Marks) -> SampleView:
    reference = sample.reference
    return SampleView(
        position=both.position,
        id=sample.id,
        task=sample.task,
        category=sample.category,
        language=sample.language,
        grader=str(sample.grader.get("type", "")),
        messages=tuple((m.role, _question(m.content, marks)) for m in sample.messages),
        reference=None if reference is None else _question(reference, marks),
        a=_answer_view(both.a, marks),
        b=_answer_view(both.b, marks),
        side=both.side,
        texts_differ=both.a.reply.text != both.b.reply.text,
    )


def _answer_view(answer: AnswerRecord, marks: Marks) -> AnswerView:
    reason = answer.reply.reason
    if reason is None and answer.score is not None:
        reason = answer.score.reason
    return AnswerView(
        status=answer.reply.status,
        text=_answer(answer.reply.text, marks),
        score=answer.standing.counted,
        # A grader may quote the answer, and the thinking with it.
        reason=None if reason is None else _answer(reason, marks),
        seconds=answer.reply.seconds,
        attempts=answer.attempts,
        reused=answer.reused_from is not None,
    )


def _question(text: str, marks: Marks) -> str:
    return shorten(text, LONGEST, marks.omitted)


def _answer(text: str, marks: Marks) -> str:
    told = marks.told(text).strip()
    return shorten(_BLANK_LINES.sub("\n\n", told), LONGEST, marks.omitted)
