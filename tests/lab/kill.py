"""SIGKILL at random moments of every phase of the real pipeline, many times, one run after another.

Weights are converted, B is fine-tuned, both are loaded by llama.cpp and asked; each start is
killed, and the next one goes on. When a run gets to its end its answers, models and verdict are
compared with those of a run that nobody killed, and a new one is begun.

    python tests/lab/kill.py --kills 1000

Starts are forked from a process that has the program imported already; besides that they are what
`so8t run` is. The engine and the training are processes of their own as always.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
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
from tiny_run import run_directory, write_config
from workload import Row, shown

from so8t.domain.plan import Phase
from so8t.journal.store import Journal
from so8t.pipeline.selftest.killing import kill_in, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

QUESTIONS = 120
# Of ten kills so many aim at each phase, and the most seconds after its start: about as long as
# it takes. Most kills come early, because a phase that gets done cannot be hit again.
SHARES = {
    Phase.PREPARE_A: (2, 0.05),
    Phase.PREPARE_B: (1, 3.0),
    Phase.REGISTER: (2, 0.3),
    Phase.BENCHMARK: (5, 0.25),
}


class Forked:
    """A start of `so8t run`, forked from a process that has it imported."""

    def __init__(self, context: Any, config: Path) -> None:
        self._process = context.Process(target=_run, args=(str(config),))
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return its exit code, None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def wait(self) -> int | None:
        """Wait for its end and return the exit code."""
        self._process.join()
        return self._process.exitcode


def _run(config: str) -> None:
    from so8t.cli import invoke as run  # noqa: PLC0415 - imported before the fork

    with (Path(config).parent / "said.txt").open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    os.setsid()
    output = str(Path(config).parent / "runs")
    # No wait for modules to be torn down; the run itself has closed everything.
    os._exit(run(["run", config, "--output", output]))


def context() -> Any:
    """Return a way to start processes that are forked with the program imported."""
    os.environ["OMP_NUM_THREADS"] = "1"
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(
        [
            "so8t.cli.wire",
            "so8t.report.html",
            "so8t.engines.embedded",
            "so8t.models.gguf_convert",
            "scipy.stats",
        ]
    )
    return found


def end(config: Path, way: Any) -> dict[str, Any]:
    """Let a run get to its end, and return its outcome."""
    code = Forked(way, config).wait()
    if code != 0:
        said = (config.parent / "said.txt").read_text(encoding="utf-8")
        raise AssertionError(f"the run in {config.parent} ended with exit code {code}:\n{said}")
    return outcome(run_directory(config))


def kills(number: int, scratch: Path, *, seed: int, seconds: float | None = None) -> Row:
    """Kill `number` times (or as often as `seconds` allow), compare each run that ends."""
    dice, way = random.Random(seed), context()
    deadline = None if seconds is None else time.monotonic() + seconds
    undisturbed = end(write_config(scratch / "undisturbed", questions=QUESTIONS), way)
    row, hits = Row("SIGKILL of the run, all phases"), Counter()
    while row.times < number:
        config = write_config(scratch / f"run-{row.times}", questions=QUESTIONS)
        before = row.times
        for phase, delay in _aims(min(number - row.times, 100), dice):
            if deadline is not None and time.monotonic() > deadline:
                number = row.times
                break
            killed = kill_in(Forked(way, config), run_directory(config), phase, delay)
            if killed is None:
                break
            if killed.orphans:
                raise AssertionError(f"children outlived the killed run: {_named(killed.orphans)}")
            row.times += 1
            hits[killed.phase] += 1
        found = end(config, way)
        _compare(found, undisturbed, row)
        _count(run_directory(config), row.times - before, row)
    row.note = ", ".join(f"{phase.value if phase else 'start'}: {n}" for phase, n in hits.items())
    row.note += f"; seed {seed}"
    return row


def _named(pids: tuple[int, ...]) -> list[list[str]]:
    found = []
    for pid in pids:
        with suppress(psutil.Error):
            found.append(psutil.Process(pid).cmdline())
    return found or [[f"{pids}, gone by now"]]


def _aims(number: int, dice: random.Random) -> Iterator[tuple[Phase, float]]:
    """Yield what one run's kills aim at: the phases in their order, later ones more often."""
    whole = sum(share for share, _ in SHARES.values())
    for phase, (share, longest) in SHARES.items():
        for _ in range(max(1, round(number * share / whole))):
            yield phase, longest * dice.random() ** 2


def _compare(found: dict[str, Any], truth: dict[str, Any], row: Row) -> None:
    row.lost += len(truth["answers"].keys() - found["answers"].keys())
    row.twice += sum(attempts != 1 for *_, attempts in found["answers"].values())
    row.same &= found == truth


def _count(directory: Path, killed: int, row: Row) -> None:
    """Count the phases that were begun again; the journal must know of the kills."""
    with Journal(directory, readonly=True) as journal:
        interruptions = len(journal.events("interruption"))
        # A kill before the session's first row leaves nothing to tell of.
        if not 0 <= killed - interruptions <= max(1, killed // 10):
            row.same = False
        row.redone += sum(step.attempt - 1 for step in journal.phases() if step.state == "done")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seconds", type=float, help="stop killing after this time")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="so8t-lab-") as scratch:
        row = kills(asked.kills, Path(scratch), seed=asked.seed, seconds=asked.seconds)
    sys.stdout.write(shown([row]) + "\n")
    sys.exit(0 if row.good else 1)


if __name__ == "__main__":
    main()
