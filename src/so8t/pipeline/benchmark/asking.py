"""Asks one model one batch of questions, through crashes, tight memory and pauses.

Every answer is committed with its score before it is counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm, EngineReply, Status
from so8t.domain.thinking import join_reply
from so8t.errors import EngineCrashed, EngineError, EngineOutOfMemory
from so8t.journal.rows import GradedReply
from so8t.journal.store import request_key
from so8t.pipeline.benchmark.choice_methods import is_measured
from so8t.pipeline.register.register import request
from so8t.pipeline.run.progress import STOP_SECONDS
from so8t.tasks.graders import grade, grader_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from so8t.config.schema import RunConfig
    from so8t.domain.exchange import EngineRequest
    from so8t.domain.sample import Sample, Score
    from so8t.journal.store import Journal
    from so8t.pipeline.benchmark.answer_settings import AnswerSettings
    from so8t.pipeline.benchmark.balance import Balancing
    from so8t.pipeline.benchmark.interim import Deadline
    from so8t.pipeline.benchmark.loaded import LoadedModels
    from so8t.pipeline.run.progress import Note, StopRequest, Tally

_CRASHES_WITHOUT_PROGRESS = 5
# Answers in one commit at most; that many may be asked again after a power cut.
_TOGETHER = 64
BACK_OFF = (0.0, 0.5, 2.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Work:
    """Questions for one arm that one visit to its model answers."""

    arm: Arm
    repeat: int
    positions: list[int]


class Asker:
    """Answers work, whatever happens to the engine meanwhile."""

    def __init__(
        self,
        config: RunConfig,
        journal: Journal,
        loaded: LoadedModels,
        settings: AnswerSettings,
        balancing: Balancing,
        *,
        stop: StopRequest,
        deadline: Deadline,
        note: Note,
        back_off: Sequence[float] = BACK_OFF,
    ) -> None:
        """`back_off` holds the seconds to wait after the first, second, ... crash in a row."""
        self._config = config
        self._journal = journal
        self._loaded = loaded
        self._settings = settings
        self._balancing = balancing
        self._stop = stop
        self._deadline = deadline
        self._note = note
        self._back_off = back_off
        self._cut_short = False

    def answer(self, work: Work, tally: Tally) -> None:
        """Answer all of `work`, through as many engine crashes as make progress in between."""
        left = dict.fromkeys(work.positions)
        crashes = 0
        while left and not self._deadline.past():
            self._stop.check()
            known = len(left)
            if not self._may_ask():
                continue
            try:
                for position in self._serve(work, list(left), alone=crashes > 1):
                    del left[position]
                    tally.advance()
            except EngineError as error:
                if self._stop.overdue:
                    # We ended it ourselves; what it was at is asked again by the next start.
                    self._note(EventKind.STOP_OVERDUE, arm=work.arm.value, seconds=STOP_SECONDS)
                    self._stop.check()
                if not isinstance(error, EngineCrashed):
                    raise
                if isinstance(error, EngineOutOfMemory) and self._load_smaller(work, error):
                    continue
                crashes = 1 if len(left) < known else crashes + 1
                crashes = self._after_crash(work, left, crashes, error)
            else:
                if left and not self._cut_short:
                    raise EngineError(
                        f"the engine left {len(left)} questions of model {work.arm.upper()} "
                        "unanswered without saying why."
                    )

    def _may_ask(self) -> bool:
        """Do what the balancer wants done between answers; False when there is nothing to ask."""
        self._cut_short = False
        if self._balancing.reload_wanted():
            self._loaded.drop_all()
            self._settings.settle()
        if self._balancing.paused:
            # Whoever needs the memory gets it back while nothing is asked.
            self._loaded.drop_all()
            self._balancing.wait_while_paused(self._stop, self._deadline.past)
        return not (self._stop.asked or self._deadline.past())

    def _serve(self, work: Work, positions: list[int], *, alone: bool) -> Iterator[int]:
        """Ask `positions`; commit each answer, then yield its position. Some share a commit.

        After repeated crashes questions are asked one at a time (`alone`), so that one that kills
        the engine is found and takes no other with it.
        """
        session = self._loaded.session(work.arm)
        # What is measured goes first, so that batches are full and no chat waits in between.
        formed = self._journal.formed_positions(min(positions), max(positions) + 1)
        measured = {one for one in formed if is_measured(self._sample(one))}
        positions = sorted(positions, key=lambda one: one not in measured)
        flying: dict[str, tuple[int, Sample]] = {}
        levels: dict[str, int] = {}

        def questions() -> Iterator[EngineRequest]:
            for position in positions:
                if self._stop.asked or self._deadline.past() or self._balancing.interrupts:
                    self._cut_short = True
                    return
                key = request_key(work.arm, position, work.repeat)
                flying[key] = position, self._sample(position)
                levels[key] = self._balancing.level
                yield request(flying[key][1], self._config, key, work.repeat)

        batches = ([question] for question in questions()) if alone else iter([questions()])
        waiting: list[GradedReply] = []
        for batch in batches:
            try:
                for reply in session.serve(batch, in_flight=self._balancing.in_flight):
                    position, sample = flying.pop(reply.key)
                    if self._stop.overdue and reply.status is Status.FAILED:
                        continue  # cut off by us, and no fault of the model's
                    # What the engine kept apart is part of the reply, told apart in one way.
                    whole = join_reply(reply.thinking, reply.text)
                    joined = replace(reply, text=whole, thinking="")
                    level = levels.pop(reply.key)
                    waiting.append(self._graded_reply(work, position, sample, joined, level))
                    # Answers that are there already share one commit, which is what takes time.
                    if len(waiting) >= _TOGETHER or not session.ready:
                        yield from self._commit_all(waiting)
            except EngineError:
                yield from self._commit_all(waiting)
                raise
            yield from self._commit_all(waiting)

    def _commit_all(self, waiting: list[GradedReply]) -> Iterator[int]:
        """Commit answers together, then yield their positions; nothing waits any more."""
        if not waiting:
            return
        taken = list(waiting)
        waiting.clear()
        self._journal.record(taken)
        for graded in taken:
            self._balancing.answered(graded.reply)
            yield graded.position

    def _graded_reply(
        self,
        work: Work,
        position: int,
        sample: Sample,
        reply: EngineReply,
        level: int | None = None,
    ) -> GradedReply:
        score, grader = None, None
        if reply.status is not Status.FAILED:
            score, grader = self._graded(work, position, sample, reply)
        settings = self._settings.of_reply(work.arm, reply)
        return GradedReply(
            work.arm, position, work.repeat, reply, settings, score, grader, in_flight=level
        )

    def _graded(
        self, work: Work, position: int, sample: Sample, reply: EngineReply
    ) -> tuple[Score, str]:
        """Grade an answer; one that the other arm gave in the same words is graded once."""
        grader = grader_digest(sample.grader)
        twin = self._journal.graded_text(work.arm.other, position, work.repeat)
        if twin is not None and twin[:3] == (reply.status, reply.text, grader):
            return twin[3], grader
        return grade(sample, reply.text, truncated=reply.status is Status.TRUNCATED), grader

    def _load_smaller(self, work: Work, error: EngineOutOfMemory) -> bool:
        """Go on with the next smaller way to load, for both arms; False when there is none."""
        if not self._balancing.reduce_profiles(
            "out_of_memory", arm=work.arm.value, message=error.message
        ):
            return False
        self._loaded.drop_all()
        self._settings.settle()
        return True

    def _after_crash(
        self, work: Work, left: dict[int, None], crashes: int, error: EngineCrashed
    ) -> int:
        """Drop the dead session, wait a little; return the crashes in a row without progress."""
        self._note(
            EventKind.ENGINE_CRASHED, arm=work.arm.value, message=error.message, in_a_row=crashes
        )
        self._loaded.drop(work.arm)
        if crashes >= _CRASHES_WITHOUT_PROGRESS and left:
            # Asked alone, this question has ended the engine several times: it is the culprit.
            position = next(iter(left))
            del left[position]
            key = request_key(work.arm, position, work.repeat)
            reply = EngineReply(key, Status.FAILED, reason=f"engine crashed {crashes} times")
            self._journal.record(
                [self._graded_reply(work, position, self._sample(position), reply)]
            )
            crashes = 0
        self._stop.wait(self._back_off[min(crashes, len(self._back_off) - 1)])
        return crashes

    def _sample(self, position: int) -> Sample:
        return next(self._journal.samples(position, position + 1))
