"""What the crash laboratory does to a journal over and over: a small run without a model.

Two arms answer the same questions; what they say is a function of the question, so that a run
that was disturbed can be compared with one that was not, answer by answer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.config.schema import VerdictConfig
from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm, EngineReply, Message, Status
from so8t.domain.plan import Phase
from so8t.domain.sample import Origin, Sample
from so8t.journal.evidence import freeze, gather
from so8t.journal.rows import GradedReply
from so8t.journal.store import Journal, request_key
from so8t.tasks.graders import grade, grader_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUESTIONS = 40
VERDICT = VerdictConfig(stop="full").model_dump(mode="json")


@dataclass
class Row:
    """One line of the laboratory's table.

    `lost` and `twice` count answers over all times; `redone` counts answers that were given and
    had to be given again because they were not acknowledged yet; `same` says that every disturbed
    run ended with the answers and the verdict of the undisturbed one. `lost_is_right` is for the
    control that must lose.
    """

    fault: str
    times: int = 0
    lost: int = 0
    twice: int = 0
    redone: int = 0
    same: bool = True
    note: str = ""
    lost_is_right: bool = False

    @property
    def good(self) -> bool:
        """Whether nothing was lost, nothing is there twice, and the end was the same."""
        lost = not self.lost if self.lost_is_right else bool(self.lost)
        return self.times > 0 and not lost and not self.twice and self.same


def shown(rows: list[Row]) -> str:
    """Write rows as a table."""
    lines = [("fault", "times", "lost", "twice", "redone", "same end", "")]
    lines += [
        (r.fault, str(r.times), str(r.lost), str(r.twice), str(r.redone),
         "yes" if r.same else "NO", r.note)
        for r in rows
    ]  # fmt: skip
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def fast_directory() -> Path | None:
    """A directory in memory, where there is one: what is tested is not the disk."""
    memory = Path("/dev/shm")  # noqa: S108 - the laboratory makes a private directory in it
    return memory if memory.is_dir() and os.access(memory, os.W_OK) else None


def questions(count: int = QUESTIONS) -> list[Sample]:
    """Return the questions in the order in which they are frozen."""
    return [
        Sample(
            f"lab/{n}", "lab", Origin.SUITE, "even" if n % 2 else "odd", "en",
            (Message("user", f"question {n}"),), {"type": "exact"}, "yes",
        )
        for n in range(count)
    ]  # fmt: skip


def begin(journal: Journal, count: int = QUESTIONS) -> None:
    """Plan the run in an empty journal; what is planned already stays."""
    if journal.run is None:
        journal.create_run("lab", {"verdict": VERDICT}, "0")
    if not journal.sample_count():
        journal.freeze(questions(count))
    if not journal.events(EventKind.PLAN_FROZEN):
        freeze(journal, binary=True, look_every=8)
    if journal.phase(Phase.REGISTER) is None:
        journal.phase_step(Phase.REGISTER, 1, "done", "in", {})


def reply(arm: Arm, sample: Sample, position: int, settings: str) -> GradedReply:
    """Answer as an engine would: B is right four times in five, A every second time."""
    right = position % 5 if arm is Arm.B else position % 2
    text = "yes" if right else "no"
    given = EngineReply(request_key(arm, position, 0), Status.COMPLETED, text, seconds=0.1)
    return GradedReply(
        arm, position, 0, given, settings, grade(sample, text), grader_digest(sample.grader)
    )


def answer_rest(journal: Journal) -> Iterator[tuple[Arm, int]]:
    """Answer what is open, one commit each; yield what was acknowledged."""
    settings = journal.settings({"engine": "lab"})
    samples = list(journal.samples())
    for position, sample in enumerate(samples):
        for arm in Arm:
            if journal.open_positions(arm, position, position + 1):
                journal.record([reply(arm, sample, position, settings)])
                yield arm, position


def answered(journal: Journal) -> list[tuple[Arm, int]]:
    """List every answer row by arm and position; one that is there twice is listed twice."""
    return [
        (Arm(arm), position)
        for arm, position in journal._connection.execute(
            "SELECT arm, position FROM answer WHERE status <> 'failed' AND repeat = 0"
        )
    ]


def outcome(journal: Journal) -> dict[str, Any]:
    """Return everything that must not depend on disturbances."""
    journal.verify()
    evidence = gather(journal)
    return {
        "answers": {
            (a.arm.value, a.position): (a.reply.text, a.score.value if a.score else None)
            for a in journal.answers()
        },
        "verdict": (evidence.overall.outcome.value, evidence.overall.difference),
        "used": evidence.overall.items_used,
    }


def undisturbed(directory: Path, *, make: Callable[..., Journal] = Journal) -> dict[str, Any]:
    """Return the outcome of a run that nothing disturbs."""
    with make(directory) as journal:
        begin(journal)
        for _ in answer_rest(journal):
            pass
        return outcome(journal)
