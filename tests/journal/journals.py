"""Small real journals for the tests of the journal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from so8t.config.schema import VerdictConfig
from so8t.domain.exchange import Arm, EngineReply, Message, Status
from so8t.domain.sample import Origin, Sample, Score
from so8t.journal.evidence import freeze
from so8t.journal.rows import GradedReply
from so8t.journal.store import Journal, request_key

VERDICT = VerdictConfig(stop="full").model_dump(mode="json")


class Clock:
    """A clock that a test sets; it goes on by a second with each look."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def sample(number: int, *, category="math", task="t", cluster=None, grader="exact") -> Sample:
    return Sample(
        f"{task}/{number}",
        task,
        Origin.SUITE,
        category,
        "en",
        (Message("user", f"question {number}"),),
        {"type": grader},
        "yes",
        cluster=cluster,
    )


def graded(arm: Arm, position: int, value: float | None = 1.0, *, settings: str, **changes):
    repeat = changes.pop("repeat", 0)
    status = changes.pop("status", Status.COMPLETED)
    score = changes.pop("score", None if value is None else Score.number(value))
    text = changes.pop("text", f"answer {value}")
    reply = EngineReply(
        request_key(arm, position, repeat),
        status,
        text="" if status is Status.FAILED else text,
        reason=changes.pop("reason", None),
        prompt_tokens=7,
        completion_tokens=3,
        seconds=0.5,
    )
    assert not changes
    return GradedReply(arm, position, repeat, reply, settings, score, "grader-1" if score else None)


def small_journal(
    directory, samples, *, binary=True, look_every=1, macro_blocks=0, **verdict
) -> Journal:
    """A journal with a run and frozen samples, and no answers yet."""
    journal = Journal(directory, now=Clock())
    journal.create_run("small", {"verdict": VERDICT | verdict}, "0.1")
    journal.freeze(samples)
    freeze(journal, binary=binary, look_every=look_every, macro_blocks=macro_blocks)
    return journal
