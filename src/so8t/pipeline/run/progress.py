"""What a run tells while it works, and how it is asked to stop."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from so8t.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from so8t.domain.plan import Phase
    from so8t.journal.store import Journal

    #: Records an event (kind, its data) and tells of it.
    Note = Callable[..., None]


#: Seconds that answers in flight have after a stop was asked for.
STOP_SECONDS = 30.0
_LOOK_SECONDS = 0.25


class Reporter(Protocol):
    """Listens to a run. Everything told here is in the journal already."""

    def phase(self, phase: Phase, state: str, **detail: Any) -> None:
        """Tell that a phase started, was skipped (done before), is done, or failed."""

    def progress(self, what: str, done: int, total: int, replayed: int = 0) -> None:
        """Tell that `done` of `total` units are there, `replayed` of them from an earlier start."""

    def note(self, kind: str, **detail: Any) -> None:
        """Tell of an event: an interruption, an engine's crash, a choice that was made."""


class ProgressWords(Protocol):
    """The words of a language, as `report.text` gives them; who opens a run hands them in."""

    def __call__(self, key: str, /, **values: Any) -> str:
        """Give the words for `key` with `values` put in."""

    def duration(self, value: float | None) -> str:
        """Write a time in seconds; unknown is a dash."""

    def number(self, value: int) -> str:
        """Write a whole number."""


class Silent:
    """Listens and says nothing."""

    def phase(self, phase: Phase, state: str, **detail: Any) -> None:
        """Say nothing."""

    def progress(self, what: str, done: int, total: int, replayed: int = 0) -> None:
        """Say nothing."""

    def note(self, kind: str, **detail: Any) -> None:
        """Say nothing."""


class Tally:
    """Counts answers for whoever listens."""

    def __init__(self, reporter: Reporter, what: str, total: int, replayed: int = 0) -> None:
        """Tell where the count begins."""
        self._reporter, self._what = reporter, what
        self._total, self._done, self._replayed = total, replayed, replayed
        self._tell()

    def advance(self) -> None:
        """Count one more."""
        self._done += 1
        self._tell()

    def _tell(self) -> None:
        self._reporter.progress(self._what, self._done, self._total, self._replayed)


def noting(journal: Journal, reporter: Reporter) -> Note:
    """Return what records an event in the journal and then tells `reporter` of it."""

    def note(kind: str, **detail: Any) -> None:
        journal.event(kind, **detail)
        reporter.note(kind, **detail)

    return note


class StopRequest:
    """Whether somebody asked the run to stop. Answers in flight are finished, no more are asked.

    What is not finished `grace` seconds later is given up: whoever can end work in flight says
    how with `when_overdue`.
    """

    def __init__(self, *, grace: float = STOP_SECONDS) -> None:
        self._signal: int | None = None
        self._asked_at = 0.0
        self._grace = grace
        self._overdue = False
        self._give_up: list[Callable[[], None]] = []

    @property
    def overdue(self) -> bool:
        """Whether a stop was asked for so long ago that work in flight was given up."""
        return self._overdue

    @contextmanager
    def when_overdue(self, give_up: Callable[[], None]) -> Iterator[None]:
        """Have `give_up` called, in another thread, once the grace after a stop is over."""
        self._give_up.append(give_up)
        try:
            yield
        finally:
            self._give_up.remove(give_up)

    @property
    def asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._signal is not None

    def ask(self, number: int) -> None:
        """Ask for a stop, as the signal `number` does."""
        self._asked_at = time.monotonic()
        self._signal = number

    def check(self) -> None:
        """Raise Interrupted when a stop was asked for."""
        if self._signal is not None:
            raise Interrupted(
                f"stopped by {signal.Signals(self._signal).name}.", signal=self._signal
            )

    def wait(self, seconds: float) -> None:
        """Wait, but not for long once a stop is asked for."""
        until = time.monotonic() + seconds
        while not self.asked and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    @contextmanager
    def on_signals(self) -> Iterator[StopRequest]:
        """Turn SIGINT, SIGTERM, SIGHUP and CTRL_BREAK into a request; a second one ends at once.

        A terminal that is closed sends SIGHUP, often twice, or with a SIGTERM: none of these counts
        as a second one. Where SIGHUP is ignored (`nohup`) it stays so.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self  # only the main thread may set handlers; a caller in a thread asks directly
            return
        wanted = [
            getattr(signal, name)
            for name in ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP")
            if hasattr(signal, name)
        ]
        hangup = getattr(signal, "SIGHUP", None)
        if hangup is not None and signal.getsignal(hangup) is signal.SIG_IGN:
            wanted.remove(hangup)

        def handler(number: int, _frame: FrameType | None) -> None:
            if self.asked and hangup not in (number, self._signal):
                raise KeyboardInterrupt
            if not self.asked or number != hangup:
                self.ask(number)

        before = {number: signal.signal(number, handler) for number in wanted}
        try:
            with self._watched():
                yield self
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """See to the grace in a thread of its own: a signal handler may not start one."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_LOOK_SECONDS):
                if self.asked and time.monotonic() - self._asked_at > self._grace:
                    self._overdue = True
                    for give_up in list(self._give_up):
                        give_up()
                    return

        watcher = threading.Thread(target=watch, name="stop", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
