"""SIGKILL at each system call of a beginning: of a run, and of the audit log of /think.

A process that is about to begin stops itself; strace takes hold of it and kills it at its n-th
system call from there, before that call is made. Then the same beginning is made again, and has to
go on: for every n until one beginning gets to its end.

    python tests/lab/beginning.py
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipeline"))

from scripted_run import config
from workload import Row, fast_directory, shown

from so8t.cli.audit import AuditPlaces
from so8t.errors import PrerequisiteError
from so8t.journal.audit import AuditRow, verify_audit
from so8t.journal.chained import FILE_NAME
from so8t.journal.store import Journal
from so8t.pipeline.run.rundir import open_run

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 5000
_ROW = AuditRow(
    "2026-01-01T00:00:00+00:00", 1.0, "first", "answered", "ALLOW", None, "q", None, None,
    "sha256:m", "scripted", 0.5,
)  # fmt: skip


def traceable() -> bool:
    """Whether strace is here and may take hold of a process."""
    program = shutil.which("strace")
    return (
        program is not None
        and not subprocess.run(
            [program, "-o", os.devnull, "true"], capture_output=True, check=False
        ).returncode
    )


def begin_run(place: Path) -> None:
    """Begin a run as `so8t run` does: directory, lease, journal, its first rows."""
    with open_run(config(output=str(place))) as (_, journal):
        journal.event("begun")


def look_at_run(place: Path) -> None:
    """Look as `so8t status` does: there may be nothing yet, but nothing that is damaged."""
    with (
        suppress(PrerequisiteError),
        Journal(place / "scripted", readonly=True) as journal,
    ):
        journal.verify()


def check_run(place: Path) -> None:
    """All of it is there, and nothing had to be restored."""
    with Journal(place / "scripted", readonly=True) as journal:
        journal.verify()
        if journal.run is None or journal.events("journal_restored"):
            raise AssertionError(f"the run in {place} is not as it was begun")


def _places(place: Path) -> AuditPlaces:
    return AuditPlaces(place / "think", place / "keys", None)


def begin_audit(place: Path) -> None:
    """Begin an audit log as `so8t serve` does: keys, file, the first row."""
    places = _places(place)
    places.text_key()
    with places.open() as log:
        if not log.head.seq:
            log.append(_ROW)


def check_audit(place: Path) -> None:
    """One row, which is what was written."""
    places = _places(place)
    found = verify_audit(places.directory, places.chain_key())
    if found != (1, []):
        raise AssertionError(f"the log in {place}: {found}")


def cut_at(begin: Callable[[Path], None], place: Path, call: int) -> bool:
    """Kill a beginning at its `call`-th system call; False where it ended before."""
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        begin(place)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    tracer = subprocess.Popen(
        [shutil.which("strace") or "strace", "-qq", "-o", os.devnull, "-e", "trace=all", "-e",
         f"inject=all:signal=SIGKILL:when={call}", "-p", str(child)],
        stderr=subprocess.PIPE,
    )  # fmt: skip
    while not _traced(child):
        if tracer.poll() is not None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError(f"strace: {tracer.stderr.read() if tracer.stderr else ''}")
        time.sleep(0.001)
    os.kill(child, signal.SIGCONT)
    tracer.communicate(timeout=60)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status):
        raise AssertionError(f"the beginning failed by itself: {status}")
    return os.WIFSIGNALED(status)


def _traced(child: int) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{child}/status").read_text()


def run_beginnings(cuts: int | None = None, *, seed: int = 1) -> Row:
    """Cut the beginning of a run at each system call, or at `cuts` of them by chance."""
    return _row("run", begin_run, look_at_run, check_run, cuts, seed)


def audit_beginnings(cuts: int | None = None, *, seed: int = 1) -> Row:
    """Cut the beginning of an audit log at each system call, or at `cuts` of them by chance."""
    return _row("audit log", begin_audit, lambda _: None, check_audit, cuts, seed)


def _row(
    what: str,
    begin: Callable[[Path], None],
    look: Callable[[Path], None],
    check: Callable[[Path], None],
    cuts: int | None,
    seed: int,
) -> Row:
    row = Row(f"SIGKILL at each system call of a beginning: {what}")
    with tempfile.TemporaryDirectory(dir=fast_directory(), prefix="so8t-lab-") as scratch:
        root = Path(scratch)
        begin(root / "once")  # what is imported at first use makes no system calls after it
        calls = range(1, _MOST)
        if cuts is not None:
            every = _calls(begin, root / "counted")
            calls = sorted(random.Random(seed).sample(range(1, every), min(cuts, every - 1)))
        for call in calls:
            place = root / f"cut-{call}"
            if not cut_at(begin, place, call):
                break
            row.times += 1
            _again(place, begin, look, check, row)
            shutil.rmtree(place, ignore_errors=True)
    return row


def _calls(begin: Callable[[Path], None], place: Path) -> int:
    """Count the system calls of a beginning, by halving."""
    low, high = 1, _MOST
    while high - low > 1:
        middle = (low + high) // 2
        shutil.rmtree(place, ignore_errors=True)
        if cut_at(begin, place, middle):
            low = middle
        else:
            high = middle
    return low


def _again(
    place: Path,
    begin: Callable[[Path], None],
    look: Callable[[Path], None],
    check: Callable[[Path], None],
    row: Row,
) -> None:
    there = (place / "scripted" / FILE_NAME).exists()
    try:
        if there:
            look(place)
        begin(place)
        check(place)
    except Exception as error:  # noqa: BLE001 - whatever it is, this cut is named
        row.same = False
        row.lost += 1
        row.note = row.note or f"first: {place.name}: {type(error).__name__}: {error}"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuts", type=int, help="so many by chance instead of all")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    rows = [way(asked.cuts, seed=asked.seed) for way in (run_beginnings, audit_beginnings)]
    sys.stdout.write(shown(rows) + "\n")
    sys.exit(0 if all(row.good for row in rows) else 1)


if __name__ == "__main__":
    main()
