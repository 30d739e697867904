"""Faults of storage, time and neighbours, each many times, each against an undisturbed run.

Every function returns a row of the laboratory's table; `crash_lab.py` prints all of them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipeline"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import apsw
import psutil
from scripted_run import config, prepared_journal, registration, samples
from workload import (
    QUESTIONS,
    Row,
    answer_rest,
    answered,
    begin,
    fast_directory,
    outcome,
    undisturbed,
)

from so8t.domain.exchange import Arm, LoadProfile
from so8t.engines.embedded import EmbeddedEngine
from so8t.errors import IncompleteError, JournalError, LeaseHeldError
from so8t.journal.lease import Lease
from so8t.journal.restore import open_journal
from so8t.journal.store import Journal, system_now
from so8t.pipeline.benchmark.phase4 import Phase4BenchmarkRunner
from so8t.pipeline.run.progress import Silent, StopRequest
from so8t.pipeline.selftest.killing import outcome as run_outcome
from tiny_gguf import write_tiny_gguf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NAME = "so8t-fault"
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a private directory, in memory where there is one."""
    with tempfile.TemporaryDirectory(dir=fast_directory(), prefix="so8t-lab-") as place:
        yield Path(place)


# --- storage -----------------------------------------------------------------------------------


class FaultyVFS(apsw.VFS):
    """The system's VFS, until `countdown` of the calls that `kind` names have passed."""

    def __init__(self, kind: str, error: type[Exception]) -> None:
        self.kind, self.error = kind, error
        self.countdown: int | None = None
        super().__init__(_NAME, "")

    def hit(self, kind: str) -> None:
        """Count one call; from the last one on, all fail until `countdown` is None again."""
        if self.countdown is None or kind != self.kind:
            return
        if self.countdown <= 0:
            raise self.error(f"the laboratory's {self.kind} failed")
        self.countdown -= 1

    def xOpen(self, name, flags):  # noqa: N802 - SQLite's name
        return _FaultyFile(self, name, flags)


class _FaultyFile(apsw.VFSFile):
    def __init__(self, vfs: FaultyVFS, name: str, flags: list[int]) -> None:
        self._vfs = vfs
        super().__init__("", name, flags)

    def xWrite(self, data, offset):  # noqa: N802 - SQLite's name
        self._vfs.hit("write")
        return super().xWrite(data, offset)

    def xSync(self, flags):  # noqa: N802 - SQLite's name
        self._vfs.hit("sync")
        return super().xSync(flags)


def storage(name: str, kind: str, error: type[Exception], times: int, *, seed: int = 1) -> Row:
    """Let storage fail at random calls; start again each time; compare each end."""
    dice, row = random.Random(seed), Row(name)
    with scratch() as root:
        truth = undisturbed(root / "undisturbed")
        vfs = FaultyVFS(kind, error)
        try:
            while row.times < times:
                place = root / f"run-{row.times}"
                told = _until_done(place, vfs, dice, row, times)
                _finish(place, truth, told, row)
        finally:
            vfs.unregister()
    return row


def _until_done(
    place: Path, vfs: FaultyVFS, dice: random.Random, row: Row, times: int
) -> set[tuple[Arm, int]]:
    """Answer all, through as many faults as come; return what was acknowledged."""
    told: set[tuple[Arm, int]] = set()
    with Journal(place) as journal:
        begin(journal)
    while len(told) < 2 * QUESTIONS and row.times < times:
        journal = Journal(place, vfs=_NAME)
        vfs.countdown = dice.randrange(1, 60)
        try:
            told.update(answer_rest(journal))
        except (JournalError, IncompleteError):
            row.times += 1
            if not journal.usable:
                _never_used_again(journal)
            row.redone += 1
        finally:
            vfs.countdown = None
            journal.close()
    return told


def _never_used_again(journal: Journal) -> None:
    """After a fault that leaves the disk unknown the handle must refuse, also without a fault."""
    try:
        journal.event("after the fault")
    except JournalError:
        return
    raise AssertionError("a handle was used again after its storage had failed")


