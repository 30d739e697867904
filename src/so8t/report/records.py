"""A run's answers as plain records, one a line of what people take elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from so8t.domain.thinking import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.journal.rows import AnswerRecord
    from so8t.journal.store import Journal

#: Stands where thinking was left out.
HIDDEN = "[thinking hidden] "


def answer_records(journal: Journal, *, thinking: bool = False) -> Iterator[dict[str, Any]]:
    """Yield every answer as it stands, in the order of the questions, A before B.

    Times are in seconds; `score` is the one that counts (None: missing). What a model thought
    aloud is left out unless `thinking`. Each row is read when it is asked for.
    """
    labels = journal.run.config if journal.run is not None else {}
    at = -1
    samples = journal.samples()
    sample: Any = None
    for answer in journal.answers(repeat=None):
        while at < answer.position:
            sample = next(samples)
            at += 1
        yield {
            "position": answer.position,
            "item": sample.id,
            "task": sample.task,
            "category": sample.category,
            "language": sample.language,
            "arm": answer.arm.value,
            "model": labels[answer.arm.value]["label"],
            "repeat": answer.repeat,
            "prompt": [{"role": one.role, "content": one.content} for one in sample.messages],
            "reference": sample.reference,
            "grader": sample.grader["type"],
            **_reply(answer, thinking=thinking),
        }


def _reply(answer: AnswerRecord, *, thinking: bool) -> dict[str, Any]:
    def told(text: str | None) -> str | None:
        return text if thinking or text is None else redact(text, HIDDEN)

    reply, score = answer.reply, answer.score
    return {
        "status": reply.status.value,
        "answer": told(reply.text),
        "score": answer.standing.counted,
        "grade": score.grade.value if score is not None else None,
        "reason": told(score.reason if score is not None else reply.reason),
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "seconds": reply.seconds,
        "attempts": answer.attempts,
        "at": answer.at.isoformat(),
    }
