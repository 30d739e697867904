"""Delivers notifications beside the run: nothing here can stop it, or keep it waiting.

Each channel has a queue and a thread of its own, so that one that hangs holds up no other. What
could not be delivered is handed back as text; who owns the journal records it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from so8t.journal.store import system_now
from so8t.notify.channels import (
    Channel,
    Command,
    Desktop,
    Notification,
    Sound,
    UndeliveredError,
    Web,
)

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.config.machine_section import Notify
    from so8t.notify.pending import Pending

#: Seconds that the end of a run waits for what is still being delivered.
LINGER = 5.0


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A notification that a channel did not deliver, and why."""

    channel: str
    occasion: str
    message: str


def channels_of(config: Notify, state: Path) -> list[Channel]:
    """Return the channels that a config asks for."""
    found: list[Channel] = []
    if config.sound:
        found.append(Sound(state))
    if config.desktop:
        found.append(Desktop())
    if config.webhook is not None:
        found.append(Web(config.webhook.url, config.webhook.timeout))
    if config.command is not None:
        found.append(Command(config.command, config.command_timeout))
    return found


class Notifier:
    """Sends notifications through channels; use as a context manager."""

    def __init__(
        self, channels: list[Channel], *, pending: Pending | None = None, linger: float = LINGER
    ) -> None:
        """`pending` keeps the sounds that nobody could hear; None forgets them."""
        self._pending = pending
        self._linger = linger
        self._undelivered: deque[Undelivered] = deque()
        self._workers = [_NotifyWorker(channel, self._failed) for channel in channels]

    def send(self, notification: Notification) -> None:
        """Hand a notification to every channel; returns at once."""
        for worker in self._workers:
            worker.put(notification)

    def undelivered(self) -> list[Undelivered]:
        """Return what could not be delivered since the last call."""
        found = []
        while self._undelivered:
            found.append(self._undelivered.popleft())
        return found

    def close(self) -> None:
        """Wait a few seconds for what is on its way; what takes longer counts as undelivered.

        A program that is still at work then has the rest of its own time limit.
        """
        until = time.monotonic() + self._linger
        for worker in self._workers:
            worker.close(max(0.0, until - time.monotonic()))

    def _failed(self, channel: str, notification: Notification, why: str) -> None:
        self._undelivered.append(Undelivered(channel, notification.occasion, why))
        if channel == Sound.name and self._pending is not None:
            try:
                self._pending.add(notification, system_now())
            except OSError as error:
                self._undelivered.append(
                    Undelivered(channel, notification.occasion, f"could not be kept: {error}")
                )


class _NotifyWorker:
    """One channel's queue and thread."""

    def __init__(self, channel: Channel, failed: _Failed) -> None:
        self._channel, self._failed = channel, failed
        self._queue: queue.SimpleQueue[Notification | None] = queue.SimpleQueue()
        self._on_its_way: Notification | None = None
        self._thread = threading.Thread(
            target=self._work, name=f"notify-{channel.name}", daemon=True
        )
        self._thread.start()

    def put(self, notification: Notification) -> None:
        self._queue.put(notification)

    def close(self, seconds: float) -> None:
        self._queue.put(None)
        self._thread.join(seconds)
        if self._thread.is_alive():
            left = []
            if (sent := self._on_its_way) is not None:
                self._failed(self._channel.name, sent, "still on its way when the run ended.")
            while not self._queue.empty():
                waiting = self._queue.get()
                if waiting is not None:
                    left.append(waiting)
            for notification in left:
                self._failed(self._channel.name, notification, "not delivered in time.")

    def _work(self) -> None:
        while (notification := self._queue.get()) is not None:
            self._on_its_way = notification
            try:
                self._channel.deliver(notification)
            except UndeliveredError as error:
                self._failed(self._channel.name, notification, error.message)
            self._on_its_way = None


if TYPE_CHECKING:
    from collections.abc import Callable

    _Failed = Callable[[str, Notification, str], None]
