"""Phase 4: both models are asked the same frozen questions, in blocks A B, B A.

Every answer is committed with its score before it is counted. What is asked next is found out
from the journal alone, so a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import itertools
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from so8t.domain.exchange import Arm, EngineReply, LoadProfile, Status
from so8t.domain.plan import NOISE_FLOOR, Leg, legs, repeats
from so8t.domain.sample import Origin
from so8t.errors import EngineCrashed, EngineError, EngineOutOfMemory
from so8t.journal.answers import IN_FORCE
from so8t.journal.conditions import conditions
from so8t.journal.evidence import gather, repeats_of
from so8t.journal.items import by_item, every_answer, unequal_positions
from so8t.journal.rows import GradedReply
from so8t.journal.store import CONFIG_CHANGED, request_key, system_now
from so8t.pipeline.balance import Balancing
from so8t.pipeline.baseline import reuse_baseline
from so8t.pipeline.lanes import EXACT_LANE_ENGINE, compare_lanes, is_measured
from so8t.pipeline.planning import samples_in_block
from so8t.pipeline.progress import STOP_SECONDS
from so8t.pipeline.register import request
from so8t.pipeline.truncation import in_noise_floor
from so8t.system.memory import available_memory
from so8t.tasks.graders import grade, grader_digest
from so8t.verdict.settings import Ending, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from so8t.config.schema import RunConfig
    from so8t.domain.exchange import EngineRequest
    from so8t.domain.sample import Sample, Score
    from so8t.engines.protocol import Engine, Session
    from so8t.journal.evidence import Evidence
    from so8t.journal.store import Journal
    from so8t.pipeline.progress import Reporter, StopRequest
    from so8t.pipeline.results import Registration
    from so8t.resources.balancer import ResourceBalancer

_CRASHES_WITHOUT_PROGRESS = 5
BACK_OFF = (0.0, 0.5, 2.0, 10.0, 30.0)


#: The events that remember a look that said to go on, and that earlier runs were searched.
LOOKED = "looked"
SEARCHED = "baseline_searched"
_SECURE_SECONDS = 1800.0
_SETTLED = (Ending.DECIDED, Ending.FUTILE)


def deadline_of(config: RunConfig, journal: Journal) -> datetime | None:
    """Return when the run must have its verdict: the first such time of day after it was asked for.

    A run that goes on after a reboot keeps the deadline that it had; one that is given another
    deadline, or none, goes on to that.
    """
    wanted, run = config.verdict.deadline, journal.run
    if wanted is None or run is None:
        return None
    asked = datetime.fromisoformat(run.created)
    for event in journal.events(CONFIG_CHANGED):
        if "verdict.deadline" in event.data["changed"]:
            asked = event.at
    asked = asked.astimezone()
    hour, minute = (int(part) for part in wanted.split(":"))
    deadline = asked.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return deadline if deadline > asked else deadline + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which questions are to be asked: of some origins, of some tasks; None is all."""

    origins: frozenset[Origin] | None = None
    tasks: frozenset[str] | None = None

    @property
    def nothing(self) -> bool:
        return self.tasks is not None and not self.tasks


@dataclass(frozen=True, slots=True)
class _Work:
    """Questions for one arm that one visit to its model answers."""

    arm: Arm
    repeat: int
    positions: list[int]


class _Counter:
    """Counts answers for whoever listens."""

    def __init__(self, reporter: Reporter, what: str, total: int, replayed: int = 0) -> None:
        self._reporter, self._what = reporter, what
        self._total, self._done, self._replayed = total, replayed, replayed
        self._tell()

    def advance(self) -> None:
        """Count one more."""
        self._done += 1
        self._tell()

    def _tell(self) -> None:
        self._reporter.progress(self._what, self._done, self._total, self._replayed)


