"""The crash laboratory: every fault, many times, one table.

python tests/lab/crash_lab.py             # some minutes
python tests/lab/crash_lab.py --full      # 1,000 kills, 10,000 power cuts: an hour or more
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import beginning
import children
import faults
import kill
import look
import power
import surroundings
from workload import Row, shown

if TYPE_CHECKING:
    from collections.abc import Callable

# Fault -> how often, in a short and in a full session.
NUMBERS = {
    "kill": (50, 1000),
    "power": (500, 10_000),
    "normal": (200, 5000),
    "begin_run": (20, 1000),
    "begin_audit": (20, 1000),
    "begin_power": (60, 1000),
    "look": (10, 50),
    "look_without_locks": (10, 50),
    "full_disk": (200, 1000),
    "real_full_disk": (20, 100),
    "read_only": (200, 1000),
    "failing_sync": (200, 1000),
    "vanished": (50, 200),
    "clocks": (200, 1000),
    "six_at_once": (50, 200),
    "children": (6, 100),
    "surroundings": (1, 6),
    "engine_killed": (10, 100),
    "server_killed": (5, 50),
}


_ALL = 1000


def _kills(number: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="so8t-lab-") as scratch:
        return kill.kills(number, Path(scratch), seed=random.SystemRandom().randrange(2**32))


def _at_system_calls(way: Callable[..., Row]) -> Callable[[int], Row]:
    """All of them where more are asked for than there are."""
    if beginning.traceable():
        return lambda number: way(None if number >= _ALL else number)
    return lambda _: Row(way.__name__, note="not tried: needs strace")


def main() -> None:
    """Run from the command line; exit code 1 when anything was lost, twice, or ended otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", choices=NUMBERS, action="append")
    asked = parser.parse_args()
    ways: dict[str, Callable[[int], Row]] = {
        "kill": _kills,
        "power": power.cuts,
        "normal": lambda number: power.cuts(number, normal=True),
        "begin_run": _at_system_calls(beginning.run_beginnings),
        "begin_audit": _at_system_calls(beginning.audit_beginnings),
        "begin_power": lambda number: power.first_cuts(max(1, 600 // number)),
        "children": children.children_killed,
        "surroundings": lambda number: surroundings.surroundings(list(surroundings.WAYS)[:number]),
        "look": look.looks,
        "look_without_locks": lambda number: look.looks(number, careless=True),
        **{name: getattr(faults, name) for name in NUMBERS if hasattr(faults, name)},
    }
    rows = []
    for name in asked.only or NUMBERS:
        row = ways[name](NUMBERS[name][asked.full])
        sys.stderr.write(shown([row]).splitlines()[-1] + "\n")
        if name == "normal":
            # The control: with these settings the same cuts must lose answers.
            row.note, row.lost_is_right = "the control: it has to lose", True
        rows.append(row)
    sys.stdout.write(shown(rows) + "\n")
    sys.exit(0 if all(row.good for row in rows if row.times) else 1)


if __name__ == "__main__":
    main()
