"""Phase 4: both models are asked the same frozen questions, in blocks A B, B A.

Every answer is committed with its score before it is counted. What is asked next is found out
from the journal alone, so a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm, Status
from so8t.domain.plan import NOISE_FLOOR, Leg, legs, repeats
from so8t.domain.sample import Origin
from so8t.journal.evidence import gather, repeats_of
from so8t.journal.items import (
    by_item,
    conditions_changed,
    every_answer,
    known_conditions,
    unequal_positions,
)
from so8t.journal.store import system_now
from so8t.pipeline.benchmark.answer_settings import AnswerSettings
from so8t.pipeline.benchmark.asking import BACK_OFF, Asker, Work
from so8t.pipeline.benchmark.balance import Balancing
from so8t.pipeline.benchmark.baseline import reuse_baseline
from so8t.pipeline.benchmark.choice_methods import compare_choice_methods
from so8t.pipeline.benchmark.interim import Deadline, InterimAnalysis, WantedAnswers, deadline_of
from so8t.pipeline.benchmark.loaded import LoadedModels
from so8t.pipeline.plan.planning import samples_in_block
from so8t.pipeline.plan.truncation import in_noise_floor
from so8t.pipeline.run.progress import Tally, noting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from so8t.config.schema import RunConfig
    from so8t.engines.protocol import Engine
    from so8t.journal.evidence import Evidence
    from so8t.journal.store import Journal
    from so8t.pipeline.run.progress import Reporter, StopRequest
    from so8t.pipeline.run.results import Registration
    from so8t.resources.balancer import ResourceBalancer

_SECURE_SECONDS = 1800.0


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
        self._reporter = reporter
        self._stop = stop
        self._count = journal.sample_count()
        self._block = samples_in_block(config, self._count)
        self._repeated = repeats_of(journal)
        self._secured = time.monotonic()
        self._note = noting(journal, reporter)
        self._deadline = Deadline(deadline_of(config, journal), now)
        self._balancing = Balancing(
            balancer,
            journal,
            registration.profile,
            cache_types=engine.capabilities.cache_types,
            shapes=[registered.shape for registered in registration.arms.values()],
            max_tokens=config.generation.max_tokens,
            note=self._note,
        )
        self._loaded = LoadedModels(engine, registration, self._balancing)
        self._settings = AnswerSettings(config, journal, registration, self._balancing)
        self._looks = InterimAnalysis(config, journal, self._settings, self._note)
        self._asker = Asker(
            config,
            journal,
            self._loaded,
            self._settings,
            self._balancing,
            stop=stop,
            deadline=self._deadline,
            note=self._note,
            back_off=back_off,
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
        with self._loaded, self._stop.when_overdue(self._loaded.end):
            self._retry_failed()
        return failed - self._failed_count()

    def settings_of(self, arm: Arm) -> str:
        """Digest of everything besides the question that can change this arm's answers."""
        return self._settings.of(arm)

    # --- the course of a run -------------------------------------------------------------------

    def _run(self, origins: set[Origin]) -> Evidence:
        everything = origins == set(Origin)
        wanted = WantedAnswers(None if everything else frozenset(origins))
        with self._loaded, self._stop.when_overdue(self._loaded.end):
            if self._config.benchmark.reuse_baseline:
                self._reuse_baseline()
            self._measure_noise_floor(wanted)
            self._warn_of_cut_answers()
            self._answer_blocks(wanted, may_stop=everything)
            self._retry_failed()
            self._answer_both_or_neither()
            if self._engine.capabilities.exact_likelihood and not self._deadline.past():
                compare_choice_methods(
                    self._config, self._journal, self._loaded.session, self._stop
                )
            self._balancing.finish()
        return gather(self._journal)

    def _reuse_baseline(self) -> None:
        runs = self._journal.directory.parent
        searched = {
            event.data["settings"] for event in self._journal.events(EventKind.BASELINE_SEARCHED)
        }
        for settings in self._settings.every(Arm.A):
            if settings not in searched:
                for reused in reuse_baseline(self._journal, runs, settings):
                    self._note(EventKind.BASELINE_REUSED, **asdict(reused))
                self._journal.event(EventKind.BASELINE_SEARCHED, settings=settings)

    def _answer_blocks(self, wanted: WantedAnswers, *, may_stop: bool) -> None:
        replayed = sum(self._journal.answer_counts().values())
        total = 2 * self._journal.sample_count(wanted.origins) * self._repeated
        tally = Tally(self._reporter, "answers", total, replayed)
        early = may_stop and self._config.verdict.stop == "early"
        # A block that an earlier start answered: its look is due once there is more to ask.
        due: Leg | None = None
        for leg in legs(self._count, self._block):
            works = self._open(leg, wanted)
            if works and due is not None:
                wanted, due = self._looks.look(wanted, due), None
                if wanted.nothing:
                    return
                works = self._open(leg, wanted)
            self._answer_all(works, tally)
            if self._deadline.past():
                self._note(EventKind.DEADLINE_REACHED, deadline=self._config.verdict.deadline)
                return
            second_of_block = leg.arm is (Arm.B if leg.block % 2 == 0 else Arm.A)
            if second_of_block and self._balancing.reduced:
                self._answer_both_or_neither()
            if early and second_of_block and leg.stop < self._count:
                if not works:
                    due = leg
                    continue
                wanted = self._looks.look(wanted, leg)
                if wanted.nothing:
                    return

    def _answer_all(self, works: Sequence[Work], tally: Tally) -> None:
        """Answer a leg, and now and then back the journal up behind it.

        The benchmark is the longest phase by far; its end alone would be too late.
        """
        for work in works:
            self._asker.answer(work, tally)
        if works and time.monotonic() - self._secured >= _SECURE_SECONDS:
            self._journal.secure()
            self._secured = time.monotonic()

    def _open(self, leg: Leg, wanted: WantedAnswers) -> list[Work]:
        """Return what of a leg has no answer yet, one work for each repeat that has any."""
        found = [
            Work(
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

    def _measure_noise_floor(self, wanted: WantedAnswers) -> None:
        """Ask each model its first questions one extra time: its own flip rate.

        The extra answers come first and in the reverse order, so that other questions are in the
        batch beside each one than in the benchmark itself.
        """
        stop = min(self._config.benchmark.noise_floor, self._count)
        tally = Tally(self._reporter, "noise_floor", 2 * stop)
        for arm in Arm:
            positions = self._journal.open_positions(
                arm, 0, stop, repeat=NOISE_FLOOR, origins=wanted.origins
            )
            self._asker.answer(Work(arm, NOISE_FLOOR, positions[::-1]), tally)

    def _warn_of_cut_answers(self) -> None:
        """Say once for each arm when the token budget cuts more answers than may be ignored."""
        told = {event.data["arm"] for event in self._journal.events(EventKind.BUDGET_SHORT)}
        for arm in Arm:
            cut = in_noise_floor(self._journal, arm)
            if cut.warns and arm.value not in told:
                self._note(
                    EventKind.BUDGET_SHORT,
                    arm=arm.value,
                    truncated=cut.truncated,
                    answers=cut.answers,
                )

    def _retry_failed(self) -> None:
        for arm, repeat in itertools.product(Arm, repeats(self._repeated)):
            never_asked = set(self._journal.open_positions(arm, 0, self._count, repeat=repeat))
            unanswered = self._journal.open_positions(
                arm, 0, self._count, repeat=repeat, failed=True
            )
            failed = [position for position in unanswered if position not in never_asked]
            if failed:
                self._note(EventKind.RETRYING_FAILED, arm=arm.value, answers=len(failed))
                tally = Tally(self._reporter, "retries", len(failed))
                self._asker.answer(Work(arm, repeat, failed), tally)

    def _answer_both_or_neither(self) -> None:
        """Ask again where the two halves of a pair were answered under different conditions.

        What has its answer under the present conditions keeps it; the newest answer counts. What
        cannot be asked again (a deadline) is left out of the pairs, and counted.
        """
        if not conditions_changed(self._journal):
            return
        items = {arm: by_item(every_answer(self._journal, arm, self._repeated)) for arm in Arm}
        unequal = unequal_positions(self._journal, items)
        known = known_conditions(self._journal)
        for arm in Arm:
            now = known[self._settings.of(arm)]
            again = [
                position
                for position in unequal
                if any(known[digest] != now for digest in items[arm][position].settings)
            ]
            if again:
                self._note(
                    EventKind.ASKED_AGAIN, arm=arm.value, answers=len(again) * self._repeated
                )
                tally = Tally(self._reporter, "retries", len(again) * self._repeated)
                for repeat in repeats(self._repeated):
                    self._asker.answer(Work(arm, repeat, again), tally)

    def _failed_count(self) -> int:
        counts = self._journal.answer_counts()
        return sum(counts.get((arm, Status.FAILED), 0) for arm in Arm)
