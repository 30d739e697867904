"""The main job: two models in, a verdict out, every fact in the journal before it is claimed."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from so8t.config.schema import Source
from so8t.domain.canonical import digest_of
from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm, ServedModel
from so8t.domain.plan import Phase
from so8t.errors import Interrupted, SO8TError
from so8t.journal.evidence import Evidence, freeze, gather
from so8t.models.sources import ResolvedSource, resolve
from so8t.pipeline.benchmark.balance import wait_to_begin
from so8t.pipeline.benchmark.hf_results import write_hf_results
from so8t.pipeline.benchmark.llm_judge import LLMJudging, needs_judge
from so8t.pipeline.benchmark.phase4 import Phase4BenchmarkRunner
from so8t.pipeline.plan import planning, suites
from so8t.pipeline.prepare import contamination, data_policy, prepare
from so8t.pipeline.prepare.quantization import QUESTIONS
from so8t.pipeline.prepare.training_balance import TrainingBalance
from so8t.pipeline.register.reduced_profiles import longest_question
from so8t.pipeline.register.register import register
from so8t.pipeline.register.templates import wanted_template, ways_of
from so8t.pipeline.run.changes import registration_to_keep, settle_settings
from so8t.pipeline.run.progress import Reporter, Silent, StopRequest, noting
from so8t.pipeline.run.results import (
    Benchmarked,
    Prepared,
    Registration,
    read_benchmarked,
    read_prepared,
    read_registration,
    to_plain,
)
from so8t.tasks.graders import is_binary

if TYPE_CHECKING:
    from collections.abc import Callable

    from so8t.config.schema import RunConfig
    from so8t.engines.protocol import Engine
    from so8t.journal.store import Journal
    from so8t.models.training_setting import TrainingControl
    from so8t.resources.balancer import ResourceBalancer

Origins = Literal["all", "hf", "suite"]
Result = TypeVar("Result", Prepared, Registration, Benchmarked)

#: So many items that were left out are named in the journal; all are counted.
_LEFT_OUT_NAMED = 100


class CompleteAutomatedABPipeline:
    """One run: prepare A, prepare B, register both, benchmark both.

    Each phase is a public step that can be called alone; it does the phases before it if they
    are not done. A phase that is done with the same inputs, and whose artifact is still whole,
    is not done again.
    """

    def __init__(
        self,
        config: RunConfig,
        directory: Path,
        journal: Journal,
        engine: Engine,
        *,
        reporter: Reporter | None = None,
        stop: StopRequest | None = None,
        balancer: ResourceBalancer | None = None,
    ) -> None:
        """`balancer` is watched between answers; without one the load stays as registered."""
        self._config = config
        self._artifacts = directory / "artifacts"
        self._journal = journal
        self._engine = engine
        self._reporter = reporter or Silent()
        self._note = noting(journal, self._reporter)
        self._stop = stop or StopRequest()
        self._balancer = balancer
        self._sources: dict[Arm, ResolvedSource] | None = None
        self._done: dict[Phase, Any] = {}

    def run_complete_pipeline(self, origin: Origins = "all") -> Evidence:
        """Run all four phases, or what is left of them, and return the evidence.

        `origin` leaves out the questions of LLM suites ("hf") or of HF benchmarks ("suite").

        Raises SO8TError with what is saved and what to type next; the journal keeps all that was
        done before.
        """
        self.preflight()
        self.run_phase1()
        self.run_phase2()
        self.run_phase3()
        return self.run_phase4(origin)

    def preflight(self) -> None:
        """Find everything that would stop the run, before any work is done.

        Raises DataError, ModelError or PrerequisiteError.
        """
        if self._journal.events(EventKind.PLAN_FROZEN):
            for changed in suites.changed(self._journal, self._config):
                self._note(EventKind.SUITE_CHANGED, **changed)
            return
        if not self._journal.sample_count():
            self._journal.event(EventKind.SUITES_READ, digests=suites.digests(self._config))
            samples = planning.collect_samples(self._config)
            for name, items in samples.left_out_by_benchmark().items():
                first = f"{Path(items[0].file).name}:{items[0].line}: {items[0].why}"
                self._note(
                    EventKind.ITEMS_LEFT_OUT,
                    benchmark=name,
                    count=len(items),
                    first=first,
                    items=[str(item) for item in items[:_LEFT_OUT_NAMED]],
                )
            needed = planning.needs(self._config, self._resolved(), len(samples))
            planning.check_disk(needed, self._config.output)
            if self._config.b.finetune is not None:
                data_policy.inspect(self._config.b.finetune)
                contamination.check(self._config.b.finetune, samples)
            self._journal.freeze(samples)
        freeze(
            self._journal,
            binary=all(is_binary(sample.grader) for sample in self._journal.samples()),
            # The statistics look at each item, so that a run may end anywhere; blocks only say when
            # it is asked whether to go on.
            look_every=1,
            macro_blocks=planning.macro_blocks(self._config, self._journal.places()),
            repeated=self._config.benchmark.repeats,
        )

    def run_phase1(self) -> Prepared:
        """Make A servable."""
        source = self._resolved()[Arm.A]
        inputs = prepare.inputs_a(self._config, source)

        def work() -> Prepared:
            return prepare.prepare(
                self._config,
                Arm.A,
                source,
                list(self._journal.samples(0, QUESTIONS)),
                self._artifacts / "a",
                self._progress,
            )

        done = self._prepared(Phase.PREPARE_A, inputs, work)
        if self._config.b.finetune is None:  # else phase 2 trains on what the adapter was merged to
            prepare.forget_merge(self._artifacts / "a", done)
        return done

    def run_phase2(self) -> Prepared:
        """Make B: fine-tune A and make the result servable, or make B's own source servable."""
        a = self._first(Phase.PREPARE_A, self.run_phase1)
        sources = self._resolved()
        inputs = prepare.inputs_b(self._config, sources[Arm.A], sources.get(Arm.B))

        def work() -> Prepared:
            source, training = sources.get(Arm.B), None
            if source is None:
                base, _ = prepare.with_adapter(
                    sources[Arm.A], self._artifacts / "a", self._progress
                )
                merged, training = prepare.finetune(
                    self._config,
                    sources[Arm.A],
                    base.path,
                    self._journal.samples(),
                    self._artifacts / "b",
                    self._progress,
                    note=self._note,
                    follow=self._follow,
                )
                source = resolve(Source(hf=str(merged)))
            return prepare.prepare(
                self._config,
                Arm.B,
                source,
                list(self._journal.samples(0, QUESTIONS)),
                self._artifacts / "b",
                self._progress,
                training,
            )

        done = self._prepared(Phase.PREPARE_B, inputs, work)
        # Not before the phase is recorded as done.
        prepare.forget_training(self._artifacts / "b")
        prepare.forget_merge(self._artifacts / "b", done)
        prepare.forget_merge(self._artifacts / "a", a)
        return done

    def _follow(self, control: TrainingControl) -> Callable[[], None]:
        """Return what is called twice a second while B is trained."""
        if self._balancer is None:
            return self._stop.check
        balance = TrainingBalance(self._balancer, control, self._journal.event)

        def poll() -> None:
            balance.follow()
            self._stop.check()

        return poll

    def run_phase3(self) -> Registration:
        """Register both with the engine: checked, loaded, answered once, profile chosen."""
        prepared = {
            Arm.A: self._first(Phase.PREPARE_A, self.run_phase1),
            Arm.B: self._first(Phase.PREPARE_B, self.run_phase2),
        }
        inputs = digest_of(
            {
                "models": {arm.value: model.digest for arm, model in prepared.items()},
                "engine": asdict(self._engine.info),
                "config": self._config.engine.model_dump(mode="json"),
                **_template_inputs(self._config),
            }
        )

        def work() -> Registration:
            run = self._journal.run
            assert run is not None  # noqa: S101 - earlier phases wrote into it
            samples = list(self._journal.samples(0, 32))
            keep = registration_to_keep(self._journal, self._config)
            return register(
                self._config,
                self._engine,
                prepared,
                samples,
                self._artifacts,
                ways=ways_of(self._journal.samples(), self._config),
                started=run.created,
                keep=keep,
                longest=longest_question(
                    self._journal.samples(), self._config.generation.max_tokens
                ),
                cards=self._balancer is not None and self._balancer.cards > 0,
                note=self._note,
            )

        return self._phase(Phase.REGISTER, inputs, work, read_registration)

    def run_phase4(self, origin: Origins = "all") -> Evidence:
        """Benchmark both and return the evidence; with one origin only, the phase stays open."""
        registration = self._first(Phase.REGISTER, self.run_phase3)
        self.preflight()
        self._engine.recall(registration.arms[arm.value].model for arm in Arm)
        runner = self.benchmark_runner(registration)
        self._same_models(runner)
        if origin != "all":
            done = runner.run_hf_benchmark() if origin == "hf" else runner.run_llm_benchmark()
            write_hf_results(self._journal, self._artifacts)
            return done
        asked = self._config.verdict

        evidence: Evidence | None = None

        def benchmark() -> Benchmarked:
            nonlocal evidence
            evidence = runner.run()
            if self._judge(registration):
                evidence = gather(self._journal)
            return _summary(evidence)

        # When a run ends is no part of what it measures, but of whether it has ended.
        inputs = digest_of([to_plain(registration), asked.stop, asked.deadline])
        self._phase(Phase.BENCHMARK, inputs, benchmark, read_benchmarked)
        write_hf_results(self._journal, self._artifacts)
        return gather(self._journal) if evidence is None else evidence

    def retry_failed(self) -> int:
        """Ask the questions again whose answers failed; return how many are answered now."""
        runner = self.benchmark_runner(self.run_phase3())
        self._same_models(runner)
        return runner.retry()

    def benchmark_runner(self, registration: Registration) -> Phase4BenchmarkRunner:
        """Return the runner of phase 4 for models that are registered."""
        return Phase4BenchmarkRunner(
            self._config,
            self._journal,
            self._engine,
            registration,
            reporter=self._reporter,
            stop=self._stop,
            balancer=self._balancer,
        )

    # --- how a phase is done, skipped, tried again ---------------------------------------------

    def _phase(
        self,
        phase: Phase,
        inputs: str,
        work: Callable[[], Result],
        read: Callable[[dict[str, Any]], Result],
        *,
        whole: Callable[[Result], bool] = lambda _: True,
    ) -> Result:
        """Do a phase, or give back its recorded result if that still holds."""
        last = self._journal.phase(phase)
        if last is not None and last.state == "done" and last.inputs == inputs:
            result = read(last.result)
            if whole(result):
                self._reporter.phase(phase, "skipped", at=last.at)
                self._done[phase] = result
                return result
            self._journal.event(EventKind.ARTIFACT_GONE, phase=phase.value)
        elif last is not None and last.state == "done":
            self._note(EventKind.INPUTS_CHANGED, phase=phase.value)
        attempt = last.attempt + 1 if last is not None else 1
        result = self._attempt(phase, attempt, inputs, work)
        self._done[phase] = result
        return result

    def _attempt(
        self, phase: Phase, attempt: int, inputs: str, work: Callable[[], Result]
    ) -> Result:
        for wait in (*self._config.recovery.waits(), None):
            self._stop.check()
            # The benchmark waits between its answers, and knows its deadline.
            if self._balancer is not None and phase is not Phase.BENCHMARK:
                wait_to_begin(self._balancer, self._note, self._stop)
            self._journal.phase_step(phase, attempt, "started", inputs, {})
            self._reporter.phase(phase, "started", attempt=attempt)
            started = time.monotonic()
            try:
                result = work()
            except SO8TError as error:
                if isinstance(error, Interrupted) or not self._journal.usable:
                    raise
                why = {"error": type(error).__name__, "message": error.message}
                self._journal.phase_step(phase, attempt, "failed", inputs, why)
                self._reporter.phase(phase, "failed", message=error.message)
                if not error.retryable or wait is None:
                    raise
                self._stop.wait(wait)
                attempt += 1
                continue
            seconds = time.monotonic() - started
            self._journal.phase_step(
                phase, attempt, "done", inputs, to_plain(result) | {"phase_seconds": seconds}
            )
            self._reporter.phase(phase, "done", seconds=seconds)
            return result
        raise AssertionError  # the loop returns or raises

    def _prepared(self, phase: Phase, inputs: str, work: Callable[[], Prepared]) -> Prepared:
        return self._phase(phase, inputs, work, read_prepared, whole=prepare.still_there)

    def _first(self, phase: Phase, run: Callable[[], Result]) -> Result:
        """Return the result of an earlier phase of this start, or do it now."""
        found: Result | None = self._done.get(phase)
        return run() if found is None else found

    def _resolved(self) -> dict[Arm, ResolvedSource]:
        if self._sources is None:
            self._sources = planning.resolve_sources(self._config)
        return self._sources

    def _same_models(self, runner: Phase4BenchmarkRunner) -> None:
        """Refuse to mix answers of two models, engines or settings in one arm."""
        settings = {arm: runner.settings_of(arm) for arm in Arm}
        for arm, digest in settings.items():
            settle_settings(self._journal, arm, digest, self._reporter.note)

    def _progress(self, what: str, done: int, total: int) -> None:
        """Tell how far a phase is; a stop that was asked for ends it here."""
        self._reporter.progress(what, done, total)
        self._stop.check()

    def _judge(self, registration: Registration) -> bool:
        """Let the judge compare what both models answered; False where none is asked for."""
        asked = self._config.judge
        if asked is None or not needs_judge(self._journal.samples()):
            return False
        source = resolve(asked.source)
        model = self._engine.adopt(
            ServedModel(Arm.A, source.location, source.digest),
            f"so8t-{self._config.name}-judge".lower(),
            self._artifacts,
        )
        LLMJudging(
            self._config,
            self._journal,
            self._engine,
            model,
            registration.profile,
            reporter=self._reporter,
            stop=self._stop,
        ).run()
        return True


def _summary(evidence: Evidence) -> Benchmarked:
    overall = evidence.overall
    return Benchmarked(
        samples=overall.items_total,
        answered={arm.value: evidence.coverage[arm].answered for arm in Arm},
        failed={arm.value: evidence.coverage[arm].failed for arm in Arm},
        outcome=overall.outcome.value,
        ending=overall.ending.value,
    )


def _template_inputs(config: RunConfig) -> dict[str, Any]:
    """What the config says of templates, where it says anything."""
    found = {
        arm.value: [wanted.source, wanted.arguments]
        for arm in Arm
        if (wanted := wanted_template(config, arm)) is not None
    }
    return {"templates": found} if found else {}
