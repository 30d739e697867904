"""Phase 4 over the scripted engine: a real journal, real grading, no model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from so8t.config.schema import RunConfig
from so8t.domain.exchange import Arm, EngineInfo, LoadProfile, LoadReport, Message, ServedModel
from so8t.domain.plan import permute
from so8t.domain.sample import Origin, Sample
from so8t.journal.evidence import freeze
from so8t.journal.store import Journal
from so8t.pipeline.benchmark.phase4 import Phase4BenchmarkRunner
from so8t.pipeline.plan.planning import samples_in_block
from so8t.pipeline.run.progress import Silent, StopRequest
from so8t.pipeline.run.results import Registered, Registration

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.engines.scripted import ScriptedEngine


def config(**changes) -> RunConfig:
    asked = {
        "name": "scripted",
        "a": {"source": {"gguf": "a.gguf"}},
        "b": {"source": {"gguf": "b.gguf"}},
        "benchmark": {"suites": ["s.jsonl"], "noise_floor": 4} | changes.pop("benchmark", {}),
        "verdict": {"stop": "full"} | changes.pop("verdict", {}),
    }
    return RunConfig.model_validate(asked | changes)


def samples(count: int, origin: Origin = Origin.SUITE, task: str = "") -> list[Sample]:
    task = task or origin.value
    return [
        Sample(
            f"{task}/{n}",
            task,
            origin,
            "math",
            "en",
            (Message("user", f"{task} question {n}"),),
            {"type": "exact"},
            "yes",
        )
        for n in range(count)
    ]


def registration(slots: int = 2) -> Registration:
    arms = {
        arm.value: Registered(
            ServedModel(arm, f"{arm.value}.gguf", f"sha256:{arm.value}"),
            LoadReport(0.0, memory=0),
            {},
            "yes",
            0.0,
        )
        for arm in Arm
    }
    return Registration(EngineInfo("scripted", "1"), LoadProfile(slots=slots), arms)


def prepared_journal(
    directory: Path, asked: RunConfig, questions: list[Sample], name: str = "one", repeated: int = 1
) -> Journal:
    journal = Journal(directory / "runs" / name)
    if journal.run is None:
        journal.create_run("scripted", asked.model_dump(mode="json"), "0")
        journal.freeze(permute(questions, asked.seed))
        look_every = samples_in_block(asked, len(questions))
        freeze(journal, binary=True, look_every=look_every, repeated=repeated)
    return journal


class Listener(Silent):
    """Remembers what it was told, and can ask for a stop."""

    def __init__(self, stop: StopRequest | None = None, stop_at: int = -1) -> None:
        self.notes: list[tuple[str, dict]] = []
        self.told: list[tuple[str, int, int, int]] = []
        self._stop, self._stop_at = stop, stop_at

    def progress(self, what, done, total, replayed=0):
        self.told.append((what, done, total, replayed))
        if self._stop is not None and what == "answers" and done == self._stop_at:
            self._stop.ask(15)

    def note(self, kind, **detail):
        self.notes.append((kind, detail))


def runner(journal, engine: ScriptedEngine, asked=None, listener=None, stop=None, slots=2, **more):
    return Phase4BenchmarkRunner(
        asked or config(),
        journal,
        engine,
        registration(slots),
        reporter=listener or Listener(),
        stop=stop or StopRequest(),
        back_off=(0.0,),
        **more,
    )
