"""Start at boot: finds the unfinished runs, waits for what they need, and goes on with them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from so8t.autostart.waiting import (
    WaitingLimits,
    clock_is_sane,
    disk_is_there,
    engine_is_there,
    removed,
    wait_for,
)
from so8t.domain.events import EventKind
from so8t.errors import ConfigError, IncompleteError, Interrupted, LeaseHeldError, SO8TError
from so8t.journal.lease import Lease, holder_of
from so8t.journal.store import Journal, system_now
from so8t.notify.channels import Notification
from so8t.notify.notifier import Notifier, channels_of
from so8t.notify.pending import Pending
from so8t.pipeline.run.opening import open_pipeline
from so8t.pipeline.run.progress import StopRequest
from so8t.pipeline.run.sessions import Crashes, crashes_in_a_row, failures_in_a_row
from so8t.report.html import write_report
from so8t.report.text import Text
from so8t.system.state import boot_id, state_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from so8t.autostart.protocol import AutoStart, Which
    from so8t.pipeline.run.progress import Reporter
    from so8t.pipeline.run.registry import RegisteredRun, Registry

#: A run that crashed so often in a row at the same step is not started again by itself.
MOST_CRASHES = 3
_BACK_OFF = (0.0, 0.0, 10.0, 30.0, 120.0, 300.0, 900.0)
_INCOMPLETE = IncompleteError.exit_code


@dataclass(frozen=True, slots=True)
class _Past:
    """What a run's journal says of its earlier sessions."""

    crashes: Crashes
    failures: int
    last_written: datetime | None


