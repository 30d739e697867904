"""What a plan says of memory: weights, KV cache and buffers under the profile of the run."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import psutil
import pytest

from so8t.config.schema import RunConfig
from so8t.domain.exchange import Arm, Decoding, EngineRequest, Message, ServedModel
from so8t.engines.embedded import EmbeddedEngine
from so8t.examples import DEMO
from so8t.models.gguf_convert import convert
from so8t.pipeline.plan import estimate
from so8t.pipeline.plan.estimate import MemoryEstimate, estimate_memory
from so8t.pipeline.plan.planning import resolve_sources

if TYPE_CHECKING:
    from pathlib import Path

BASE = DEMO.parent / "base"
CONTEXT, LAYERS, WIDTH = 512, 4, 128


@pytest.fixture(scope="module")
def gguf(tmp_path_factory) -> Path:
    return convert(BASE, tmp_path_factory.mktemp("base") / "base.gguf", "f16").path


def estimated(a: dict, b: dict, *, kind: str = "embedded", **engine) -> MemoryEstimate:
    config = RunConfig.model_validate(
        {
            "name": "memory",
            "a": a,
            "b": b,
            "engine": {"kind": kind, "slots": 1, "context": 4096, **engine},
            "benchmark": {"suites": ["suite.jsonl"]},
        }
    )
    return estimate_memory(config, resolve_sources(config))


@pytest.mark.parametrize(
    ("free", "most"), [(64 << 20, 4 << 20), (4 << 30, 256 << 20), (0, 1 << 20)]
)
def test_measuring_the_bandwidth_takes_little_of_what_is_free(monkeypatch, free, most):
    """A sixteenth of the free memory, 256 MiB at most and 1 MiB at least."""
    monkeypatch.setattr(estimate, "available_memory", lambda: free)
    tracemalloc.start()
    try:
        assert estimate.memory_bandwidth() > 0
        assert tracemalloc.get_traced_memory()[1] == pytest.approx(most, rel=0.05)
    finally:
        tracemalloc.stop()


def test_slots_and_context_cost_their_kv_cache(gguf):
    """Each slot takes keys and values of two bytes for every token that the model can hold."""
    arm = {"source": {"gguf": str(gguf)}}
    one, four = (estimated(arm, arm, slots=slots) for slots in (1, 4))
    short = estimated(arm, arm, context=CONTEXT // 2)
    slot = CONTEXT * LAYERS * 2 * WIDTH * 2
    assert one.profile.context == CONTEXT  # the model was made for no more than this
    assert four.arms[Arm.A] - one.arms[Arm.A] >= 3 * slot
    assert one.arms[Arm.A] - short.arms[Arm.A] >= slot // 2
    assert one.together == 2 * one.needed > 2 * gguf.stat().st_size


def test_a_directory_is_estimated_as_the_file_made_of_it(gguf):
    """config.json and the GGUF's header lead to the same bytes, but for what the files hold."""
    from_file = {"source": {"gguf": str(gguf)}}
    from_directory = {"source": {"hf": str(BASE)}, "quantization": "f16"}
    arms = estimated(from_file, from_directory).arms
    held = gguf.stat().st_size
    assert abs(arms[Arm.A] - arms[Arm.B]) < 0.1 * held


def test_quantized_arms_take_less():
    """The larger arm is what has to fit; both together are what spares loading them anew."""
    small = {"source": {"hf": str(BASE)}, "quantization": "q8_0"}
    found = estimated({"source": {"hf": str(BASE)}, "quantization": "f16"}, small)
    assert found.arms[Arm.B] < found.arms[Arm.A] == found.needed
    assert found.together == sum(found.arms.values())
    tight = MemoryEstimate(found.arms, found.profile, available=found.needed)
    assert (tight.fits, tight.both_fit) == (True, False)


def test_what_a_server_alone_knows_is_unknown():
    """A tag of Ollama gives no figures here: None, not zero."""
    arm = {"source": {"ollama": "some:tag"}}
    found = estimated(arm, arm, kind="ollama")
    assert (found.needed, found.together, found.fits, found.both_fit) == (None, None, None, None)


@pytest.mark.parametrize("slots", [1, 4])
def test_the_estimate_is_near_what_loading_took(gguf, slots):
    """A child that has answered with full contexts is resident with what was said, within 15 %."""
    arm = {"source": {"gguf": str(gguf)}}
    found = estimated(arm, arm, slots=slots, threads=1)
    text = "What is 17 + 25? " * 12
    requests = [
        EngineRequest(str(n), (Message("user", text),), Decoding(max_tokens=8))
        for n in range(slots)
    ]
    with EmbeddedEngine().open(ServedModel(Arm.A, str(gguf), ""), found.profile) as session:
        assert all(reply.reason is None for reply in session.serve(requests))
        taken = psutil.Process(session.pid).memory_info().rss
    assert found.needed == pytest.approx(taken, rel=0.15)
