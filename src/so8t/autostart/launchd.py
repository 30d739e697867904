"""macOS: an agent of launchd. It starts at login; see docs/autostart.md for before login."""

from __future__ import annotations

import os
import plistlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.autostart.protocol import Job, ServiceStatus, call
from so8t.errors import PrerequisiteError
from so8t.system.files import remove_file, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable

LABEL = "so8t.autostart"


class LaunchdAutoStart:
    """Registers a job with launchd."""

    name = "launchd"

    def __init__(
        self,
        job: Job,
        *,
        home: Path | None = None,
        tool: Callable[[list[str]], tuple[int, str]] = call,
    ) -> None:
        """`tool` runs launchctl and plutil; `home` stands for the user's own."""
        self._job, self._call = job, tool
        self._file = (home or Path.home()) / "Library" / "LaunchAgents" / f"{LABEL}.plist"

    def files(self) -> dict[Path, bytes]:
        """Return the property list."""
        return {self._file: property_list(self._job)}

    def install(self) -> list[str]:
        """Write the agent and load it."""
        write_atomic(self._file, property_list(self._job))
        self._job.log.parent.mkdir(parents=True, exist_ok=True)
        self._call(["launchctl", "bootout", f"{_domain()}/{LABEL}"])  # an earlier one, if any
        code, said = self._call(["launchctl", "bootstrap", _domain(), str(self._file)])
        if code != 0:
            raise PrerequisiteError(
                f"launchd refused {self._file}: {said}", hint="so8t autostart test says more"
            )
        return ["it starts when you log in; for a start without a person, enable automatic login."]

    def remove(self) -> bool:
        """Unload and remove the agent."""
        known = self._file.exists()
        self._call(["launchctl", "bootout", f"{_domain()}/{LABEL}"])
        remove_file(self._file)
        return known

    def status(self) -> ServiceStatus:
        """Compare the file with what would be written now, and ask launchd for the agent."""
        problems = []
        if not self._file.exists():
            problems.append(f"{self._file} is not there: so8t autostart install")
        elif self._file.read_bytes() != property_list(self._job):
            problems.append(f"{self._file} is another than this version writes: install again")
        code, _ = self._call(["launchctl", "print", f"{_domain()}/{LABEL}"])
        if code != 0:
            problems.append(f"launchd does not know {LABEL}: so8t autostart install")
        return ServiceStatus(not problems, None if problems else False, tuple(problems))

    def verify(self) -> list[str]:
        """Let plutil read the file."""
        code, said = self._call(["plutil", "-lint", "-s", str(self._file)])
        return said.splitlines() if code != 0 or said else []


def property_list(job: Job) -> bytes:
    """Return the agent's property list.

    launchd cannot tell exit codes apart: with SuccessfulExit false it starts again whatever did
    not end with 0, so the job ends with 0 once it has recorded what a restart cannot change.
    """
    agent: dict[str, Any] = {
        "Label": LABEL,
        "ProgramArguments": job.command,
        "WorkingDirectory": str(job.directory),
        "EnvironmentVariables": dict(job.environment),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 30,
        "ExitTimeOut": 120,
        "ProcessType": "Background",
        "StandardOutPath": str(job.log),
        "StandardErrorPath": str(job.log),
    }
    return plistlib.dumps(agent, sort_keys=False)


def _domain() -> str:
    return f"gui/{os.getuid() if hasattr(os, 'getuid') else 0}"
