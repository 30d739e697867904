"""What a run tells while it works, and how it is asked to stop."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from so8t.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from so8t.domain.plan import Phase


class Reporter(Protocol):
    """Listens to a run. Everything told here is in the journal already."""

    def phase(self, phase: Phase, state: str, **detail: Any) -> None:
        """Tell that a phase started, was skipped (done before), is done, or failed."""

    def progress(self, what: str, done: int, total: int, replayed: int = 0) -> None:
        """Tell that `done` of `total` units are there, `replayed` of them from an earlier start."""

    def note(self, kind: str, **detail: Any) -> None:
        """Tell of an event: an interruption, an engine's crash, a choice that was made."""


class Words(Protocol):
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


class StopRequest:
    """Whether somebody asked the run to stop. Answers in flight are finished, no more are asked."""

    def __init__(self) -> None:
        self._signal: int | None = None

    @property
    def asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._signal is not None

    def ask(self, number: int) -> None:
        """Ask for a stop, as the signal `number` does."""
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
        """Turn SIGINT, SIGTERM and CTRL_BREAK into a request; a second one ends at once."""
        if threading.current_thread() is not threading.main_thread():
            yield self  # only the main thread may set handlers; a caller in a thread asks directly
            return
        wanted = [
            getattr(signal, name)
            for name in ("SIGINT", "SIGTERM", "SIGBREAK")
            if hasattr(signal, name)
        ]

        def handler(number: int, _frame: FrameType | None) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.ask(number)

        before = {number: signal.signal(number, handler) for number in wanted}
        try:
            yield self
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)
