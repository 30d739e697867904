"""How answers went: the times they took, and those that are not plain ones."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np

from so8t.domain.exchange import CONTEXT, Arm, Status
from so8t.domain.sample import Grade
from so8t.domain.thinking import CUT_IN_THINKING
from so8t.report.view import Latency, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from so8t.journal.rows import AnswerFigures, Standing
    from so8t.journal.store import Journal
    from so8t.report.side_by_side import Marks

#: Problems that a report lists; the others are counted.
MOST_PROBLEMS = 300
_KINDS = ("failed", "unscored", "cut_in_thinking", "truncated")


class AnswerStatistics:
    """One arm's answers as they pass by: numbers of all of them, words of those that are shown."""

    def __init__(self) -> None:
        """Begin without an answer."""
        self._given = 0
        self._times = array("d")
        self._rated_tokens = 0
        self._rated_seconds = array("d")
        self.troubles: dict[str, list[tuple[int, str | None]]] = {kind: [] for kind in _KINDS}
        self.counts = dict.fromkeys(_KINDS, 0)

    def count(self, answers: Iterable[AnswerFigures]) -> Iterator[Standing]:
        """Count answers, which come in the order of positions, and pass on how each stands."""
        for answer in answers:
            status = answer.standing.status
            # What an earlier run measured says nothing of this one's speed.
            if not answer.reused and status is not Status.FAILED:
                self._time(answer.seconds, answer.completion_tokens)
            kind, reason = _trouble(answer)
            if kind is not None:
                self.counts[kind] += 1
                if len(self.troubles[kind]) < MOST_PROBLEMS:
                    self.troubles[kind].append((answer.standing.position, reason))
            yield answer.standing

    def _time(self, seconds: float | None, tokens: int | None) -> None:
        self._given += 1
        if seconds is not None:
            self._times.append(seconds)
        if tokens is not None and seconds:
            self._rated_tokens += tokens
            self._rated_seconds.append(seconds)

    def latency(self) -> Latency:
        """Return how long the answers took."""
        times, rated = self._times, self._rated_seconds
        p50, p95 = (float(p) for p in np.percentile(times, (50, 95))) if times else (None, None)
        return Latency(
            answers=self._given,
            known=len(times),
            p50=p50,
            p95=p95,
            tokens_per_second=self._rated_tokens / sum(rated) if rated else None,
        )


def list_problems(
    journal: Journal, given: dict[Arm, AnswerStatistics], marks: Marks
) -> tuple[tuple[Problem, ...], int]:
    """Return the first answers that are not plain ones, and how many more there are.

    Failures come first, then unscored ones, those cut in thinking and truncated ones.
    """
    found: list[Problem] = []
    for kind in _KINDS:
        mine = sorted(
            (position, arm, reason)
            for arm, answers in given.items()
            for position, reason in answers.troubles[kind]
        )
        found += [
            # A grader may quote the answer, and the thinking with it.
            Problem(
                position,
                journal.sample_id(position),
                arm,
                kind,
                None if reason is None else marks.told(reason),
                _tokens(journal, position, arm) if reason == CONTEXT else None,
            )
            for position, arm, reason in mine[: MOST_PROBLEMS - len(found)]
        ]
    total = sum(sum(answers.counts.values()) for answers in given.values())
    return tuple(found), total - len(found)


def _tokens(journal: Journal, position: int, arm: Arm) -> int | None:
    found = journal.answers(arm, start=position, stop=position + 1)
    return next((answer.reply.prompt_tokens for answer in found), None)


def _trouble(answer: AnswerFigures) -> tuple[str | None, str | None]:
    standing = answer.standing
    if standing.status is Status.FAILED:
        return "failed", answer.reason
    if answer.score_reason == CUT_IN_THINKING:
        return "cut_in_thinking", answer.reason
    if standing.status is Status.TRUNCATED:
        return "truncated", answer.reason
    if standing.grade is Grade.UNSCORED:
        return "unscored", answer.score_reason
    return None, None
