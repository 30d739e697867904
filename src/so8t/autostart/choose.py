"""Which way of starting at boot this system has."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from so8t.autostart.protocol import notify_job, resume_job

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.autostart.protocol import AutoStart, Which


def auto_start(
    which: Which, state: Path, *, system: bool = False, user: str | None = None
) -> AutoStart:
    """Return this system's way; `system` and `user` mean a system unit on Linux."""
    job, logon = resume_job(which, state), notify_job(state)
    if sys.platform == "win32":
        from so8t.autostart.windows import WindowsAutoStart  # noqa: PLC0415 - one of three

        return WindowsAutoStart(job, logon, state=state)
    if sys.platform == "darwin":
        from so8t.autostart.launchd import LaunchdAutoStart  # noqa: PLC0415 - one of three

        return LaunchdAutoStart(job)
    from so8t.autostart.systemd import SystemdAutoStart  # noqa: PLC0415 - one of three

    return SystemdAutoStart(job, logon, system=system, user=user)


def filters_exit_codes() -> bool:
    """Whether the system can be told which exit codes a restart cannot help; systemd only."""
    return sys.platform not in ("win32", "darwin")