class Phase4BenchmarkRunner:
    """Asks both models, grades, and looks at the evidence at the end of each block."""

    def __init__(
        self,
        config: RunConfig,
        journal: Journal,
        engine: Engine,
        registration: Registration,
        *,
        reporter: Reporter,
        stop: StopRequest,
        balancer: ResourceBalancer | None = None,
        back_off: Sequence[float] = BACK_OFF,
        now: Callable[[], datetime] = system_now,
    ) -> None:
        """Begin where the journal says.

        `balancer` says between answers how many may be in flight; without one it is as many as
        there are slots. `back_off` holds the seconds to wait after the first, second, ... crash
        in a row.
        """
        self._config = config
        self._journal = journal
        self._engine = engine
        self._registration = registration
        self._reporter = reporter
        self._stop = stop
        self._back_off = back_off
        self._now = now
        self._deadline = deadline_of(config, journal)
        self._count = journal.sample_count()
        self._block = samples_in_block(config, self._count)
        self._repeated = repeats_of(journal)
        self._settings: dict[tuple[Arm, LoadProfile], str] = {}
        self._sessions: dict[Arm, Session] = {}
        self._stack = ExitStack()
        self._secured = time.monotonic()
        self._cut_short = False
        self._balancing = Balancing(
            balancer,
            journal,
            registration.profile,
            lane=registration.engine.lane,
            shapes=[registered.shape for registered in registration.arms.values()],
            max_tokens=config.generation.max_tokens,
            note=self._note,
        )

    def run_hf_benchmark(self) -> Evidence:
        """Ask the questions of the HF benchmarks only; the verdict is over what was asked."""
        return self._run({Origin.HF})

    def run_llm_benchmark(self) -> Evidence:
        """Ask the questions of the LLM suites only; the verdict is over what was asked."""
        return self._run({Origin.SUITE})

    def run(self) -> Evidence:
        """Ask everything in the frozen order, and stop early where the config says so."""
        return self._run(set(Origin))

    def retry(self) -> int:
        """Ask the questions again whose answers failed; return how many are answered now."""
        failed = self._failed_count()
        with self._stack, self._stop.when_overdue(self._end_sessions):
            self._retry_failed()
        return failed - self._failed_count()

    # --- the course of a run -------------------------------------------------------------------

    def _run(self, origins: set[Origin]) -> Evidence:
        everything = origins == set(Origin)
        wanted = _Wanted(None if everything else frozenset(origins))
        with self._stack, self._stop.when_overdue(self._end_sessions):
            if self._config.benchmark.reuse_baseline:
                self._reuse_baseline()
            self._measure_noise_floor(wanted)
            self._warn_of_cut_answers()
            self._answer_blocks(wanted, may_stop=everything)
            self._retry_failed()
            self._answer_both_or_neither()
            if self._engine.info.lane == EXACT_LANE_ENGINE and not self._past_deadline():
                compare_lanes(self._config, self._journal, self._session, self._stop)
            self._balancing.finish()
        return gather(self._journal)

    def _reuse_baseline(self) -> None:
        settings = self.settings_of(Arm.A)
        if any(event.data["settings"] == settings for event in self._journal.events(SEARCHED)):
            return
        runs = self._journal.directory.parent
        for reused in reuse_baseline(self._journal, runs, settings):
            self._note("baseline_reused", **asdict(reused))
        self._journal.event(SEARCHED, settings=settings)

    def _answer_blocks(self, wanted: _Wanted, *, may_stop: bool) -> None:
        replayed = sum(self._journal.answer_counts().values())
        total = 2 * self._journal.sample_count(wanted.origins) * self._repeated
        counter = _Counter(self._reporter, "answers", total, replayed)
        early = may_stop and self._config.verdict.stop == "early"
        # A block that an earlier start answered: its look is due once there is more to ask.
        due: Leg | None = None
        for leg in legs(self._count, self._block):
            works = self._open(leg, wanted)
            if works and due is not None:
                wanted, due = self._look(wanted, due), None
                if wanted.nothing:
                    return
                works = self._open(leg, wanted)
            self._answer_all(works, counter)
            if self._past_deadline():
                self._note("deadline_reached", deadline=self._config.verdict.deadline)
                return
            second_of_block = leg.arm is (Arm.B if leg.block % 2 == 0 else Arm.A)
            if second_of_block and self._balancing.squeezed:
                self._answer_both_or_neither()
            if early and second_of_block and leg.stop < self._count:
                if not works:
                    due = leg
                    continue
                wanted = self._look(wanted, leg)
                if wanted.nothing:
                    return

    def _answer_all(self, works: Sequence[_Work], counter: _Counter) -> None:
        """Answer a leg, and now and then back the journal up behind it.

        The benchmark is the longest phase by far; its end alone would be too late.
        """
        for work in works:
            self._answer(work, counter)
        if works and time.monotonic() - self._secured >= _SECURE_SECONDS:
            self._journal.secure()
            self._secured = time.monotonic()

    def _look(self, wanted: _Wanted, leg: Leg) -> _Wanted:
        """Look at the evidence at a block's end, once; return what is still worth asking.

        A look that said to go on is remembered in the journal, so that a start among a million
        answers need not repeat it.
        """
        what = {
            "settings": [self.settings_of(arm) for arm in Arm],
            "deadline": self._config.verdict.deadline,
        }
        for event in self._journal.events(LOOKED):
            if event.data["after"] == leg.stop and event.data["what"] == what:
                tasks = event.data["tasks"]
                return replace(wanted, tasks=None if tasks is None else frozenset(tasks))
        found = self._still_wanted(wanted, leg)
        if not found.nothing:
            tasks = None if found.tasks is None else sorted(found.tasks)
            self._journal.event(LOOKED, after=leg.stop, what=what, tasks=tasks)
        return found

    def _still_wanted(self, wanted: _Wanted, leg: Leg) -> _Wanted:
        """Say what is worth asking after a block.

        Once the overall verdict stands, nothing is; but up to a deadline the time that is left
        goes to the tasks that are still undecided, each along its own order.
        """
        evidence = gather(self._journal)
        if evidence.overall.ending not in _SETTLED:
            return wanted
        outcome = evidence.overall.outcome.value
        tasks = evidence.tasks
        open_tasks = frozenset(
            task.name
            for task in tasks
            if task.claim is Outcome.UNDECIDED and task.verdict.ending is Ending.ONGOING
        )
        if self._config.verdict.deadline is None or len(tasks) < 2 or not open_tasks:  # noqa: PLR2004 - several
            futile = evidence.overall.ending is Ending.FUTILE
            kind = "stopped_futile" if futile else "stopped_early"
            self._note(kind, after=leg.stop, of=self._count, outcome=outcome)
            return replace(wanted, tasks=frozenset())
        return replace(wanted, tasks=open_tasks)

    def _past_deadline(self) -> bool:
        return self._deadline is not None and self._now() >= self._deadline

    def _open(self, leg: Leg, wanted: _Wanted) -> list[_Work]:
        """Return what of a leg has no answer yet, one work for each repeat that has any."""
        found = [
            _Work(
                leg.arm,
                repeat,
                self._journal.open_positions(
                    leg.arm,
                    leg.start,
                    leg.stop,
                    repeat=repeat,
                    origins=wanted.origins,
                    tasks=wanted.tasks,
                ),
            )
            for repeat in repeats(self._repeated)
        ]
        return [work for work in found if work.positions]

    def _measure_noise_floor(self, wanted: _Wanted) -> None:
        """Ask each model its first questions one extra time: its own flip rate.

        The extra answers come first and in the reverse order, so that other questions are in the
        batch beside each one than in the benchmark itself.
        """
        stop = min(self._config.benchmark.noise_floor, self._count)
        counter = _Counter(self._reporter, "noise_floor", 2 * stop)
        for arm in Arm:
            positions = self._journal.open_positions(
                arm, 0, stop, repeat=NOISE_FLOOR, origins=wanted.origins
            )
            self._answer(_Work(arm, NOISE_FLOOR, positions[::-1]), counter)

    def _warn_of_cut_answers(self) -> None:
        """Say once for each arm when the token budget cuts more answers than may be ignored."""
        told = {event.data["arm"] for event in self._journal.events("budget_short")}
        for arm in Arm:
            cut = in_noise_floor(self._journal, arm)
            if cut.warns and arm.value not in told:
                self._note(
                    "budget_short", arm=arm.value, truncated=cut.truncated, answers=cut.answers
                )

    def _retry_failed(self) -> None:
        for arm, repeat in itertools.product(Arm, repeats(self._repeated)):
            never_asked = set(self._journal.open_positions(arm, 0, self._count, repeat=repeat))
            unanswered = self._journal.open_positions(
                arm, 0, self._count, repeat=repeat, failed=True
            )
            failed = [position for position in unanswered if position not in never_asked]
            if failed:
                self._note("retrying_failed", arm=arm.value, answers=len(failed))
                counter = _Counter(self._reporter, "retries", len(failed))
                self._answer(_Work(arm, repeat, failed), counter)

    def _answer_both_or_neither(self) -> None:
        """Ask again where the two halves of a pair were answered under different conditions.

        What has its answer under the present conditions keeps it; the newest answer counts. What
        cannot be asked again (a deadline) is left out of the pairs, and counted.
        """
        items = {arm: by_item(every_answer(self._journal, arm, self._repeated)) for arm in Arm}
        unequal = unequal_positions(self._journal, items)
        if not unequal:
            return
        known = {d: conditions(body) for d, body in self._journal.all_settings().items()}
        for arm in Arm:
            now = known[self.settings_of(arm)]
            again = [
                position
                for position in unequal
                if any(known[digest] != now for digest in items[arm][position].settings)
            ]
            if again:
                self._note("asked_again", arm=arm.value, answers=len(again) * self._repeated)
                counter = _Counter(self._reporter, "retries", len(again) * self._repeated)
                for repeat in repeats(self._repeated):
                    self._answer(_Work(arm, repeat, again), counter)

    def _failed_count(self) -> int:
        counts = self._journal.answer_counts()
        return sum(counts.get((arm, Status.FAILED), 0) for arm in Arm)

    # --- one visit to a model ------------------------------------------------------------------

    def _answer(self, work: _Work, counter: _Counter) -> None:
        """Answer all of `work`, through as many engine crashes as make progress in between."""
        left = dict.fromkeys(work.positions)
        crashes = 0
        while left and not self._past_deadline():
            self._stop.check()
            known = len(left)
            if not self._may_ask():
                continue
            try:
                for position in self._serve(work, list(left), alone=crashes > 1):
                    del left[position]
                    counter.advance()
            except EngineError as error:
                if self._stop.overdue:
                    # We ended it ourselves; what it was at is asked again by the next start.
                    self._note("stop_overdue", arm=work.arm.value, seconds=STOP_SECONDS)
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
            self._drop_sessions()
            self._settle()
        if self._balancing.paused:
            # Whoever needs the memory gets it back while nothing is asked.
            self._drop_sessions()
            self._balancing.wait_while_paused(self._stop, self._past_deadline)
        return not (self._stop.asked or self._past_deadline())

    def _serve(self, work: _Work, positions: list[int], *, alone: bool) -> Iterator[int]:
        """Ask `positions`; commit each answer, then yield its position.

        After repeated crashes questions are asked one at a time (`alone`), so that one that kills
        the engine is found and takes no other with it.
        """
        session = self._session(work.arm)
        # What is measured goes first, so that batches are full and no chat waits in between.
        formed = self._journal.formed_positions(min(positions), max(positions) + 1)
        measured = {one for one in formed if is_measured(self._sample(one))}
        positions = sorted(positions, key=lambda one: one not in measured)
        flying: dict[str, tuple[int, Sample]] = {}

        levels: dict[str, int] = {}

        def questions() -> Iterator[EngineRequest]:
            for position in positions:
                if self._stop.asked or self._past_deadline() or self._balancing.interrupts:
                    self._cut_short = True
                    return
                key = request_key(work.arm, position, work.repeat)
                flying[key] = position, self._sample(position)
                levels[key] = self._balancing.level
                yield request(flying[key][1], self._config, key, work.repeat)

        batches = ([question] for question in questions()) if alone else iter([questions()])
        for batch in batches:
            for reply in session.serve(batch, in_flight=self._balancing.in_flight):
                position, sample = flying.pop(reply.key)
                if self._stop.overdue and reply.status is Status.FAILED:
                    continue  # cut off by us, and no fault of the model's
                self._commit(work, position, sample, reply, levels.pop(reply.key))
                self._balancing.answered(reply)
                yield position

    def _commit(
        self,
        work: _Work,
        position: int,
        sample: Sample,
        reply: EngineReply,
        level: int | None = None,
    ) -> None:
        score, grader = None, None
        if reply.status is not Status.FAILED:
            score, grader = self._graded(work, position, sample, reply)
        settings = self.settings_of(work.arm)
        self._journal.record(
            [
                GradedReply(
                    work.arm, position, work.repeat, reply, settings, score, grader, in_flight=level
                )
            ]
        )

    def _graded(
        self, work: _Work, position: int, sample: Sample, reply: EngineReply
    ) -> tuple[Score, str]:
        """Grade an answer; one that the other arm gave in the same words is graded once."""
        grader = grader_digest(sample.grader)
        twin = self._journal.graded_text(work.arm.other, position, work.repeat)
        if twin is not None and twin[:3] == (reply.status, reply.text, grader):
            return twin[3], grader
        return grade(sample, reply.text), grader

    def _load_smaller(self, work: _Work, error: EngineOutOfMemory) -> bool:
        """Go on with the next smaller way to load, for both arms; False when there is none."""
        if not self._balancing.squeeze("out_of_memory", arm=work.arm.value, message=error.message):
            return False
        self._drop_sessions()
        self._settle()
        return True

    def _settle(self) -> None:
        """Let answers under the smaller way to load stand beside those from before."""
        for arm in Arm:
            before = self._journal.settings_in_force(arm)
            settings = self.settings_of(arm)
            if settings != before:
                self._journal.event(IN_FORCE, arm=arm.value, settings=settings, beside=True)

    def _after_crash(
        self, work: _Work, left: dict[int, None], crashes: int, error: EngineCrashed
    ) -> int:
        """Drop the dead session, wait a little; return the crashes in a row without progress."""
        self._note("engine_crashed", arm=work.arm.value, message=error.message, in_a_row=crashes)
        self._drop_session(work.arm)
        if crashes >= _CRASHES_WITHOUT_PROGRESS and left:
            # Asked alone, this question has ended the engine several times: it is the culprit.
            position = next(iter(left))
            del left[position]
            key = request_key(work.arm, position, work.repeat)
            reply = EngineReply(key, Status.FAILED, reason=f"engine crashed {crashes} times")
            self._commit(work, position, self._sample(position), reply)
            crashes = 0
        self._stop.wait(self._back_off[min(crashes, len(self._back_off) - 1)])
        return crashes

    # --- sessions ------------------------------------------------------------------------------

    def _session(self, arm: Arm) -> Session:
        if arm not in self._sessions:
            if arm.other in self._sessions and not self._both_fit(arm):
                self._drop_session(arm.other)
            model = self._registration.arms[arm.value].model
            session = self._engine.open(model, self._balancing.profile)
            self._sessions[arm] = session
            self._stack.callback(session.close)
        return self._sessions[arm]

    def _end_sessions(self) -> None:
        """End what is in flight, for a stop that cannot wait any longer."""
        for session in list(self._sessions.values()):
            session.close()

    def _drop_sessions(self) -> None:
        for arm in Arm:
            self._drop_session(arm)

    def _drop_session(self, arm: Arm) -> None:
        session = self._sessions.pop(arm, None)
        if session is not None:
            session.close()

    def _both_fit(self, arm: Arm) -> bool:
        """Whether a second model fits beside the loaded one: twice what it took, measured."""
        taken = self._registration.arms[arm.value].load.memory
        return taken is not None and 2 * taken < available_memory()

    # --- small helpers -------------------------------------------------------------------------

    def settings_of(self, arm: Arm) -> str:
        """Digest of everything besides the question that can change this arm's answers."""
        profile = self._balancing.profile
        if (arm, profile) in self._settings:
            return self._settings[arm, profile]
        registration = self._registration
        registered = registration.arms[arm.value]
        self._settings[arm, profile] = self._journal.settings(
            {
                "arm": arm.value,
                "model": asdict(registered.model) | {"location": None},
                "template": registered.load.template_digest,
                "engine": asdict(registration.engine),
                "profile": asdict(profile),
                "generation": self._config.generation.model_dump(mode="json"),
                "seed": self._config.seed,
            }
        )
        return self._settings[arm, profile]

    def _sample(self, position: int) -> Sample:
        return next(self._journal.samples(position, position + 1))

    def _note(self, kind: str, **detail: Any) -> None:
        self._journal.event(kind, **detail)
        self._reporter.note(kind, **detail)
