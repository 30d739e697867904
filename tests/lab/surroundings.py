"""A whole run in bad surroundings: no room while it works, few files, a clock that jumps, a halt.

Each ends, after as many starts as it takes, with the answers and the verdict of a run in peace;
each start that does not end says why, without a traceback.

    python tests/lab/surroundings.py
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipeline"))

from tiny_run import ENVIRONMENT, command, run_directory, write_config
from workload import Row, shown

from so8t.domain.plan import Phase
from so8t.pipeline.selftest.killing import outcome, phase_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUESTIONS, STEPS = 16, 6
# Missing prerequisites and incomplete runs: the two that a person mends and starts again.
_MAY_END = {0, 3, 4}
_STARTS = 5
_FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


def start(config: Path, before: str = "", **environment: str) -> subprocess.Popen[str]:
    """Start a run, after a line of shell that sets what it lives in."""
    return subprocess.Popen(
        [shutil.which("bash") or "bash", "-c", f'{before}exec "$@"', "so8t", *command(config)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**ENVIRONMENT, **environment}, start_new_session=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> int:
    """Wait for the end of a start, which has to say why it ended."""
    _, said = process.communicate(timeout=900)
    if process.returncode not in _MAY_END or "Traceback" in said:
        raise AssertionError(f"exit code {process.returncode}:\n{said}")
    return int(process.returncode)


def in_peace(place: Path) -> dict[str, Any]:
    """Return the outcome of a run that nothing disturbs."""
    config = write_config(place, questions=QUESTIONS, steps=STEPS)
    if ended(start(config)):
        raise AssertionError("the undisturbed run did not end")
    return outcome(run_directory(config))


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path | None]:
    """Mount a file system in memory; None where that is not allowed."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run([shutil.which("umount") or "umount", "-l", str(place)], check=True)


def full_disk_in(phase: Phase, root: Path, truth: dict[str, Any], row: Row) -> None:
    """The disk is full from a moment of a phase on; there is room again for the next start."""
    with small_disk(root / f"disk-{phase.value}", 300) as disk:
        if disk is None:
            row.note += f" {phase.value}: not tried, needs root;"
            return
        config = write_config(disk / "work", questions=QUESTIONS, steps=STEPS)
        ballast = disk / "ballast"
        process = start(config)
        while process.poll() is None and phase_now(run_directory(config), process.pid) is not phase:
            time.sleep(0.01)
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while process.poll() is None and file.write(bytes(1 << 20)):
                pass
        code = ended(process)
        ballast.unlink()
        row.note += f" disk full in {phase.value}: exit code {code};"
        _finish(config, truth, row)


def few_files(root: Path, truth: dict[str, Any], row: Row) -> None:
    """`ulimit -n 64`."""
    config = write_config(root / "few-files", questions=QUESTIONS, steps=STEPS)
    row.note += f" 64 files: exit code {ended(start(config, 'ulimit -n 64; '))};"
    _finish(config, truth, row)


def little_memory(root: Path, truth: dict[str, Any], row: Row) -> None:
    """An address space of 3 GB, which torch's libraries alone nearly fill; then no limit."""
    config = write_config(root / "little-memory", questions=QUESTIONS, steps=STEPS)
    row.note += f" 3 GB of address space: exit code {ended(start(config, 'ulimit -v 3000000; '))};"
    _finish(config, truth, row)


def jumping_clock(root: Path, truth: dict[str, Any], row: Row) -> None:
    """A start a month on that is killed, one two months back, and the rest at the right time.

    A jump within a start is `faults.clocks`': libfaketime moves the monotonic clock too, which no
    one who sets a clock does.
    """
    if not _FAKETIME.exists():
        row.note += " clock: not tried, needs libfaketime;"
        return
    config = write_config(root / "clock", questions=QUESTIONS, steps=STEPS)
    process = start(config, LD_PRELOAD=str(_FAKETIME), FAKETIME="+31d")
    while process.poll() is None and phase_now(run_directory(config)) is not Phase.PREPARE_B:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    code = ended(start(config, LD_PRELOAD=str(_FAKETIME), FAKETIME="-30d"))
    row.note += f" clock two months back after a kill: exit code {code};"
    _finish(config, truth, row)


def halted(root: Path, truth: dict[str, Any], row: Row, *, seconds: float = 120.0) -> None:
    """The whole run stands still in each phase, as in a machine that was suspended."""
    config = write_config(root / "halted", questions=QUESTIONS, steps=STEPS)
    process = start(config)
    for phase in Phase:
        while process.poll() is None and phase_now(run_directory(config)) is not phase:
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGSTOP)
            time.sleep(seconds / len(Phase))
            os.killpg(process.pid, signal.SIGCONT)
    row.note += f" halted for {seconds:g} s: exit code {ended(process)};"
    _finish(config, truth, row)


def _finish(config: Path, truth: dict[str, Any], row: Row) -> None:
    """Start until it ends, and compare."""
    for _ in range(_STARTS):
        if ended(start(config)) == 0:
            break
        row.redone += 1
    found = outcome(run_directory(config))
    row.times += 1
    row.lost += len(truth["answers"].keys() - found["answers"].keys())
    row.same &= found == truth


WAYS: dict[str, Callable[[Path, dict[str, Any], Row], None]] = {
    "conversion": lambda root, truth, row: full_disk_in(Phase.PREPARE_A, root, truth, row),
    "training": lambda root, truth, row: full_disk_in(Phase.PREPARE_B, root, truth, row),
    "files": few_files,
    "memory": little_memory,
    "clock": jumping_clock,
    "halt": halted,
}


def surroundings(only: list[str] | None = None) -> Row:
    """Try all of them, or some."""
    row = Row("a whole run in bad surroundings")
    with tempfile.TemporaryDirectory(prefix="so8t-lab-") as scratch:
        root = Path(scratch)
        truth = in_peace(root / "peace")
        for name in only or WAYS:
            WAYS[name](root, truth, row)
    return row


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=WAYS, action="append")
    row = surroundings(parser.parse_args().only)
    sys.stdout.write(shown([row]) + "\n")
    sys.exit(0 if row.good else 1)


if __name__ == "__main__":
    main()
