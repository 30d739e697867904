"""Linux: a systemd user unit that lingers, or a system unit that runs as a user."""

from __future__ import annotations

import getpass
import os
import signal
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from so8t.autostart.protocol import Job, ServiceStatus, call
from so8t.errors import (
    GateFailed,
    LeaseHeldError,
    PrerequisiteError,
    SO8TError,
    UsageError,
    signal_exit_code,
)
from so8t.system.files import remove_file, write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence

UNIT = "so8t-autostart.service"
_LOGON = "so8t-notify.desktop"
_LINGER = Path("/var/lib/systemd/linger")
#: Exit codes that another start cannot change: see docs/commands.md.
NO_RESTART = tuple(
    kind.exit_code
    for kind in (SO8TError, UsageError, PrerequisiteError, LeaseHeldError, GateFailed)
)
# What an orderly stop ends with; 1 is SIGHUP, which Windows' Python has no name for.
_STOPS = (1, signal.SIGINT, signal.SIGTERM)


class SystemdAutoStart:
    """Registers a job with systemd."""

    name = "systemd"

    def __init__(
        self,
        job: Job,
        logon: Job,
        *,
        system: bool = False,
        user: str | None = None,
        root: Path | None = None,
    ) -> None:
        """`system` makes a system unit for `user`; `root` stands for /etc/systemd/system."""
        self._job, self._logon, self._system = job, logon, system
        self._user = user or getpass.getuser()
        home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        self._units = (root or Path("/etc/systemd/system")) if system else home / "systemd" / "user"
        self._desktop = home / "autostart" / _LOGON

    @property
    def _file(self) -> Path:
        return self._units / UNIT

    @property
    def _link(self) -> Path:
        target = "multi-user.target" if self._system else "default.target"
        return self._units / f"{target}.wants" / UNIT

    def files(self) -> dict[Path, bytes]:
        """Return the unit, and for a user the entry that plays at logon what waits."""
        found = {self._file: unit(self._job, user=self._user if self._system else None).encode()}
        if not self._system:
            found[self._desktop] = desktop_entry(self._logon).encode()
        return found

    def install(self) -> list[str]:
        """Write and enable the unit; let the user's services start without a login."""
        for path, data in self.files().items():
            write_atomic(path, data)
        notes = []
        if self._reload():
            code, said = call([*self._systemctl, "enable", UNIT])
            if code != 0:
                raise PrerequisiteError(
                    f"systemd refused to enable {self._file}: {said}",
                    hint="so8t autostart test says more",
                )
        else:
            # No manager to talk to, as in a chroot or over su: the link is what `enable` makes.
            self._link.parent.mkdir(parents=True, exist_ok=True)
            remove_file(self._link)
            self._link.symlink_to(self._file)
            notes.append("systemd could not be reached; the unit starts at the next boot.")
        if not self._system and not self._lingers():
            notes += self._enable_linger()
        return notes

    def remove(self) -> bool:
        """Disable and remove the unit. Lingering stays: other services may count on it."""
        known = any(path.exists() for path in self.files())
        with suppress(PrerequisiteError):  # without a manager the files are all there is
            call([*self._systemctl, "disable", UNIT])
        for path in (self._link, *self.files()):
            remove_file(path)
        self._reload()
        return known

    def status(self) -> ServiceStatus:
        """Compare the files with what would be written now, and look for the link."""
        problems = []
        for path, data in self.files().items():
            if not path.exists():
                problems.append(f"{path} is not there: so8t autostart install")
            elif path.read_bytes() != data:
                problems.append(f"{path} is another than this version writes: install again")
        if not self._link.is_symlink():
            problems.append(f"{UNIT} is not enabled: so8t autostart install")
        before_login = self._system or self._lingers()
        if not before_login:
            problems.append(f"it starts at login only: sudo loginctl enable-linger {self._user}")
        installed = self._file.exists() and self._link.is_symlink()
        return ServiceStatus(installed, before_login if installed else None, tuple(problems))

    def verify(self) -> list[str]:
        """Treat every word of `systemd-analyze verify` as a complaint."""
        if self._system:
            return call(["systemd-analyze", "verify", str(self._file)])[1].splitlines()
        with TemporaryDirectory() as runtime:
            # Over su, or in a service, there may be no runtime directory; verify insists on one.
            place = os.environ.get("XDG_RUNTIME_DIR", runtime)
            command = ["env", f"XDG_RUNTIME_DIR={place}", "systemd-analyze", "--user", "verify"]
            return call([*command, str(self._file)])[1].splitlines()

    @property
    def _systemctl(self) -> list[str]:
        return ["systemctl"] if self._system else ["systemctl", "--user"]

    def _reload(self) -> bool:
        try:
            code, _ = call([*self._systemctl, "daemon-reload"])
        except PrerequisiteError:
            return False
        return code == 0

    def _lingers(self) -> bool:
        return (_LINGER / self._user).exists()

    def _enable_linger(self) -> list[str]:
        try:
            code, said = call(["loginctl", "enable-linger", self._user])
        except PrerequisiteError as error:
            code, said = 1, error.message
        if code == 0:
            return []
        cure = f"sudo loginctl enable-linger {self._user}"
        return [f"it will start at login only ({said}). To start it at boot: {cure}"]


