"""What is started at boot, and what every system's way of doing that has in common."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from so8t.errors import PrerequisiteError

Which = Literal["all", "newest"]
_SECONDS = 60.0
# What every program of a person is given, by systemd and launchd or by the Task Scheduler.
_KEPT = (
    *("HOME", "USER", "LOGNAME", "LANG", "SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT"),
    *("USERNAME", "USERDOMAIN", "USERPROFILE", "HOMEDRIVE", "HOMEPATH", "APPDATA", "LOCALAPPDATA"),
    *("PROGRAMDATA", "PROGRAMFILES", "TEMP", "TMP", "NUMBER_OF_PROCESSORS"),
)
# The console's and the programs' code page, by the names that Python has for them on Windows only.
_CODE_PAGES = ("oem", "mbcs") if sys.platform == "win32" else ()


@dataclass(frozen=True, slots=True)
class Job:
    """A program with its arguments, as the system is to start it.

    `environment` is all that it needs beyond what the system gives every program.
    """

    program: Path
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    log: Path

    @property
    def command(self) -> list[str]:
        """The argument list."""
        return [str(self.program), *self.arguments]


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """Whether the start at boot is set up.

    Attributes:
        installed: whether the registration is there as this version would write it.
        before_login: whether it starts although nobody has logged on; None where unknown.
        problems: what is wrong, each with what to do.

    """

    installed: bool
    before_login: bool | None
    problems: tuple[str, ...] = field(default=())


class AutoStart(Protocol):
    """One system's way of starting a program at boot."""

    name: str

    def files(self) -> dict[Path, bytes]:
        """Return the files of the registration by path."""

    def install(self) -> list[str]:
        """Register; return what a person should know or do. Raises PrerequisiteError."""

    def remove(self) -> bool:
        """Undo `install`; whether anything was there."""

    def status(self) -> ServiceStatus:
        """Return how things stand, without changing anything."""

    def verify(self) -> list[str]:
        """Let the system itself examine the registration; return what it complains about."""


def resume_job(which: Which, state: Path) -> Job:
    """Return the job that resumes a user's unfinished runs with this installation."""
    environment = {"PATH": _search_path(), "PYTHONUNBUFFERED": "1"}
    for name in ("PYTHONPATH", "SO8T_STATE_DIR", "HF_HOME"):
        # What this installation was found with, a service must be told.
        if os.environ.get(name):
            environment[name] = os.environ[name]
    return Job(
        Path(sys.executable),
        # -P: a file in the working directory must not stand in for a module.
        ("-P", "-m", "so8t", "autostart", "resume", "--which", which),
        environment,
        Path.home(),
        state / "autostart.log",
    )


def notify_job(state: Path) -> Job:
    """Return the job that plays at logon what nobody could hear before."""
    job = resume_job("all", state)
    arguments = ("-P", "-m", "so8t", "notify", "--pending")
    return Job(job.program, arguments, job.environment, job.directory, job.log)


def dry_run(job: Job) -> list[str]:
    """Start the job as the system would, with `--dry-run`; return what goes wrong."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        answer = subprocess.run(
            [*job.command, "--dry-run"],
            cwd=job.directory,
            env=environment | dict(job.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"the command cannot be started: {error}"]
    if answer.returncode == 0:
        return []
    said = (answer.stderr or answer.stdout).strip()[-500:]
    return [f"the command ends with {answer.returncode}: {said}"]


def call(arguments: list[str]) -> tuple[int, str]:
    """Run one of the system's own tools; return its exit code and all that it said.

    Raises PrerequisiteError when it is not there or does not end.
    """
    try:
        answer = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise PrerequisiteError(f"{arguments[0]} is not installed.") from None
    except subprocess.TimeoutExpired:
        raise PrerequisiteError(f"{' '.join(arguments)} does not end.") from None
    return answer.returncode, decode(answer.stdout).strip()


def decode(output: bytes, code_pages: tuple[str, ...] = _CODE_PAGES) -> str:
    """Read what a tool wrote: UTF-16, UTF-8, else in the first of `code_pages` that fits.

    Tools of Windows write in the console's code page (932 in Japan, 850 or 437 in the West) unless
    they write UTF-16, with a mark or without.
    """
    if output.startswith((b"\xff\xfe", b"\xfe\xff")):
        return output.decode("utf-16", errors="replace")
    if output[1:2] == b"\0" and len(output) % 2 == 0:
        return output.decode("utf-16-le", errors="replace")
    for encoding in ("utf-8", *code_pages):
        with suppress(UnicodeDecodeError):
            return output.decode(encoding)
    return output.decode(errors="replace")


def _search_path() -> str:
    """Return a PATH for a service: where this Python is, then what the person has now."""
    parts = [
        str(Path(sys.executable).parent),
        *os.environ.get("PATH", os.defpath).split(os.pathsep),
    ]
    # A relative entry would mean something else in a service.
    absolute = [part for part in parts if part and Path(part).is_absolute()]
    return os.pathsep.join(dict.fromkeys(absolute))
