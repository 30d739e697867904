"""What the balancer costs a run that nobody disturbs: the same run with and without it, in turns.

    python benchmarks/balancer_cost.py [--rounds 5] [--questions 150]

Two quantizations of the quickstart's model answer the first of its questions: whole runs of
`so8t run`, nothing kept between them. The balancer looks every 5 s, as it does by default. Goal: no
more than 3 % more time, by the median of the rounds; less cannot be told from chance here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from so8t.examples import DEMO
from so8t.models.gguf_convert import convert

GOAL = 1.03


def run(directory: Path, name: str, questions: int, *, balance: bool) -> tuple[float, float]:
    """Run once; return the seconds and the CPU seconds of the run and its children."""
    suite = (DEMO.parent / "suite.jsonl").read_text("utf-8").splitlines()[:questions]
    (directory / "suite.jsonl").write_text("\n".join(suite) + "\n", "utf-8")
    config = {
        "name": name,
        "a": {"source": {"gguf": str(directory / "f16.gguf")}},
        "b": {"source": {"gguf": str(directory / "q8_0.gguf")}},
        "benchmark": {
            "suites": [str(directory / "suite.jsonl")],
            "reuse_baseline": False,
        },
        "generation": {"max_tokens": 24},
        "verdict": {"stop": "full"},
        "resources": {"balance": balance, "low_priority": False},
    }
    path = directory / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    before, started = os.times(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "so8t", "run", str(path), "--output", str(directory / "runs")],
        capture_output=True,
        text=True,
        check=False,
    )
    seconds, after = time.monotonic() - started, os.times()
    if done.returncode:
        raise SystemExit(f"the run ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    cpu = after.children_user + after.children_system
    return seconds, cpu - before.children_user - before.children_system


def main() -> int:
    """Print the rounds and the ratios; 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--questions", type=int, default=150)
    asked = parser.parse_args()
    wall: dict[bool, list[float]] = {True: [], False: []}
    cpu: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        for kind in ("f16", "q8_0"):
            convert(DEMO.parent / "base", directory / f"{kind}.gguf", kind)
        run(directory, "warm", 10, balance=True)
        for number in range(asked.rounds):
            # The order turns round, so that a machine that gets slower favours neither.
            for balance in (True, False) if number % 2 else (False, True):
                name = f"{'with' if balance else 'without'}-{number}"
                seconds, used = run(directory, name, asked.questions, balance=balance)
                wall[balance].append(seconds)
                cpu[balance].append(used)
                print(f"{name}: {seconds:.2f} s, {used:.2f} s of CPU", flush=True)
    ratio, load = (
        statistics.median(one[True]) / statistics.median(one[False]) for one in (wall, cpu)
    )
    print(json.dumps({"wall": round(ratio, 4), "cpu": round(load, 4), "goal": GOAL}))
    return int(ratio > GOAL)


if __name__ == "__main__":
    sys.exit(main())