def unit(job: Job, *, user: str | None = None) -> str:
    """Return the unit file; with `user` it is a system unit that runs as that user.

    Restart: a crash or an outage is answered by another start 10 s later, without a limit, but
    not the exit codes that another start cannot change. KillMode: SIGTERM goes to the main
    process, which finishes the answers in flight; what is left after 90 s is killed.
    """
    lines = [
        "[Unit]",
        "Description=SO8T A/B: resume unfinished runs",
        *(["After=network-online.target", "Wants=network-online.target"] if user else []),
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        *([f"User={user}"] if user else []),
        f"ExecStart={_command(job.command)}",
        f"WorkingDirectory={_percent(str(job.directory))}",
        *(f"Environment={_quote(f'{key}={value}')}" for key, value in job.environment.items()),
        "Restart=on-failure",
        "RestartSec=10",
        f"RestartPreventExitStatus={' '.join(map(str, NO_RESTART))}",
        f"SuccessExitStatus={' '.join(str(signal_exit_code(number)) for number in _STOPS)}",
        "KillMode=mixed",
        "TimeoutStopSec=90",
        "",
        "[Install]",
        f"WantedBy={'multi-user.target' if user else 'default.target'}",
    ]
    return "\n".join(lines) + "\n"


def desktop_entry(job: Job) -> str:
    """Return the entry of a desktop's autostart directory that runs a job at logon."""
    assignments = [f"{key}={value}" for key, value in job.environment.items() if key != "PATH"]
    command = ["env", *assignments, *job.command]
    return (
        "[Desktop Entry]\n"
        "Type=Application\n"
        "Name=SO8T A/B notifications\n"
        f"Exec={' '.join(_desktop_quote(part) for part in command)}\n"
        "Terminal=false\n"
        "NoDisplay=true\n"
    )


def _command(parts: Sequence[str]) -> str:
    # systemd reads the first word by rules of its own, and takes no quotes or backslashes in it.
    if any(sign in parts[0] for sign in "\"'\\"):
        raise PrerequisiteError(
            f"systemd cannot start {parts[0]}: its path has a quote or a backslash.",
            hint="install the program in another directory",
        )
    arguments = (_quote(part).replace("$", "$$") for part in parts[1:])
    return " ".join((_quote(parts[0]), *arguments))


def _quote(text: str) -> str:
    """Quote for a unit file; systemd expands % and reads C escapes."""
    if "\n" in text:
        raise PrerequisiteError(f"{text!r} has a line break, which a unit cannot hold.")
    escaped = _percent(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _desktop_quote(text: str) -> str:
    """Quote for the Exec key: its own escapes within those of a string value."""
    quoted = text
    for sign in ("\\", '"', "`", "$"):
        quoted = quoted.replace(sign, f"\\{sign}")
    return f'"{quoted}"'.replace("\\", "\\\\").replace("%", "%%")
