"""Windows: two tasks of the Task Scheduler, registered from XML and read back.

Never `schtasks /tr`: it takes 262 characters, and its defaults stop on battery and after 72 hours.
"""

from __future__ import annotations

import getpass
import os
import re
import subprocess
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from so8t.autostart.protocol import Job, ServiceStatus, call
from so8t.errors import PrerequisiteError
from so8t.system.files import remove_file, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"
RESUME_TASK = r"\SO8T\Resume"
NOTIFY_TASK = r"\SO8T\Notify"
#: Starts without a login, as the user, without a stored password; needs one elevation.
S4U = "S4U"
#: Starts once the user has logged on; needs no administrator.
INTERACTIVE = "InteractiveToken"


class WindowsAutoStart:
    """Registers a job with the Task Scheduler."""

    name = "Task Scheduler"

    def __init__(
        self,
        job: Job,
        logon: Job,
        *,
        state: Path,
        user: str | None = None,
        tool: Callable[[list[str]], tuple[int, str]] = call,
    ) -> None:
        """`state` is where the XML files are kept; `tool` runs schtasks."""
        self._job, self._logon, self._call = job, logon, tool
        self._known_user = user
        self._resume_file = state / "autostart" / "resume.xml"
        self._notify_file = state / "autostart" / "notify.xml"

    def files(self) -> dict[Path, bytes]:
        """Return the XML of both tasks, the first as it is tried first."""
        return {
            self._resume_file: resume_xml(self._job, self._user, S4U),
            self._notify_file: notify_xml(self._logon, self._user),
        }

    def install(self) -> list[str]:
        """Register both tasks; without an administrator's rights, for after logon only."""
        notes = []
        code, said = self._create(RESUME_TASK, self._resume_file, self._xml(S4U))
        if code != 0:
            code, again = self._create(RESUME_TASK, self._resume_file, self._xml(INTERACTIVE))
            notes.append(
                f"registered for after logon only ({said}). To start before logon, run "
                "`so8t autostart install` once as administrator."
            )
            said = again
        if code == 0:
            xml = notify_xml(self._logon, self._user)
            code, said = self._create(NOTIFY_TASK, self._notify_file, xml)
        if code != 0:
            raise PrerequisiteError(f"the Task Scheduler refused the task: {said}")
        try:
            wrong = self._compare()
        except _UnreadableError as error:
            return [*notes, f"registered, but not confirmed: {error}"]
        if wrong:
            raise PrerequisiteError(
                f"the Task Scheduler registered something else: {'; '.join(wrong)}"
            )
        return notes

    def remove(self) -> bool:
        """Delete both tasks."""
        found = [self._call(["schtasks", "/delete", "/tn", name, "/f"]) for name in _TASKS]
        for file in (self._resume_file, self._notify_file):
            remove_file(file)
        return any(code == 0 for code, _ in found)

    def status(self) -> ServiceStatus:
        """Read the task back."""
        try:
            registered = self._registered(RESUME_TASK)
        except _UnreadableError as error:
            return ServiceStatus(False, None, (f"{error}. It may be registered nevertheless.",))
        if isinstance(registered, str):
            return ServiceStatus(False, None, (f"{registered}: so8t autostart install",))
        before = _text(registered, "Principals/Principal/LogonType") == S4U
        problems = list(self.verify())
        if not before:
            problems.append(
                "it does not run while you are logged off: install once as administrator"
            )
        return ServiceStatus(True, before, tuple(problems))

    def verify(self) -> list[str]:
        """Compare what is registered with what was asked for."""
        try:
            return self._compare()
        except _UnreadableError as error:
            return [str(error)]

    def _compare(self) -> list[str]:
        wrong = []
        for name, wanted in (
            (RESUME_TASK, resume_xml(self._job, self._user, S4U)),
            (NOTIFY_TASK, notify_xml(self._logon, self._user)),
        ):
            registered = self._registered(name)
            if isinstance(registered, str):
                wrong.append(registered)
            else:
                wrong += [f"{name}: {what}" for what in differences(parse(wanted), registered)]
        return wrong

    @property
    def _user(self) -> str:
        """Asked for late: resuming runs needs no name, and a service may have none."""
        return self._known_user or _user()

    def _xml(self, logon_type: str) -> bytes:
        return resume_xml(self._job, self._user, logon_type)

    def _create(self, name: str, file: Path, xml: bytes) -> tuple[int, str]:
        write_atomic(file, xml)
        return self._call(["schtasks", "/create", "/tn", name, "/xml", str(file), "/f"])

    def _registered(self, name: str) -> ET.Element | str:
        """Read a task back, or say why there is none to read. Raises _UnreadableError."""
        code, said = self._call(["schtasks", "/query", "/tn", name, "/xml"])
        if code != 0:
            # One exit code for all reasons, in words of the system's language.
            return f"there is no task {name} to be read ({said})"
        # schtasks writes in the console's encoding whatever the declaration claims.
        begin, end = said.find("<Task"), said.rfind("</Task>")
        try:
            if 0 <= begin < end:
                return ET.fromstring(said[begin : end + len("</Task>")])  # noqa: S314 - the system's
        except ET.ParseError as error:
            raise _UnreadableError(name, str(error)) from error
        raise _UnreadableError(name, f"it answers {said[:200]!r} and no task")