class AutoStartCompleteABPipeline:
    """Goes on with unfinished runs when the machine is started, one after the other."""

    def __init__(
        self,
        registry: Registry,
        starter: AutoStart,
        text: Text,
        *,
        listen: Callable[[], AbstractContextManager[Reporter]],
        say: Callable[..., None],
        which: Which = "all",
        limits: WaitingLimits | None = None,
        stop: StopRequest | None = None,
        now: Callable[[], datetime] = system_now,
    ) -> None:
        """`listen` gives a listener for a run, `say` tells a person (a key of `text`, values)."""
        self._registry, self._starter, self._text = registry, starter, text
        self._listen, self._say = listen, say
        self._which = which
        self._limits = limits or WaitingLimits()
        self._stop = stop or StopRequest()
        self._now = now

    def setup_auto_start(self) -> list[str]:
        """Register with the system; return what a person should know or do.

        Raises PrerequisiteError.
        """
        return self._starter.install()

    def candidates(self) -> list[RegisteredRun]:
        """Return the runs that would be resumed now, those whose disk is there first."""
        boot = boot_id()
        found = []
        for entry in self._registry.entries():
            if removed(entry.directory):
                self._registry.leave(entry.directory)
            elif entry.state == "open" or (entry.state == "blocked" and entry.boot != boot):
                found.append(entry)
        if self._which == "newest":
            found = found[-1:]
        return sorted(found, key=lambda entry: not disk_is_there(entry.directory))

    def check_and_resume(self) -> int:
        """Go on with what is unfinished; return the exit code.

        0: there is nothing left to do. 4: something is left that another start can do. Else the
        code of the error that stopped a run for good; it is in the register.

        Raises Interrupted when a stop is asked for.
        """
        codes = []
        with self._stop.on_signals():
            entries = self.candidates()
            if not entries:
                self._say("autostart.nothing")
            for entry in entries:
                self._stop.check()
                codes.append(self._consider(entry))
        if _INCOMPLETE in codes:
            return _INCOMPLETE
        return max(codes, default=0)

    def run_pipeline_with_progress(self, entry: RegisteredRun) -> int:
        """Go on with one run to its end, and write its report; return the exit code.

        What a restart cannot change is recorded in the register. Raises Interrupted.
        """
        config = entry.run_config()
        text = self._text if config.language == "auto" else Text(config.language)
        try:
            with (
                self._listen() as listener,
                open_pipeline(
                    config,
                    listener,
                    text,
                    origin=entry.origin,
                    stop=self._stop,
                    unattended=True,
                ) as pipeline,
            ):
                pipeline.run_complete_pipeline(entry.origin)
            write_report(entry.directory, text.language)
        except Interrupted:
            raise
        except LeaseHeldError as error:
            self._say("autostart.held", run=entry.name, message=error.message)
            return 0
        except SO8TError as error:
            return self._stopped(entry, error)
        except OSError as error:
            self._say("autostart.failed", run=entry.name, message=str(error))
            return _INCOMPLETE
        self._say("autostart.done", run=entry.name)
        return 0

    def _stopped(self, entry: RegisteredRun, error: SO8TError) -> int:
        """Say what stopped a run; what a restart cannot change blocks it until the next boot."""
        self._say("autostart.failed", run=entry.name, message=str(error))
        if not error.resumable:
            self._registry.mark(entry, "blocked", error.message, boot_id())
        return error.exit_code

    def _consider(self, entry: RegisteredRun) -> int:
        try:
            return self._start(entry)
        except LeaseHeldError as error:
            # Somebody was quicker between our look and what we were about to record.
            self._say("autostart.held", run=entry.name, message=error.message)
            return 0

    def _start(self, entry: RegisteredRun) -> int:
        try:
            config = entry.run_config()
        except ConfigError as error:
            return self._stopped(entry, error)
        limits, directory = self._limits, entry.directory
        if not wait_for(lambda: disk_is_there(directory), limits.disk, self._stop, limits.look):
            self._say("autostart.no_disk", run=entry.name, directory=directory)
            return _INCOMPLETE
        if holder_of(directory) is not None:
            self._say("autostart.held", run=entry.name, message=str(directory))
            return 0
        past = self._past(entry)
        if past.crashes.count >= MOST_CRASHES:
            self._give_up(entry, past.crashes)
            return 0
        self._wait_for_clock(entry, past.last_written)
        if not wait_for(lambda: engine_is_there(config), limits.engine, self._stop, limits.look):
            self._say("autostart.no_engine", run=entry.name, url=config.engine.address)
            return _INCOMPLETE
        pause = _BACK_OFF[min(past.failures, len(_BACK_OFF) - 1)]
        if pause:
            self._say("autostart.pause", run=entry.name, time=self._text.duration(pause))
            self._stop.wait(pause)
            self._stop.check()
        self._say("autostart.resuming", run=entry.name, directory=directory)
        return self.run_pipeline_with_progress(entry)

    def _past(self, entry: RegisteredRun) -> _Past:
        try:
            with Journal(entry.directory, readonly=True) as journal:
                crashes, failures = crashes_in_a_row(journal), failures_in_a_row(journal)
                return _Past(crashes, failures, journal.last_written())
        except SO8TError as error:
            # Damaged: opening it for writing restores it, or says why that cannot be done.
            self._say("autostart.failed", run=entry.name, message=error.message)
            return _Past(Crashes(0, "", 0), 0, None)

    def _wait_for_clock(self, entry: RegisteredRun, last: datetime | None) -> None:
        """Wait until the clock is set. A clock that never is must not keep the run from going on:

        the journal also has monotonic time, and its rows have an order of their own.
        """
        limits = self._limits
        sane = wait_for(
            lambda: clock_is_sane(self._now(), last), limits.clock, self._stop, limits.look
        )
        if not sane and last is not None:
            self._say("autostart.clock", run=entry.name, time=last.isoformat(timespec="seconds"))
            self._record(entry, EventKind.CLOCK_BEHIND, last_written=last.isoformat())

    def _give_up(self, entry: RegisteredRun, crashes: Crashes) -> None:
        """Record that a run is not started again by itself, and tell the person."""
        self._record(
            entry,
            EventKind.GAVE_UP,
            count=crashes.count,
            step=crashes.step,
            reboots=crashes.reboots,
        )
        reason = self._text("autostart.gave_up.text", count=crashes.count, step=crashes.step)
        self._registry.mark(entry, "given_up", reason, boot_id())
        self._say("autostart.gave_up", run=entry.name, directory=entry.directory, reason=reason)
        config = entry.run_config()
        if "failed" in config.notify.on:
            state = state_directory()
            notifier = Notifier(channels_of(config.notify, state), pending=Pending(state))
            title = self._text("notify.failed.title", run=entry.name)
            facts: dict[str, str | int | float | None] = {
                "directory": str(entry.directory),
                "error": EventKind.GAVE_UP,
                "count": crashes.count,
                "step": crashes.step,
            }
            notifier.send(Notification("failed", entry.name, title, reason, facts))
            notifier.close()

    def _record(self, entry: RegisteredRun, kind: str, **data: str | int) -> None:
        """Write an event between two sessions, under the run's lease."""
        with (
            Lease(entry.directory, now=self._now()),
            Journal(entry.directory, now=self._now) as journal,
        ):
            journal.event(kind, **data)
