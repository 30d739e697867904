"""What each arm's answers to each task are like, from the rows of the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from so8t.domain.answer_shares import AnswerShares, AnswerTally
from so8t.domain.exchange import Arm, Status
from so8t.domain.thinking import split_reply

if TYPE_CHECKING:
    from so8t.journal.store import Journal

#: The questions that are looked at: the first of the frozen random order. Enough for a share of a
#: whole task, and little beside a run of a million answers.
LOOKED_AT = 4_000


def answer_shares(journal: Journal) -> tuple[AnswerShares, ...]:
    """Return the shares of both arms' first answers, task by task, A before B.

    Failures are outages and say nothing of the model; thinking is not looked at.
    """
    samples = list(journal.samples(0, LOOKED_AT))
    tallies: dict[tuple[str, Arm], AnswerTally] = {}
    for arm in Arm:
        for answer in journal.answers(arm, start=0, stop=LOOKED_AT):
            if answer.reply.status is Status.FAILED:
                continue
            sample = samples[answer.position]
            tally = tallies.setdefault((sample.task, arm), AnswerTally(sample.task, arm))
            text = split_reply(answer.reply.text).answer
            reason = answer.score.reason if answer.score else None
            tally.add(sample, text, reason, answer.standing.counted)
    tasks = dict.fromkeys(sample.task for sample in samples)
    found = (tallies.get((task, arm)) for task in tasks for arm in Arm)
    return tuple(s for one in found if one is not None and (s := one.shares()) is not None)
