"""How a notification reaches a person: sound, desktop, webhook, a command of theirs.

Each channel does its work within a time limit and raises UndeliveredError when it could not.
"""

from __future__ import annotations

import html
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from so8t.domain.plain_text import one_line, visible
from so8t.errors import SO8TError
from so8t.notify import limited
from so8t.notify.sounds import sound_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_TAIL = 300
_SECONDS = 15.0
_PLAYERS = ("pw-play", "paplay", "aplay")


class UndeliveredError(SO8TError):
    """A channel could not deliver a notification; the run goes on as if it had."""


@dataclass(frozen=True, slots=True)
class Notification:
    """What there is to tell.

    Attributes:
        occasion: phase, done, failed or resumed.
        run: the run's name.
        title: one short line in the person's language.
        text: one sentence in the person's language.
        facts: plain data for programs: directory, phase, outcome, error, ...

    """

    occasion: str
    run: str
    title: str
    text: str
    facts: Mapping[str, str | int | float | None]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "occasion": self.occasion,
            "run": self.run,
            "title": self.title,
            "text": self.text,
            **self.facts,
        }


class Channel(Protocol):
    """One way to a person."""

    name: str

    def deliver(self, notification: Notification) -> None:
        """Deliver; takes at most the channel's time limit. Raises UndeliveredError."""


class Sound:
    """A WAV through the system's own player."""

    name = "sound"

    def __init__(self, state: Path) -> None:
        self._directory = state / "sounds"

    def deliver(self, notification: Notification) -> None:
        """Play the occasion's sound. Raises UndeliveredError where nothing can play it."""
        try:
            file = sound_file(notification.occasion, self._directory)
        except OSError as error:
            raise UndeliveredError(f"the sound could not be written: {error}") from error
        play(file)


def play(file: Path) -> None:
    """Play a WAV file to its end. Raises UndeliveredError without a player or a device."""
    if sys.platform == "win32":
        _play_on_windows(file)
        return
    names = ("afplay",) if sys.platform == "darwin" else _PLAYERS
    players = [found for name in names if (found := shutil.which(name)) is not None]
    if not players:
        raise UndeliveredError(f"there is no player ({', '.join(names)}).")
    for number, player in enumerate(players, start=1):
        try:
            run_limited([player, str(file)], _SECONDS)
        except UndeliveredError:
            if number == len(players):
                raise
        else:
            return


def _play_on_windows(file: Path) -> None:
    import winsound  # noqa: PLC0415 - Windows only

    if _windows_session() == 0:
        raise UndeliveredError("a task without a session has no sound device.")
    try:
        winsound.PlaySound(  # type: ignore[attr-defined,unused-ignore]
            str(file),
            winsound.SND_FILENAME | winsound.SND_NODEFAULT,  # type: ignore[attr-defined,unused-ignore]
        )
    except RuntimeError as error:
        raise UndeliveredError(f"Windows did not play the sound: {error}") from error


def _windows_session() -> int:
    """Return the session of this process; 0 is that of the services, which nobody hears."""
    import ctypes  # noqa: PLC0415 - Windows only

    session = ctypes.c_ulong()
    kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
    kernel.ProcessIdToSessionId(os.getpid(), ctypes.byref(session))
    return session.value


class Desktop:
    """A notification of the desktop."""

    name = "desktop"

    def deliver(self, notification: Notification) -> None:
        """Show it. Raises UndeliveredError where there is no desktop."""
        run_limited(desktop_command(notification, sys.platform), _SECONDS, _texts(notification))


