"""With a real engine a smaller way to load is really loaded, by both arms; pairs stay pairs."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import chain, pairwise

import psutil
import pytest
from scripted_run import Listener, config, prepared_journal, samples
from test_balance import Machine, kinds, unequal_pairs

from so8t.config.machine_section import Resources
from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm, LoadProfile, LoadReport, ServedModel, Status
from so8t.engines.embedded import EmbeddedEngine
from so8t.engines.memory_needs import CACHE_BYTES
from so8t.examples import quickstart
from so8t.models.gguf_check import inspect_gguf
from so8t.models.gguf_convert import convert
from so8t.pipeline.benchmark.phase4 import Phase4BenchmarkRunner
from so8t.pipeline.run.progress import StopRequest
from so8t.pipeline.run.results import Registered, Registration
from so8t.resources.balancer import ResourceBalancer
from so8t.resources.readings import Gpu

QUESTIONS = 24
LAYERS, WIDTH = 4, 128  # of the quickstart's base
CONTEXT, NEEDED = 4608, 3584
A_TOKEN = LAYERS * 2 * WIDTH  # values in the KV cache


class WithCard(Machine):
    """A machine with a card, as its driver would tell."""

    def read(self, level=None):
        return replace(super().read(level), gpus=(Gpu(0, memory_used=1, memory_total=10),))


class Weighed(EmbeddedEngine):
    """The embedded engine, and what each of its processes took once a model was loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = []

    def open(self, model, profile):
        session = super().open(model, profile)
        self.loads.append((model.arm, profile, psutil.Process(session.pid).memory_info().rss))
        return session


class Filling(Listener):
    """Fills the machine's memory after some answers, for as long as it takes to be answered."""

    def __init__(self, machine, balancer, *, after) -> None:
        super().__init__()
        self._machine, self._balancer, self._after = machine, balancer, after

    def progress(self, what, done, total, replayed=0):
        super().progress(what, done, total, replayed)
        if what == "answers" and done in self._after:
            wanted = self._balancer.reduction + 1
            self._machine.memory = 0.93
            while self._balancer.reduction < wanted:
                self._balancer.adjust_resources()
            self._machine.memory = 0.5


@pytest.fixture(scope="module")
def registration(tmp_path_factory):
    """Both arms are the quickstart's base, in a context that only one question needs."""
    gguf = convert(quickstart.paths().base, tmp_path_factory.mktemp("base") / "base.gguf", "f16")
    facts = asdict(inspect_gguf(gguf.path))
    arms = {
        arm.value: Registered(
            ServedModel(arm, str(gguf.path), f"sha256:{arm.value}"), LoadReport(0.0), facts, "", 0.0
        )
        for arm in Arm
    }
    profile = LoadProfile(slots=1, context=CONTEXT, threads=1, gpu_layers=1, batch=128)
    return Registration(EmbeddedEngine().info, profile, arms)


def test_what_the_ladder_takes_is_loaded_by_both_arms_and_pairs_are_redone(tmp_path, registration):
    """Context, layers off a card, a cache in 8 bits: processes get smaller, no pair is mixed."""
    machine = WithCard()
    balancer = ResourceBalancer(Resources(), sensors=machine)
    engine, listener = Weighed(), Filling(machine, balancer, after={3, 8, 30})
    asked = config(generation={"max_tokens": 4})
    questions = samples(QUESTIONS)
    questions[-1] = replace(questions[-1], max_tokens=NEEDED - 184)
    with prepared_journal(tmp_path, asked, questions) as journal:
        Phase4BenchmarkRunner(
            asked,
            journal,
            engine,
            registration,
            reporter=listener,
            stop=StopRequest(),
            balancer=balancer,
        ).run()
        changes = kinds(journal, EventKind.RESOURCES_REDUCED)
        assert sum(journal.answer_counts().values()) == 2 * QUESTIONS
        assert not any(status is Status.FAILED for _, status in journal.answer_counts())
        assert kinds(journal, "asked_again")
        assert unequal_pairs(journal) == []
        assert journal.verify()
    assert [one["reason"] for one in changes] == ["memory_tight"] * 3
    steps = [{}, {"context": NEEDED}, {"gpu_layers": 0}, {"cache_type": "q8_0"}]
    profiles = [
        asdict(registration.profile) | dict(chain.from_iterable(one.items() for one in steps[:n]))
        for n in range(1, len(steps) + 1)
    ]
    assert [(one["before"], one["after"]) for one in changes] == list(pairwise(profiles))
    f16, q8 = CACHE_BYTES["f16"], CACHE_BYTES["q8_0"]
    caches = [CONTEXT * A_TOKEN * f16, NEEDED * A_TOKEN * f16, NEEDED * A_TOKEN * q8]
    places = [0, 2, 3]  # B was not loaded between the first two; layers take nothing on a CPU
    for arm in Arm:
        taken = [
            [size for one, loaded, size in engine.loads if (one, asdict(loaded)) == (arm, profile)]
            for profile in (profiles[place] for place in places)
        ]
        for sizes, cache in zip(pairwise(taken), pairwise(caches), strict=True):
            before, after = sizes
            assert min(before) - max(after) == pytest.approx(cache[0] - cache[1], rel=0.25)
