"""Answers of A that an earlier run has already: the same question under the same settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from so8t.domain.exchange import Arm, Status
from so8t.domain.plan import NOISE_FLOOR, repeats
from so8t.errors import JournalError
from so8t.journal.evidence import repeats_of
from so8t.journal.rows import AnswerRecord, GradedReply
from so8t.journal.store import Journal, request_key
from so8t.pipeline.run.rundir import find_runs
from so8t.tasks.graders import grader_digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from so8t.domain.sample import Sample

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Reused:
    """What an earlier run saved this one.

    `seconds` is the time that its answers took then, None where the engine did not tell.
    """

    run_id: str
    answers: int
    seconds: float | None


def reuse_baseline(journal: Journal, runs: Path, settings: str) -> Iterator[Reused]:
    """Copy A's answers from earlier runs below `runs` into `journal`; yield what each gave.

    An answer is taken only where the digests of the settings (model, template, engine, profile,
    decoding), of the question and of the grader's rules are all the same. Failed answers are not
    taken. A damaged earlier run gives nothing.
    """
    for directory in find_runs(runs):
        if directory == journal.directory:
            continue
        try:
            with Journal(directory, readonly=True) as earlier:
                if earlier.run is None or settings not in earlier.all_settings():
                    continue
                run_id = earlier.run.run_id
                known = {
                    (digest, answer.repeat): answer
                    for digest, answer in _answers(earlier)
                    if answer.settings == settings
                }
        except JournalError:
            continue
        taken = list(_matching(journal, known, run_id))
        for start in range(0, len(taken), _BATCH):
            journal.record(taken[start : start + _BATCH])
        if taken:
            seconds = [graded.reply.seconds for graded in taken]
            told = [value for value in seconds if value is not None]
            yield Reused(run_id, len(taken), sum(told) if len(told) == len(taken) else None)


def _answers(earlier: Journal) -> Iterator[tuple[str, AnswerRecord]]:
    digests = [sample.digest for sample in earlier.samples()]
    for answer in earlier.answers(Arm.A, repeat=None):
        if answer.repeat == NOISE_FLOOR:
            continue
        if answer.reply.status is not Status.FAILED and answer.reused_from is None:
            yield digests[answer.position], answer


def _matching(
    journal: Journal, known: dict[tuple[str, int], AnswerRecord], run_id: str
) -> Iterator[GradedReply]:
    count = journal.sample_count()
    wanted = {
        (position, repeat)
        for repeat in repeats(repeats_of(journal))
        for position in journal.open_positions(Arm.A, 0, count, repeat=repeat, failed=True)
    }
    for position, sample in enumerate(journal.samples()):
        for repeat in repeats(repeats_of(journal)):
            answer = known.get((sample.digest, repeat))
            if (position, repeat) in wanted and answer is not None and _same_rules(sample, answer):
                yield GradedReply(
                    Arm.A,
                    position,
                    repeat,
                    replace(answer.reply, key=request_key(Arm.A, position, repeat)),
                    answer.settings,
                    answer.score,
                    answer.grader,
                    reused_from=run_id,
                )


def _same_rules(sample: Sample, answer: AnswerRecord) -> bool:
    return answer.grader == grader_digest(sample.grader)