def _finish(
    place: Path, truth: dict[str, Any], told: set[tuple[Arm, int]], row: Row,
    now: Callable[[], datetime] = system_now,
) -> None:  # fmt: skip
    """Start once more without a fault, count what is there, answer the rest and compare."""
    journal, restored = open_journal(place, now=now)
    with journal:
        found = answered(journal)
        row.lost += len(told - set(found))
        row.twice += len(found) - len(set(found))
        begin(journal)
        for _ in answer_rest(journal):
            pass
        row.same &= restored is None and outcome(journal) == truth


def full_disk(times: int, *, seed: int = 1) -> Row:
    """No room, and room again."""
    return storage("disk full, then room again", "write", apsw.FullError, times, seed=seed)


def read_only(times: int, *, seed: int = 1) -> Row:
    """The file system turns read-only, as Linux does after an error."""
    return storage("turns read-only", "write", apsw.ReadOnlyError, times, seed=seed)


def failing_sync(times: int, *, seed: int = 1) -> Row:
    """fsync fails; the handle must never be used again."""
    return storage("fsync fails", "sync", apsw.IOError, times, seed=seed)


def real_full_disk(times: int, *, seed: int = 1) -> Row:
    """The same on a real file system that is really full: needs root for the mount."""
    dice, row = random.Random(seed), Row("disk full, real (tmpfs)")
    with tempfile.TemporaryDirectory(prefix="so8t-lab-") as place:
        disk = Path(place)
        mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            row.note = "not tried: needs root"
            return row
        try:
            _fill_and_empty(disk, times, dice, row)
        finally:
            subprocess.run([shutil.which("umount") or "umount", str(disk)], check=True)
    return row


def _fill_and_empty(disk: Path, times: int, dice: random.Random, row: Row) -> None:
    truth = undisturbed(disk / "undisturbed")
    shutil.rmtree(disk / "undisturbed")
    while row.times < times:
        run, told = disk / "run", set()
        with Journal(run) as journal:
            begin(journal)
            for number, key in enumerate(answer_rest(journal)):
                told.add(key)
                if number == dice.randrange(1, 20):
                    break
            ballast = disk / "ballast"
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            os.truncate(ballast, max(0, ballast.stat().st_size - dice.randrange(0, 100_000)))
            try:
                told.update(answer_rest(journal))
            except (JournalError, IncompleteError):
                row.times += 1
                row.redone += 1
            ballast.unlink()
        _finish(run, truth, told, row)
        shutil.rmtree(run)


def vanished(times: int, *, seed: int = 1) -> Row:
    """The run's directory is moved away under it: nothing more is acknowledged."""
    dice, row = random.Random(seed), Row("directory gone while running")
    with scratch() as root:
        truth = undisturbed(root / "undisturbed")
        for number in range(times):
            place, told = root / f"run-{number}", set()
            journal = Journal(place)
            begin(journal)
            last = dice.randrange(1, 2 * QUESTIONS - 1)
            try:
                for count, key in enumerate(answer_rest(journal)):
                    told.add(key)
                    if count == last:
                        place.rename(root / "away")
            except JournalError:
                row.times += 1
                row.redone += 1
            else:
                row.same = False
            journal.close()
            if place.exists():
                row.same = False  # something was written where the directory had been
                shutil.rmtree(place)
            (root / "away").rename(place)
            _finish(place, truth, told, row)
    return row


# --- time --------------------------------------------------------------------------------------


class Jumping:
    """A clock that now and then is set a day back or a month on."""

    def __init__(self, dice: random.Random) -> None:
        self.now, self.jumps, self._dice = _NOW, 0, dice

    def __call__(self) -> datetime:
        """Return the time; it goes on by a second with each look."""
        self.now += timedelta(seconds=1)
        if self._dice.random() < 0.05:
            self.now += self._dice.choice([timedelta(days=-1), timedelta(days=31)])
            self.jumps += 1
        return self.now


