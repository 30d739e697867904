"""A run's children are killed, one at a time, in every phase; the run itself is left alone.

Training and llama.cpp are processes of their own. What a child that dies costs is told by the run:
it starts the child again, or ends resumable, and the same command goes on.

    python tests/lab/children.py --kills 100
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipeline"))

import psutil
from kill import QUESTIONS, Forked, context, end
from tiny_run import run_directory, write_config
from workload import Row, shown

from so8t.errors import IncompleteError
from so8t.pipeline.selftest.killing import outcome, phase_now

if TYPE_CHECKING:
    from so8t.domain.plan import Phase

_BETWEEN_SECONDS = 8.0
# So many in one run; then it is left alone, so that it comes to its end.
_KILLS_A_RUN = 6
_STARTS = 20


def children_killed(
    kills: int, *, seed: int = 1, seconds: float | None = None, steps: int = 40
) -> Row:
    """Kill so many children (or as many as `seconds` allow); compare each run that ends."""
    dice, way = random.Random(seed), context()
    row, hits = Row("SIGKILL of a child alone, all phases"), Counter()
    deadline = None if seconds is None else time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="so8t-lab-") as scratch:
        root = Path(scratch)
        settings = {"questions": QUESTIONS, "steps": steps}
        truth = end(write_config(root / "undisturbed", **settings), way)
        while row.times < kills and (deadline is None or time.monotonic() < deadline):
            config = write_config(root / f"run-{row.times}", **settings)
            _to_its_end(config, way, dice, kills, row, hits, deadline)
            _compare(outcome(run_directory(config)), truth, row)
    row.note = ", ".join(f"{phase}: {count}" for phase, count in hits.items())
    return row


def _to_its_end(
    config: Path, way: Any, dice: random.Random, kills: int, row: Row, hits: Counter[str],
    deadline: float | None,
) -> None:  # fmt: skip
    """Start a run until it ends, killing children on the way; it may end resumable each time."""
    most = min(kills, row.times + _KILLS_A_RUN)
    for _ in range(_STARTS):
        process = Forked(way, config)
        while process.poll() is None:
            _wait(process, _BETWEEN_SECONDS * dice.random() ** 2)
            late = deadline is not None and time.monotonic() > deadline
            if row.times < most and not late:
                hit = _kill_one(process.pid, run_directory(config), dice)
                if hit is not None:
                    row.times += 1
                    hits[hit] += 1
        code = process.wait()
        if code == 0:
            return
        if code != IncompleteError.exit_code:
            said = (config.parent / "said.txt").read_text(encoding="utf-8")
            raise AssertionError(f"exit code {code} after a child was killed:\n{said}")
        row.redone += 1
    raise AssertionError(f"the run in {config.parent} does not get to its end")


def _wait(process: Forked, seconds: float) -> None:
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)


def _kill_one(pid: int, directory: Path, dice: random.Random) -> str | None:
    """Kill a child of the run by chance; return the phase that it was at work for."""
    phase: Phase | None = phase_now(directory, pid)
    with suppress(psutil.Error):
        children = psutil.Process(pid).children(recursive=True)
        if children:
            dice.choice(children).kill()
            return phase.value if phase else "start"
    return None


def _compare(found: dict[str, Any], truth: dict[str, Any], row: Row) -> None:
    row.lost += len(truth["answers"].keys() - found["answers"].keys())
    row.twice += sum(attempts != 1 for *_, attempts in found["answers"].values())
    row.same &= found == truth


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seconds", type=float, help="stop killing after this time")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    row = children_killed(asked.kills, seed=asked.seed, seconds=asked.seconds)
    sys.stdout.write(shown([row]) + "\n")
    sys.exit(0 if row.good else 1)


if __name__ == "__main__":
    main()
