"""The questions with both answers, those that differ first, made fit to be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from so8t.domain.exchange import Arm
from so8t.domain.measured import ChoiceMethod
from so8t.domain.thinking import redact
from so8t.engines.registry import kind_named
from so8t.errors import PrerequisiteError, UsageError
from so8t.journal.columns import OPEN
from so8t.journal.rows import AnswerRecord
from so8t.report.options import measured_answer, measured_prompt, options
from so8t.report.redact import shorten
from so8t.report.view import AnswerView, SampleView, SideBySide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.domain.sample import Sample
    from so8t.journal.columns import AnswerColumns
    from so8t.journal.store import Journal

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


def side_by_side(
    journal: Journal, answers: dict[Arm, AnswerColumns], embed: int, marks: Marks
) -> SideBySide:
    """Pair the answers of all questions that both arms have answered; show at most `embed`.

    Scores differ, then a score is missing, then other words for one score, then the rest.
    `answers` are the first ones. Texts are read only of what is shown, and as far as it takes to
    find those that differ.
    """
    a, b = answers[Arm.A], answers[Arm.B]
    both = (a.state != OPEN) & (b.state != OPEN)
    missing = np.isnan(a.score) | np.isnan(b.score)
    differs = both & ~missing & (a.score != b.score)
    shown = [*np.flatnonzero(differs)[:embed].tolist()]
    shown += np.flatnonzero(both & missing)[: embed - len(shown)].tolist()
    shown += _same_score(journal, both & ~missing & ~differs, embed - len(shown))
    differing, pairs = int(differs.sum()), int(both.sum())
    return SideBySide(
        shown=tuple(_read(journal, position, marks) for position in shown),
        differing=differing,
        differing_left_out=max(0, differing - embed),
        left_out=max(0, pairs - embed),
    )


def _same_score(journal: Journal, same: np.ndarray, wanted: int) -> list[int]:
    """Return `wanted` positions with equal scores, those with other words first."""
    other_words: list[int] = []
    same_words: list[int] = []
    if wanted and same.any():
        texts = zip(*(_texts(journal, arm, same) for arm in Arm), strict=True)
        for (position, text_a), (_, text_b) in texts:
            if text_a != text_b:
                other_words.append(position)
            elif len(same_words) < wanted:
                same_words.append(position)
            if len(other_words) == wanted:
                break
    return [*other_words, *same_words][:wanted]


def _texts(journal: Journal, arm: Arm, wanted: np.ndarray) -> Iterator[tuple[int, str]]:
    return ((position, text) for position, text in journal.texts(arm) if wanted[position])


def _read(journal: Journal, position: int, marks: Marks) -> SampleView:
    (sample,) = journal.samples(position, position + 1)
    a, b = journal.answers(start=position, stop=position + 1)
    return _sample(sample, _Both(position, a, b), marks, measures=_measures(journal))


def _measures(journal: Journal) -> bool:
    """Whether the run's engine measures likelihoods where a question has continuations."""
    kind = journal.run.config.get("engine", {}).get("kind") if journal.run else None
    try:
        return kind_named(str(kind)).capabilities.exact_likelihood
    except (UsageError, PrerequisiteError):
        return False  # an engine from a distribution that is not here: nobody can tell


def _sample(sample: Sample, both: _Both, marks: Marks, *, measures: bool) -> SampleView:
    reference = sample.reference
    asked = [(m.role, m.content) for m in sample.messages]
    prompt = measured_prompt(sample)
    if prompt is not None and _by_likelihood(sample, both, measures=measures):
        asked = [("user", prompt)] if prompt else []
    return SampleView(
        position=both.position,
        id=sample.id,
        task=sample.task,
        category=sample.category,
        language=sample.language,
        grader=str(sample.grader.get("type", "")),
        messages=tuple((role, _question(content, marks)) for role, content in asked),
        reference=None if reference is None else _question(reference, marks),
        a=_answer_view(sample, both.a, marks),
        b=_answer_view(sample, both.b, marks),
        side=both.side,
    )


def _by_likelihood(sample: Sample, both: _Both, *, measures: bool) -> bool:
    """Whether likelihoods were asked for; where neither answer tells, the run's engine does."""
    given = (measured_answer(sample, one.reply.text) for one in (both.a, both.b))
    methods = {one.method for one in given if one is not None}
    return ChoiceMethod.EXACT in methods if methods else measures


def _answer_view(sample: Sample, answer: AnswerRecord, marks: Marks) -> AnswerView:
    measured = measured_answer(sample, answer.reply.text)
    weighed = () if measured is None else options(sample, measured, answer.standing.counted)
    reason = answer.reply.reason
    if reason is None and answer.score is not None:
        reason = answer.score.reason
    return AnswerView(
        status=answer.reply.status,
        text="" if weighed else _answer(answer.reply.text, marks),
        score=answer.standing.counted,
        # A grader may quote the answer, and the thinking with it.
        reason=None if reason is None else _answer(reason, marks),
        seconds=answer.reply.seconds,
        attempts=answer.attempts,
        reused=answer.reused_from is not None,
        prompt_tokens=answer.reply.prompt_tokens,
        options=tuple(replace(one, text=_question(one.text, marks)) for one in weighed),
    )


def _question(text: str, marks: Marks) -> str:
    return shorten(text, LONGEST, marks.omitted)


def _answer(text: str, marks: Marks) -> str:
    told = marks.told(text).strip()
    return shorten(_BLANK_LINES.sub("\n\n", told), LONGEST, marks.omitted)
