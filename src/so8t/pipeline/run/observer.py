"""What stands beside a run while it works: it tells, logs and notifies, and can delay nothing.

The journal has one writer, the run's own thread. What other threads have to record waits in a
queue until that thread next tells of its progress.
"""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from so8t.domain.events import EventKind
from so8t.journal.store import system_now
from so8t.notify.channels import Notification
from so8t.pipeline.run.progress_state import LIVE_FILE, read_live
from so8t.system.files import move, remove_file

if TYPE_CHECKING:
    from so8t.config.schema import RunConfig
    from so8t.domain.plan import Phase
    from so8t.errors import SO8TError
    from so8t.journal.store import Journal
    from so8t.notify.notifier import Notifier
    from so8t.pipeline.run.progress import ProgressWords, Reporter
    from so8t.pipeline.run.progress_log import ProgressLog

_LIVE_SECONDS = 2.0


class Outbox:
    """Events that other threads want recorded."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, dict[str, Any]]] = deque()

    def put(self, kind: str, /, **data: Any) -> None:
        """Leave an event; any thread may."""
        self._waiting.append((kind, data))

    def flush(self, journal: Journal) -> None:
        """Record what is waiting; only the thread that owns the journal may."""
        while self._waiting and journal.usable:
            kind, data = self._waiting.popleft()
            journal.event(kind, **data)


class Observer:
    """A Reporter that passes everything on to another one, and sees to log and notifications."""

    def __init__(
        self,
        inner: Reporter,
        journal: Journal,
        config: RunConfig,
        words: ProgressWords,
        notifier: Notifier,
        log: ProgressLog,
        outbox: Outbox,
    ) -> None:
        self._inner, self._journal, self._config = inner, journal, config
        self._words, self._notifier, self._log = words, notifier, log
        self._outbox = outbox
        self._session = journal.events(EventKind.SESSION_STARTED)[-1].seq
        self._rates: dict[str, tuple[float, int]] = {}
        self._last_live = 0.0
        self._record_last_seen()

    def phase(self, phase: Phase, state: str, **detail: Any) -> None:
        """Pass it on, write a log entry, and notify of a phase that is done."""
        self._inner.phase(phase, state, **detail)
        self._rates.clear()
        self._last_live = 0.0
        self._forget_live()
        self.record()
        if state == "skipped":
            return
        self._log.request()
        if state == "done":
            self._notify(
                "phase",
                {"number": phase.number, "name": self._words(f"cli.phase.{phase.value}")}
                | {"time": self._words.duration(detail.get("seconds"))},
                phase=phase.value,
                seconds=detail.get("seconds"),
            )

    def progress(self, what: str, done: int, total: int, replayed: int = 0) -> None:
        """Pass it on, and now and then leave it where `so8t watch` finds it."""
        self._inner.progress(what, done, total, replayed)
        now = time.monotonic()
        began, at_first = self._rates.setdefault(what, (now, done))
        if now - self._last_live >= _LIVE_SECONDS:
            self._last_live = now
            rate = (done - at_first) / (now - began) if now > began and done > at_first else None
            self._tell_live(
                {
                    "what": what,
                    "done": done,
                    "total": total,
                    "per_second": rate,
                    "eta_seconds": (total - done) / rate if rate else None,
                }
            )
            self.record()

    def note(self, kind: str, **detail: Any) -> None:
        """Pass it on."""
        self._inner.note(kind, **detail)
        self.record()

    def resumed(self, away_seconds: float) -> None:
        """Notify that a run goes on after an interruption."""
        values = {"away": self._words.duration(away_seconds)}
        self._notify("resumed", values, away_seconds=round(away_seconds, 1))

    def done(self) -> None:
        """Notify of the verdict."""
        outcome = self._outcome()
        said = self._words(f"outcome.{outcome}") if outcome else self._words("progress.all_asked")
        self._notify("done", {"outcome": said}, outcome=outcome)
        self._log.entry(held=False)

    def failed(self, error: SO8TError) -> None:
        """Notify of an error that ended the run for now."""
        self._notify("failed", {"message": error.message}, error=type(error).__name__)
        self._log.entry(held=False)

    def record(self) -> None:
        """Record what other threads left, and what could not be delivered."""
        for one in self._notifier.undelivered():
            self._outbox.put(
                EventKind.NOTIFICATION_FAILED,
                channel=one.channel,
                occasion=one.occasion,
                message=one.message,
            )
        self._outbox.flush(self._journal)

    def close(self) -> None:
        """Wait a little for notifications on their way, and record what became of them."""
        self._notifier.close()
        self._forget_live()
        if self._journal.usable:
            self.record()

    def _notify(self, occasion: str, values: dict[str, Any], **facts: Any) -> None:
        if occasion not in self._config.notify.on:
            return
        directory = str(self._journal.directory)
        self._notifier.send(
            Notification(
                occasion,
                self._config.name,
                self._words(f"notify.{occasion}.title", run=self._config.name, **values),
                self._words(f"notify.{occasion}.text", **values),
                {"directory": directory} | facts,
            )
        )

    def _outcome(self) -> str | None:
        ends = [step for step in self._journal.phases() if step.phase.number == 4]  # noqa: PLR2004 - the last phase
        return ends[-1].result.get("outcome") if ends and ends[-1].state == "done" else None

    def _tell_live(self, unit: dict[str, Any]) -> None:
        """Leave the unit for `so8t watch`: not synced, since nothing depends on it."""
        path = self._journal.directory / LIVE_FILE
        temporary = path.with_suffix(".tmp")
        try:
            told = {"session": self._session, "at": system_now().isoformat(), "unit": unit}
            temporary.write_text(json.dumps(told), encoding="utf-8")
            move(temporary, path)
        except OSError as error:
            self._last_live = float("inf")  # said once; the disk is full or gone
            self._outbox.put(EventKind.PROGRESS_LOG_FAILED, message=str(error))

    def _record_last_seen(self) -> None:
        """Record what a session that crashed told last: while it trains, it writes no rows."""
        told = read_live(self._journal.directory)
        if told is not None and told.session != self._session:
            self._journal.event(EventKind.LAST_SEEN, at=told.at.isoformat(), unit=asdict(told.unit))
        self._forget_live()

    def _forget_live(self) -> None:
        try:
            remove_file(self._journal.directory / LIVE_FILE)
        except OSError as error:
            self._outbox.put(EventKind.PROGRESS_LOG_FAILED, message=str(error))