class _UnreadableError(Exception):
    """schtasks says that there is a task and does not show it."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"schtasks does not show the task {name}: {why}")


_TASKS = (RESUME_TASK, NOTIFY_TASK)


def resume_xml(job: Job, user: str, logon_type: str) -> bytes:
    """Return the task that resumes runs: at boot, at logon, and every 10 minutes.

    The repetition revives a run that ended; while one works, IgnoreNew makes it harmless.
    """
    task, triggers = _task("Resumes unfinished SO8T A/B runs.")
    boot = _add(triggers, "BootTrigger")
    _add(boot, "Enabled", "true")
    _add(boot, "Delay", "PT1M")
    again = _add(triggers, "TimeTrigger")
    _add(again, "Enabled", "true")
    _add(again, "StartBoundary", "2024-01-01T00:00:00")
    repetition = _add(again, "Repetition")
    _add(repetition, "Interval", "PT10M")
    _add(repetition, "StopAtDurationEnd", "false")
    _logon_trigger(triggers, user)
    log = ("--log", str(job.log))
    return _finish(task, job, user, logon_type, log)


def notify_xml(job: Job, user: str) -> bytes:
    """Return the task that plays at logon what nobody could hear before."""
    task, triggers = _task("Tells of SO8T A/B runs that ended while nobody was logged on.")
    _logon_trigger(triggers, user)
    return _finish(task, job, user, INTERACTIVE, ())


def parse(xml: bytes) -> ET.Element:
    """Read a task's XML file."""
    text = xml.decode("utf-16")
    return ET.fromstring(text[text.index("<Task") :])  # noqa: S314 - our own


def differences(wanted: ET.Element, found: ET.Element) -> list[str]:
    """Say which elements that were asked for are absent or other in what is registered.

    What the Task Scheduler adds does not count, nor how it writes a user (as a SID) or which of
    the two kinds of logon it was allowed. Where a text of ours has characters that the console's
    code page may not know (schtasks writes "?" then), any others may stand in their place.
    """
    ours, theirs = dict(_leaves(wanted)), dict(_leaves(found))
    return [
        f"{path} is {theirs.get(path)!r} and not {text!r}"
        for path, text in ours.items()
        if not _same(text, theirs.get(path))
        and path.rsplit("/", 1)[-1] not in ("UserId", "LogonType")
    ]


def _same(ours: str, theirs: str | None) -> bool:
    if theirs is None or ours.isascii():
        return ours == theirs
    parts = re.split(r"([^\x00-\x7f]+)", ours)
    # A character becomes one or two others at most.
    loose = "".join(
        re.escape(part) if part.isascii() else f".{{1,{2 * len(part)}}}" for part in parts
    )
    return re.fullmatch(loose, theirs, re.DOTALL) is not None


def _task(description: str) -> tuple[ET.Element, ET.Element]:
    task = ET.Element("Task", {"version": "1.2", "xmlns": NAMESPACE})
    _add(_add(task, "RegistrationInfo"), "Description", description)
    return task, _add(task, "Triggers")


def _logon_trigger(triggers: ET.Element, user: str) -> None:
    logon = _add(triggers, "LogonTrigger")
    _add(logon, "Enabled", "true")
    _add(logon, "UserId", user)


def _finish(task: ET.Element, job: Job, user: str, logon_type: str, more: tuple[str, ...]) -> bytes:
    principal = _add(_add(task, "Principals"), "Principal")
    principal.set("id", "Author")
    _add(principal, "UserId", user)
    _add(principal, "LogonType", logon_type)
    _add(principal, "RunLevel", "LeastPrivilege")
    settings = _add(task, "Settings")
    _add(settings, "MultipleInstancesPolicy", "IgnoreNew")
    _add(settings, "DisallowStartIfOnBatteries", "false")
    _add(settings, "StopIfGoingOnBatteries", "false")
    _add(settings, "AllowHardTerminate", "true")
    _add(settings, "StartWhenAvailable", "true")
    _add(settings, "RunOnlyIfNetworkAvailable", "false")
    _add(settings, "Enabled", "true")
    _add(settings, "ExecutionTimeLimit", "PT0S")
    _add(settings, "Priority", "7")
    restart = _add(settings, "RestartOnFailure")
    _add(restart, "Interval", "PT1M")
    _add(restart, "Count", "255")
    actions = _add(task, "Actions")
    actions.set("Context", "Author")
    run = _add(actions, "Exec")
    _add(run, "Command", str(_windowless(job.program)))
    _add(run, "Arguments", subprocess.list2cmdline([*job.arguments, *more]))
    _add(run, "WorkingDirectory", str(job.directory))
    ET.indent(task)
    body = ET.tostring(task, encoding="unicode")
    # "utf-16" writes the byte order mark, which the Task Scheduler insists on.
    return f'<?xml version="1.0" encoding="UTF-16"?>\n{body}\n'.encode("utf-16")


def _windowless(program: Path) -> Path:
    """Return pythonw.exe where it stands beside python.exe: no window every ten minutes."""
    other = program.with_name("pythonw.exe")
    return other if other.exists() else program


def _user() -> str:
    domain = os.environ.get("USERDOMAIN")
    try:
        name = getpass.getuser()
    except (OSError, ImportError) as error:  # Python before 3.13 looks for Unix's `pwd`
        raise PrerequisiteError(
            "this process does not know its user: USERNAME is not set.",
            hint="run it as the person who shall own the task",
        ) from error
    return f"{domain}\\{name}" if domain else name


def _add(parent: ET.Element, name: str, text: str | None = None) -> ET.Element:
    element = ET.SubElement(parent, name)
    element.text = text
    return element


def _leaves(element: ET.Element, path: str = "") -> Iterator[tuple[str, str]]:
    for child in element:
        where = f"{path}/{child.tag.rpartition('}')[2]}"
        if len(child):
            yield from _leaves(child, where)
        else:
            yield where, (child.text or "").strip()


def _text(task: ET.Element, path: str) -> str | None:
    return dict(_leaves(task)).get(f"/{path}")