def clocks(times: int, *, seed: int = 1) -> Row:
    """Set the clock while a run writes, and between its starts."""
    dice, row = random.Random(seed), Row("clock a day back, a month on")
    clock = Jumping(dice)
    with scratch() as root:
        truth = undisturbed(root / "undisturbed")
        number = 0
        while clock.jumps < times:
            place, told = root / f"run-{number}", set()
            number += 1
            while len(told) < 2 * QUESTIONS:
                with Journal(place, now=clock) as journal:
                    begin(journal)
                    journal.event("session_started", pid=0)
                    for key in answer_rest(journal):
                        told.add(key)
                        if dice.random() < 0.05:
                            break
            _finish(place, truth, told, row, clock)
            row.times = clock.jumps
    return row


# --- neighbours --------------------------------------------------------------------------------


def six_at_once(rounds: int) -> Row:
    """Six processes start on one run at the same moment; one works, five are told."""
    row = Row("six starts at once")
    way = multiprocessing.get_context("spawn" if sys.platform == "win32" else "fork")
    with scratch() as root:
        barrier, results = way.Barrier(6), way.Queue()
        starters = [
            way.Process(target=_start_on, args=(root, rounds, barrier, results)) for _ in range(6)
        ]
        for starter in starters:
            starter.start()
        won: dict[int, int] = dict.fromkeys(range(rounds), 0)
        for _ in range(6 * rounds):
            number, winner = results.get(timeout=300)
            won[number] += winner
        for starter in starters:
            starter.join()
        row.times = rounds
        row.lost = sum(count == 0 for count in won.values())
        row.twice = sum(count > 1 for count in won.values())
        for number in range(rounds):
            with Journal(root / str(number), readonly=True) as journal:
                row.same &= len(journal.events("won")) == 1 and bool(journal.verify())
    return row


def _start_on(root: Path, rounds: int, barrier: Any, results: Any) -> None:
    for number in range(rounds):
        directory = root / str(number)
        directory.mkdir(exist_ok=True)
        barrier.wait()
        try:
            lease = Lease(directory, now=_NOW)
        except LeaseHeldError:
            results.put((number, 0))
            barrier.wait()
            continue
        with lease:
            with Journal(directory) as journal:
                journal.event("won", pid=os.getpid())
            results.put((number, 1))
            barrier.wait()


def engine_killed(times: int, *, seed: int = 1) -> Row:
    """SIGKILL llama.cpp's process at random moments of phase 4."""
    dice, row = random.Random(seed), Row("engine's process killed")
    asked = config(benchmark={"noise_floor": 2}, generation={"max_tokens": 8})
    with scratch() as root:
        model = write_tiny_gguf(root / "tiny.gguf")
        truth = _phase4(root / "undisturbed", asked, model, None)
        while row.times < times:
            killer = _Killer(dice, times - row.times)
            end = _phase4(root / f"run-{row.times}", asked, model, killer)
            if not killer.kills:
                raise AssertionError("no kill hit the engine")
            row.times += killer.kills
            row.lost += len(truth.keys() - end.keys())
            row.twice += sum(attempts != 1 for *_, attempts in end.values())
            row.redone += killer.kills
            row.same &= end == truth
    return row


class _Killer:
    """Kills the engine's process that a runner has, again and again."""

    def __init__(self, dice: random.Random, most: int) -> None:
        self.kills, self._most, self._dice = 0, most, dice
        self._ended = threading.Event()

    def __call__(self, runner: Phase4BenchmarkRunner) -> None:
        while not self._ended.wait(0.05 + 0.5 * self._dice.random() ** 2):
            for session in list(runner._loaded._sessions.values()):
                if self.kills < self._most:
                    with suppress(ProcessLookupError):
                        os.kill(session.pid, signal.SIGKILL)
                        self.kills += 1

    def stop(self) -> None:
        """Kill no more."""
        self._ended.set()


