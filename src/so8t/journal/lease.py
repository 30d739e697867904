"""One process at a time holds a run, and whoever wants to know looks without getting in the way."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock, Timeout

from so8t.errors import IncompleteError, LeaseHeldError, PrerequisiteError
from so8t.system.files import remove_file, write_atomic

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

_LOCK = "run.lock"
_SIGN = "run.held"
_HOLDER = "run.holder.json"
# A start that is refused, or that sets a run aside, has the lease for a moment.
_PATIENCE_SECONDS = 0.5
_SIGN_SECONDS = 10.0
_LOOKS = 5
_LOOK_SECONDS = 0.02
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


class Lease:
    """The right to write to a run, held for life through locks of the operating system.

    The kernel gives a lock back when the holder dies, however it dies, so a stale lease cannot
    exist (a pid file had 70 double winners in 100 rounds of 6 starters; this, none).

    `run.lock` is the right. Where the system can lock a directory, that is locked as well: who
    deletes the file lets nobody in. `run.held` is only a sign of it, for those who look.
    """

    def __init__(self, directory: Path, *, now: datetime) -> None:
        """Take the lease of the run in `directory`.

        Raises LeaseHeldError naming the holder, PrerequisiteError where the file system has no
        locks.
        """
        self._holder = directory / _HOLDER
        self._path = directory / _LOCK
        with ExitStack() as stack:
            _acquire(directory, _LOCK, _PATIENCE_SECONDS, stack)
            self._inode = self._path.stat().st_ino
            self._directory_locked = _lock_directory(directory, stack)
            _acquire(directory, _SIGN, _SIGN_SECONDS, stack)
            write_atomic(
                self._holder,
                json.dumps(
                    {"pid": os.getpid(), "host": socket.gethostname(), "since": now.isoformat()}
                ),
            )
            stack.callback(remove_file, self._holder)
            self._held = stack.pop_all()

    def check(self) -> None:
        """Raise IncompleteError where the lease may be another's by now: its file was deleted."""
        if self._directory_locked:
            return
        with suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                return
        raise IncompleteError(
            f"{self._path} was removed or replaced while the run was going on, so another start "
            "could have begun beside it. Everything committed is kept.",
            hint="leave that file alone, then run the same command again",
        )

    def release(self) -> None:
        """Give the lease back. Safe to call twice."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()


def _acquire(directory: Path, name: str, seconds: float, stack: ExitStack) -> None:
    # A soft lock, which filelock would fall back to, is a file that outlives its holder.
    lock = FileLock(directory / name, fallback_to_soft=False)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise _held(directory) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise PrerequisiteError(
            f"the file system of {directory} cannot lock files ({os.strerror(error.errno)}), so "
            "two starts could work on one run.",
            hint="put the run on a local disk (config key `output`)",
        ) from error
    stack.callback(lock.release)


def _lock_directory(directory: Path, stack: ExitStack) -> bool:
    """Lock the directory itself, where that can be done; tell whether."""
    if sys.platform == "win32":
        return False  # there a file that is open cannot be deleted
    import fcntl  # noqa: PLC0415 - Unix only

    handle = os.open(directory, os.O_RDONLY)
    stack.callback(os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _held(directory) from None
    except OSError:
        return False  # network file systems lock only what is open for writing
    return True


def holder_of(directory: Path) -> dict[str, Any] | None:
    """Who holds the run in `directory` now (pid, host, since), or None when nobody does.

    Nothing is taken that a start would want: a look cannot make one give up.
    """
    return _read_holder(directory) if _is_held(directory / _SIGN) else None


def _is_held(sign: Path) -> bool:
    if sys.platform != "win32":
        import fcntl  # noqa: PLC0415 - Unix only

        with suppress(OSError):
            handle = os.open(sign, os.O_RDONLY)
            try:
                # Those who look share it; a start, which does not, waits for the moment.
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(handle)
        return False
    for _ in range(_LOOKS):  # another look may be in the way; a holder always is
        try:
            with FileLock(sign, timeout=0):
                return False
        except Timeout:
            time.sleep(_LOOK_SECONDS)
        except OSError:
            return False
    return True


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
