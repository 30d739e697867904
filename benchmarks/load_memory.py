"""What loading a model really takes beside what was estimated before.

    python benchmarks/load_memory.py [--contexts 512 2048] [--slots 1 4]

The quickstart's base model (converted to F16 and Q8_0) and random Llamas of three widths, one with
a vocabulary of 32,000, are loaded in the embedded engine under several load profiles. Each slot is
then asked a question that nearly fills its context. Printed in MiB for each: the estimate of
`so8t.engines.memory_needs` with its parts, the child's resident memory after loading and after the
answers, its peak (Linux and Windows), and estimate / peak. Log likelihoods (tasks of lm-eval) open
a context of their own and are not measured here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import psutil

from so8t.domain.exchange import Arm, Decoding, EngineRequest, LoadProfile, Message, ServedModel
from so8t.engines.embedded import EmbeddedEngine
from so8t.engines.memory_needs import needs, shape_of_facts
from so8t.examples import DEMO
from so8t.models.gguf_check import inspect_gguf
from so8t.models.gguf_convert import convert

_MIB = 1 << 20
_BLOCK = 32  # values in a q8_0 block
_TEMPLATE = 96  # tokens around a question, and the answer
_TESTS = Path(__file__).resolve().parents[1] / "tests"


def write_models(directory: Path) -> dict[str, Path]:
    """Convert the quickstart's base and write the random models."""
    sys.path.insert(0, str(_TESTS))
    import tiny_gguf  # noqa: PLC0415 - the tests' own model, in other sizes

    models = {"70 kB": tiny_gguf.write_tiny_gguf(directory / "tiny.gguf")}
    base = DEMO.parent / "base"
    for kind in ("f16", "q8_0"):
        models[f"base {kind}"] = convert(base, directory / f"base-{kind}.gguf", kind).path
    for name, width, hidden, heads, layers, more in (
        ("30 M", 384, 1536, 6, 12, 0),
        ("45 M, 32k tokens", 384, 1024, 6, 12, 32_000),
        ("85 M", 768, 2048, 12, 12, 0),
    ):
        tiny_gguf.WIDTH, tiny_gguf.HIDDEN = width, hidden
        tiny_gguf.HEADS, tiny_gguf.LAYERS = heads, layers
        path = directory / f"{width}-{more}.gguf"
        models[name] = tiny_gguf.write_tiny_gguf(path, more_tokens=more)
    return models


def measure(path: Path, profile: LoadProfile) -> tuple[int, int, int | None]:
    """Bytes resident after loading and after one long question a slot, and the peak."""
    text = "".join(chr(33 + n * 7 % 90) for n in range(profile.context - _TEMPLATE))
    requests = [
        EngineRequest(str(n), (Message("user", text),), Decoding(max_tokens=8))
        for n in range(profile.slots)
    ]
    with EmbeddedEngine().open(ServedModel(Arm.A, str(path), ""), profile) as session:
        child = psutil.Process(session.pid)
        loaded = child.memory_info().rss
        for reply in session.serve(requests):
            if reply.reason:
                print(f"  {reply.status}: {reply.reason}")
        return loaded, child.memory_info().rss, _peak(child)


def _peak(process: psutil.Process) -> int | None:
    if sys.platform == "linux":
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return getattr(process.memory_info(), "peak_wset", None)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contexts", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 4])
    asked = parser.parse_args()
    profiles = [
        LoadProfile(slots, context, threads=1)
        for context in asked.contexts
        for slots in asked.slots
    ]
    longest = max(profiles, key=lambda one: one.context * one.slots)
    profiles += [
        LoadProfile(**{**asdict(longest), **change})
        for change in ({"batch": 128}, {"cache_type": "q8_0"})
    ]
    print(
        "model             context slots batch cache   weights  cache buffers process"
        "   estimate  loaded answered    peak  estimate/peak"
    )
    with tempfile.TemporaryDirectory() as directory:
        for name, path in write_models(Path(directory)).items():
            facts = asdict(inspect_gguf(path))
            shape = shape_of_facts(facts)
            assert shape is not None  # noqa: S101 - these files tell
            for profile in profiles:
                if profile.context > facts["context_length"]:
                    continue  # a run would not load it like this either
                if profile.cache_type == "q8_0" and shape.head % _BLOCK:
                    continue  # llama.cpp refuses it
                guess = needs(shape, profile)
                loaded, answered, peak = measure(path, profile)
                parts = (guess.weights, guess.cache, guess.buffers, guess.process)
                print(
                    f"{name:17} {profile.context:7} {profile.slots:5} {profile.batch or '-':>5} "
                    f"{profile.cache_type or '-':5} "
                    + " ".join(f"{part / _MIB:8.1f}" for part in parts)
                    + f" {guess.total / _MIB:9.1f} {loaded / _MIB:7.1f} {answered / _MIB:8.1f} "
                    + ("   unknown" if peak is None else
                       f"{peak / _MIB:7.1f} {guess.total / peak:8.2f}"),
                    flush=True,
                )  # fmt: skip


if __name__ == "__main__":
    main()
