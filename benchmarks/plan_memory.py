"""Memory of a plan with many questions: read, put in order, frozen, and gone through.

    python benchmarks/plan_memory.py [--samples 1000000]

A suite of that many short questions is written, and a fresh process reads it as `so8t plan` and
`so8t run` do, freezes it in a journal, and goes through it once as phase 4 does. The highest
resident memory of that process after each step is printed beside the goal (300 MB at 1,000,000).
Linux and macOS.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from so8t.config.schema import RunConfig
from so8t.journal.evidence import freeze
from so8t.journal.store import Journal
from so8t.pipeline.plan import planning

GOAL_BYTES = 300e6
_UNIT = 1 if sys.platform == "darwin" else 1024


def write_suite(path: Path, count: int) -> None:
    """Write a suite of questions of some hundred bytes each."""
    with path.open("w", encoding="utf-8") as file:
        for n in range(count):
            item = {
                "id": f"q{n}",
                "category": "mathematics",
                "prompt": f"A shelf holds {n} boxes of 12 jars each. How many jars are there?",
                "grader": "number",
                "reference": str(12 * n),
            }
            file.write(json.dumps(item) + "\n")


def measure(directory: Path) -> None:
    """Plan, freeze and go through the suite in this process; print the peak after each step."""
    config = RunConfig.model_validate(
        {
            "name": "large",
            "a": {"source": {"gguf": "a.gguf"}},
            "b": {"source": {"gguf": "b.gguf"}},
            "benchmark": {"suites": [str(directory / "suite.jsonl")]},
        }
    )
    started = time.monotonic()

    def step(name: str) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
        seconds = time.monotonic() - started
        print(f"{name}: at most {peak / 1e6:,.0f} MB resident, after {seconds:,.0f} s", flush=True)

    step("start")
    samples = planning.collect_samples(config)
    step(f"collected {len(samples):,} in their order")
    with Journal(directory / "run") as journal:
        journal.create_run("large", config.model_dump(mode="json"), "0")
        journal.freeze(samples)
        freeze(journal, binary=True, look_every=planning.samples_in_block(config, len(samples)))
        step("frozen")
        del samples
        assert sum(1 for _ in journal.samples()) == journal.sample_count()  # noqa: S101 - a measurement
        step("gone through")


def main() -> None:
    """Write the suite and measure in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        measure(arguments.measure)
        return
    with tempfile.TemporaryDirectory() as directory:
        write_suite(Path(directory) / "suite.jsonl", arguments.samples)
        print(f"{arguments.samples:,} questions; goal at 1,000,000: {GOAL_BYTES / 1e6:.0f} MB")
        child = [sys.executable, __file__, "--measure", directory]
        subprocess.run(child, check=True)


if __name__ == "__main__":
    main()