# The texts come in environment variables: no quoting, so nothing in them can become a command.
_TOAST = (
    "[Windows.UI.Notifications.ToastNotificationManager,Windows.UI.Notifications,"
    "ContentType=WindowsRuntime] > $null;"
    "$x=[Windows.UI.Notifications.ToastNotificationManager]::GetTemplateContent("
    "[Windows.UI.Notifications.ToastTemplateType]::ToastText02);"
    "$t=$x.GetElementsByTagName('text');"
    "$t.Item(0).AppendChild($x.CreateTextNode($env:SO8T_TITLE)) > $null;"
    "$t.Item(1).AppendChild($x.CreateTextNode($env:SO8T_TEXT)) > $null;"
    "[Windows.UI.Notifications.ToastNotificationManager]::CreateToastNotifier("
    "'{1AC14E77-02E7-4E5D-B744-2EB1AE5198B7}\\WindowsPowerShell\\v1.0\\powershell.exe')"
    ".Show([Windows.UI.Notifications.ToastNotification]::new($x))"
)
_APPLESCRIPT = (
    'display notification (system attribute "SO8T_TEXT") with title (system attribute "SO8T_TITLE")'
)


def desktop_command(notification: Notification, platform: str) -> list[str]:
    """Return the command that shows a notification on a platform."""
    if platform == "win32":
        return ["powershell.exe", "-NoProfile", "-NonInteractive", "-Command", _TOAST]
    if platform == "darwin":
        return ["osascript", "-e", _APPLESCRIPT]
    urgency = "critical" if notification.occasion == "failed" else "normal"
    return [
        "notify-send",
        "--app-name=SO8T",
        f"--urgency={urgency}",
        "--",
        one_line(notification.title),
        # Servers of desktops read markup in the body (links, images), never in the summary.
        html.escape(visible(notification.text), quote=False),
    ]


class Web:
    """One POST with the facts as JSON."""

    name = "webhook"

    def __init__(self, url: str, seconds: float) -> None:
        self._url, self._seconds = url, seconds

    def deliver(self, notification: Notification) -> None:
        """Send it. Raises UndeliveredError for any answer but 2xx, and for none in time."""
        import httpx2  # noqa: PLC0415 - only who asked for a webhook

        try:
            # Redirects are not followed: the facts go to the address that the person named.
            answer = httpx2.post(
                self._url,
                json=notification.plain(),
                timeout=self._seconds,
                follow_redirects=False,
            )
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            # The address may hold a secret, so it is not repeated.
            raise UndeliveredError(f"the webhook did not answer: {type(error).__name__}") from error
        if not answer.is_success:
            raise UndeliveredError(f"the webhook answered {answer.status_code}.")


class Command:
    """A program of the person's, without a shell."""

    name = "command"

    def __init__(self, arguments: Sequence[str], seconds: float) -> None:
        self._arguments, self._seconds = list(arguments), seconds

    def deliver(self, notification: Notification) -> None:
        """Run it. Raises UndeliveredError when it is not there, fails, or takes too long."""
        run_limited(self._arguments, self._seconds, _texts(notification))


def _texts(notification: Notification) -> dict[str, str]:
    """Return the facts as environment variables; no control sequence is in one, and no NUL."""
    return {
        f"SO8T_{key.upper()}": "" if value is None else visible(str(value))
        for key, value in notification.plain().items()
    }


def run_limited(
    arguments: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None
) -> None:
    """Run a program for at most `seconds`; then it is ended with its process group.

    The limit holds too when this process ends first: another one keeps the time.

    Raises UndeliveredError.
    """
    wrapper = [sys.executable, "-I", "-S", limited.__file__, f"{seconds:g}"]
    began = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                [*wrapper, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, **(environment or {})},
                start_new_session=sys.platform != "win32",
            )
        except (OSError, ValueError) as error:
            raise UndeliveredError(f"{arguments[0]} could not be started: {error}") from error
        code = process.wait()
        if code == 0:
            return
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip()[-_TAIL:]
    if code == limited.ENDED and time.monotonic() - began >= seconds:
        raise UndeliveredError(f"{arguments[0]} took longer than {seconds:g} s and was ended.")
    if code == limited.NOT_STARTED:
        raise UndeliveredError(f"{arguments[0]} could not be started: {said}")
    raise UndeliveredError(f"{arguments[0]} ended with {code}. {said}".strip())
