"""Keeps the machine from going to sleep while a run works."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETTLE = 1.0


@contextmanager
def kept_awake() -> Iterator[str]:
    """Keep the machine awake for as long as the context lasts; yield how, "" where it failed.

    wakepy asks the desktop, Windows or macOS. A Linux machine without a desktop has only logind to
    ask, through systemd-inhibit; its lock ends with this process, since the holder reads from us.
    """
    from wakepy import keep  # noqa: PLC0415 - takes 50 ms; only a run needs it

    with keep.running(on_fail="pass") as mode:
        if mode.active:
            yield f"wakepy: {mode.method}"
            return
    with _inhibited() as how:
        yield how


@contextmanager
def _inhibited() -> Iterator[str]:
    program = shutil.which("systemd-inhibit") if sys.platform == "linux" else None
    if program is None:
        yield ""
        return
    try:
        asked = subprocess.Popen(
            [
                program,
                "--what=sleep:idle",
                "--who=so8t",
                "--why=a run is at work",
                "--mode=block",
                "cat",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        asked = (
            None  # it does not start; outside, where an error of the caller's is not taken for it
        )
    if asked is None:
        yield ""
        return
    with asked as holder:
        try:
            holder.wait(timeout=_SETTLE)
        except subprocess.TimeoutExpired:
            yield "systemd-inhibit"
        else:
            yield ""  # it ends at once where logind refuses or is not there
        finally:
            holder.terminate()
