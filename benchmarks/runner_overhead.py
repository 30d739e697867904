"""CPU time of the runner for an answer, against an engine that answers at once.

    python benchmarks/runner_overhead.py [--answers 6000]

Everything of phase 4 but the model: questions read from the journal, requests made, answers graded
and committed one by one with synchronous=FULL, and the evidence at the end. Goal: less
than 1 ms of CPU an answer. Each answer is durable before it counts: the journal is opened again
afterwards, its settings and its rows are checked.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import tempfile
import time
from pathlib import Path

from so8t.config.schema import RunConfig
from so8t.domain.exchange import Message
from so8t.domain.plan import permute
from so8t.domain.sample import Origin, Sample
from so8t.engines.scripted import ScriptedEngine
from so8t.journal.evidence import freeze
from so8t.journal.store import Journal
from so8t.pipeline.benchmark.phase4 import Phase4BenchmarkRunner
from so8t.pipeline.plan.planning import samples_in_block
from so8t.pipeline.run.progress import Silent, StopRequest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "pipeline"))

from scripted_run import registration

GOAL_MILLISECONDS = 1.0


def questions(count: int) -> list[Sample]:
    """Word problems of ordinary length."""
    return [
        Sample(
            f"suite/{n}",
            "suite",
            Origin.SUITE,
            "mathematics",
            "en",
            (Message("user", f"A shelf holds {n} boxes of 12 jars each. How many jars? " * 4),),
            {"type": "number"},
            str(12 * n),
        )
        for n in range(count)
    ]


def config() -> RunConfig:
    """A usual config that asks everything."""
    return RunConfig.model_validate(
        {
            "name": "overhead",
            "a": {"source": {"gguf": "a.gguf"}},
            "b": {"source": {"gguf": "b.gguf"}},
            "benchmark": {"suites": ["s.jsonl"], "noise_floor": 0, "reuse_baseline": False},
            "verdict": {"stop": "full"},
        }
    )


def measure(directory: Path, count: int) -> dict[str, float]:
    """Run phase 4 on `count` questions; return seconds an answer."""
    asked = config()
    engine = ScriptedEngine(lambda request: "Twelve each, so the answer is 144. " + request.key)
    with Journal(directory) as journal:
        journal.create_run("overhead", asked.model_dump(mode="json"), "0")
        journal.freeze(permute(questions(count), 1))
        freeze(journal, binary=True, look_every=samples_in_block(asked, count))
        runner = Phase4BenchmarkRunner(
            asked, journal, engine, registration(4), reporter=Silent(), stop=StopRequest()
        )
        wall, cpu = time.perf_counter(), time.process_time()
        runner.run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    with Journal(directory) as journal:
        journal.verify()
        answers = sum(journal.answer_counts().values())
        if answers != 2 * count or journal.connection.pragma("synchronous") != 2:  # noqa: PLR2004 - FULL
            raise SystemExit(f"not every answer was committed: {answers} of {2 * count}")
    return {"answers": answers, "cpu": cpu / answers, "wall": wall / answers}


def main() -> None:
    """Print what was measured beside the goal; exit code 1 when it is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=6000)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        measure(Path(directory), 40)  # what is imported and compiled once is not counted
    with tempfile.TemporaryDirectory() as directory, cProfile.Profile() as profile:
        if not arguments.profile:
            profile.disable()
        found = measure(Path(directory), arguments.answers // 2)
        profile.disable()
    print(
        f"{found['answers']} answers, {found['cpu'] * 1e3:.3f} ms CPU and "
        f"{found['wall'] * 1e3:.3f} ms an answer (goal: CPU below {GOAL_MILLISECONDS} ms)"
    )
    if arguments.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(35)
    missed = found["cpu"] * 1e3 >= GOAL_MILLISECONDS
    raise SystemExit(missed)


if __name__ == "__main__":
    main()
