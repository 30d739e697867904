"""Killing a run on purpose, and saying whether that changed anything: for `doctor` and the tests.

Nothing here is pretended: the run is a process like any other, the kill is SIGKILL (on Windows
TerminateProcess), and what is compared is read from the journals.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import psutil

from so8t.domain.events import EventKind
from so8t.domain.plan import Phase
from so8t.errors import PrerequisiteError
from so8t.journal.chained import FILE_NAME
from so8t.journal.store import Journal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

_LOOK_SECONDS = 0.02
_CHILDREN_SECONDS = 10.0


class Started(Protocol):
    """A run that was started in a process of its own."""

    @property
    def pid(self) -> int | None:
        """Its process id."""

    def poll(self) -> int | None:
        """Return its exit code, None while it runs."""

    def kill(self) -> None:
        """End it at once, without a chance to say anything."""

    def wait(self) -> Any:
        """Wait until it has ended."""


@dataclass(frozen=True, slots=True)
class Killed:
    """One kill: the phase that it hit as the journal says, and children that outlived the run."""

    phase: Phase | None
    orphans: tuple[int, ...]


def kill_in(process: Started, directory: Path, phase: Phase, delay: float) -> Killed | None:
    """SIGKILL a run `delay` seconds after it is seen in `phase` or a later one.

    Returns None when the run was finished before.
    """
    while process.poll() is None:
        state = phase_now(directory, process.pid)
        if state is not None and state.number >= phase.number:
            break
        time.sleep(_LOOK_SECONDS)
    time.sleep(delay)
    children = _children(process.pid)
    if process.poll() is not None:
        return None
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=_CHILDREN_SECONDS)
    return Killed(phase_now(directory, process.pid), tuple(child.pid for child in alive))


def _children(pid: int | None) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def phase_now(directory: Path, pid: int | None = None) -> Phase | None:
    """Return the phase that the newest session (that of process `pid`) works on."""
    if not (directory / FILE_NAME).exists():
        return None
    try:
        journal = Journal(directory, readonly=True, check=False)
    except PrerequisiteError:
        return None  # only just begun
    with journal:
        sessions = journal.events(EventKind.SESSION_STARTED)
        if not sessions or pid not in (None, sessions[-1].data["pid"]):
            return None
        return _phase_since(journal, sessions[-1].at)


def _phase_since(journal: Journal, began: datetime) -> Phase | None:
    steps: Sequence[Any] = journal.phases()
    started = [step.phase for step in steps if step.state == "started" and step.at >= began]
    if started:
        return Phase(started[-1])
    done = [step.phase for step in steps if step.state == "done"]
    return Phase(done[-1]) if done and len(done) == len(Phase) else None


def outcome(directory: Path) -> dict[str, Any]:
    """Return everything in a finished run's journal that must not depend on interruptions.

    Raises JournalDamagedError when a row is not what was written.
    """
    with Journal(directory, readonly=True) as journal:
        journal.verify()
        answers = {
            (a.arm.value, a.position, a.repeat): (
                a.reply.text,
                a.reply.status.value,
                a.score.value if a.score else None,
                a.settings,
                a.attempts,
            )
            for a in journal.answers(repeat=None)
        }
        results = {phase: journal.phase(phase) for phase in Phase}
        prepared = {
            phase.value: step.result.get("digest")
            for phase in (Phase.PREPARE_A, Phase.PREPARE_B)
            if (step := results[phase]) is not None
        }
        last = results[Phase.BENCHMARK]
        return {
            "samples": [sample.id for sample in journal.samples()],
            "answers": answers,
            "models": prepared,
            "verdict": None
            if last is None
            else {key: last.result.get(key) for key in ("outcome", "ending")},
        }
