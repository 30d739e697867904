"""Someone looks into a run's journal with another SQLite, and then the run is killed.

A process answers the laboratory's questions as a run does: with a connection for the machine's
figures and a second reader beside the one that writes. While it works the system's `sqlite3`
or Python's own module opens the journal, reads and closes it; then comes SIGKILL. What the process
acknowledged has to be there.

    python tests/lab/look.py --kills 50
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workload import Row, answer_rest, answered, begin, fast_directory, outcome, shown, undisturbed

from so8t.journal.chained import FILE_NAME
from so8t.journal.history import ResourceHistory
from so8t.journal.restore import open_journal
from so8t.journal.store import Journal, system_now

if TYPE_CHECKING:
    from collections.abc import Callable

_COUNT = "select count(*) from answer"
_PYTHON = f"""
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute({_COUNT!r}).fetchone()[0])
connection.close()
"""


def ways() -> dict[str, Callable[[Path], list[str]]]:
    """Return how to look: what this machine has, by name."""
    found: dict[str, Callable[[Path], list[str]]] = {
        "Python's module": lambda path: [sys.executable, "-c", _PYTHON, str(path)]
    }
    program = shutil.which("sqlite3")
    if program is not None:
        found["sqlite3"] = lambda path: [program, str(path), _COUNT]
    return found


def look(command: list[str]) -> int:
    """Look once; return how many answers are there to be seen."""
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return int(said.stdout)


def looks(kills: int, *, seed: int = 1, careless: bool = False) -> Row:
    """Look and kill so many times, each on a run of its own; go on to the end and compare.

    `careless`: the process itself opens and closes the file without SQLite, so that its locks are
    gone when the other program looks.
    """
    dice, ways_there = random.Random(seed), ways()
    row = Row("a look from outside, then SIGKILL" + (", locks lost" if careless else ""))
    seen: dict[str, int] = dict.fromkeys(ways_there, 0)
    with tempfile.TemporaryDirectory(dir=fast_directory(), prefix="so8t-lab-") as scratch:
        root = Path(scratch)
        truth = undisturbed(root / "undisturbed")
        for number in range(kills):
            name = list(ways_there)[number % len(ways_there)]
            place = root / f"run-{number}"
            told = _looked_at_and_killed(place, ways_there[name], dice, careless=careless)
            row.times += 1
            seen[name] += 1
            _go_on(place, told, truth, row)
            shutil.rmtree(place)
    row.note = ", ".join(f"{name}: {count}" for name, count in seen.items())
    return row


def _looked_at_and_killed(
    place: Path, way: Callable[[Path], list[str]], dice: random.Random, *, careless: bool
) -> set[tuple[str, int]]:
    """Return what a process acknowledged that was looked at and then killed."""
    command = [sys.executable, __file__, "--work", str(place), *(["--careless"] * careless)]
    said = subprocess.DEVNULL if careless else None
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True) as process:
        if process.stdout is None:
            raise AssertionError
        told = [process.stdout.readline() for _ in range(dice.randrange(1, 30))]
        look(way(place / FILE_NAME))
        told += [process.stdout.readline() for _ in range(dice.randrange(1, 12))]
        time.sleep(0.01 * dice.random())
        process.kill()
        told += process.stdout.readlines()
    if process.returncode != -signal.SIGKILL and not careless:
        raise AssertionError(f"it ended before it was killed: {process.returncode}")
    # A line that the kill cut off was not heard by anyone.
    whole = [line.split() for line in told if line.endswith("\n")]
    return {(arm, int(position)) for arm, position in whole}


def _go_on(place: Path, told: set[tuple[str, int]], truth: dict[str, Any], row: Row) -> None:
    journal, restored = open_journal(place, now=system_now)
    with journal:
        found = answered(journal)
        names = {(arm.value, position) for arm, position in found}
        row.lost += len(told - names)
        row.twice += len(found) - len(names)
        row.redone += len(names - told)
        for _ in answer_rest(journal):
            pass
        row.same &= restored is None and outcome(journal) == truth


def work(place: Path, *, careless: bool) -> None:
    """Answer the questions as a run does, and say on standard output what was acknowledged."""
    with Journal(place) as journal:
        begin(journal)
        journal.event("session_started", pid=0)
        history = ResourceHistory(place)
        for number, (arm, position) in enumerate(answer_rest(journal)):
            sys.stdout.write(f"{arm.value} {position}\n")
            sys.stdout.flush()
            history.add(float(number), 5.0, {"cpu": 0.5})
            if number % 8 == 0:
                Journal(place, readonly=True).close()
            if careless:
                (place / FILE_NAME).open("rb").close()
            time.sleep(0.002)
        time.sleep(60)  # the kill is to come while it has the file open


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--careless", action="store_true", help="lose the locks on purpose")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work is not None:
        work(asked.work, careless=asked.careless)
        return
    row = looks(asked.kills, seed=asked.seed, careless=asked.careless)
    sys.stdout.write(shown([row]) + "\n")
    sys.exit(0 if row.good else 1)


if __name__ == "__main__":
    main()