def _phase4(place: Path, asked: Any, model: Path, killer: _Killer | None) -> dict[Any, Any]:
    """Run phase 4 over llama.cpp; return its answers with how often each was given."""
    found = registration()
    arms = {
        name: replace(arm, model=replace(arm.model, location=str(model)))
        for name, arm in found.arms.items()
    }
    profile = LoadProfile(slots=1, context=256, threads=1)
    with prepared_journal(place, asked, samples(60)) as journal:
        runner = Phase4BenchmarkRunner(
            asked, journal, EmbeddedEngine(), replace(found, arms=arms, profile=profile),
            reporter=Silent(), stop=StopRequest(), back_off=(0.0,),
        )  # fmt: skip
        thread = threading.Thread(target=killer or (lambda _: None), args=(runner,))
        thread.start()
        runner.run()
        if killer is not None:
            killer.stop()
        thread.join()
        journal.verify()
        return {
            (a.arm, a.position, a.repeat): (a.reply.text, a.reply.status, a.attempts)
            for a in journal.answers(repeat=None)
        }


_OLLAMA = """\
    #!{python}
    import os, sys, time
    sys.path.insert(0, "{tests}")
    from fake_ollama import FakeOllama, Toy
    server = FakeOllama(port=int(os.environ["OLLAMA_HOST"].rpartition(":")[2])).start()
    server.add("cyc:latest")
    server.add("rep:latest", Toy(kind="rep", weights="1" * 64))
    server.piece_seconds = 0.002
    time.sleep(3600)
"""


def server_killed(times: int, *, seed: int = 1) -> Row:
    """SIGKILL the Ollama server (the fake one, in a process of its own) while it is asked."""
    dice, row = random.Random(seed), Row("Ollama server killed (the fake one)")
    with scratch() as root:
        program = root / "bin" / "ollama"
        program.parent.mkdir()
        program.write_text(
            textwrap.dedent(_OLLAMA).format(
                python=sys.executable, tests=Path(__file__).resolve().parents[1]
            )
        )
        program.chmod(0o755)
        path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"}
        truth, _ = _ollama_run(root / "undisturbed", environment, dice, 0)
        while row.times < times:
            place = root / f"run-{row.times}"
            end, kills = _ollama_run(place, environment, dice, times - row.times)
            if not kills:
                raise AssertionError("no kill hit the server")
            row.times += kills
            row.lost += len(truth["answers"].keys() - end["answers"].keys())
            row.redone += sum(answer[-1] - 1 for answer in end["answers"].values())
            row.same &= _plain(end) == _plain(truth)
    return row


def _plain(end: dict[str, Any]) -> dict[str, Any]:
    """Leave out how often a question was asked: a server that dies costs repeats."""
    return end | {"answers": {key: answer[:-1] for key, answer in end["answers"].items()}}


def _ollama_run(
    place: Path, environment: dict[str, str], dice: random.Random, most: int
) -> tuple[dict[str, Any], int]:
    """Run two tags against each other, killing the server now and then; start until it is done."""
    place.mkdir()
    lines = [
        {"id": str(n), "category": "letters", "prompt": f"{n}: say the alphabet",
         "grader": "exact", "reference": "abc"}
        for n in range(40)
    ]  # fmt: skip
    (place / "suite.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (place / "so8t.yaml").write_text(
        f"""\
name: tags
a: {{source: {{ollama: cyc}}}}
b: {{source: {{ollama: rep}}}}
engine: {{kind: ollama, url: "http://127.0.0.1:{port}", slots: 1, context: 256}}
generation: {{max_tokens: 8, stop: [d]}}
benchmark: {{suites: [suite.jsonl], noise_floor: 4}}
verdict: {{stop: full}}
""",
        encoding="utf-8",
    )
    kills = 0
    for _ in range(20):
        with subprocess.Popen(
            [sys.executable, "-m", "so8t", "run", "so8t.yaml"],
            cwd=place, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        ) as run:  # fmt: skip
            while run.poll() is None:
                time.sleep(0.1 + 1.5 * dice.random())
                if kills < most:
                    kills += _kill_servers(run.pid)
            said = run.stderr.read().decode() if run.stderr else ""
        if run.returncode == 0:
            return run_outcome(place / "runs" / "tags"), kills
        if run.returncode != 4:
            raise AssertionError(f"exit code {run.returncode}: {said}")
    raise AssertionError(f"the run does not get to its end: {said}")


def _kill_servers(pid: int) -> int:
    with suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            if any(part.endswith("ollama") for part in child.cmdline()):
                child.kill()
                return 1
    return 0
