"""What is given to systemd, the Task Scheduler and launchd is what they document."""

from __future__ import annotations

import plistlib
import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from needs import absent
from so8t.autostart import launchd, protocol, systemd, windows
from so8t.autostart.protocol import Job, dry_run, resume_job
from so8t.errors import PrerequisiteError

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

NASTY = "/tmp/a b%c$d\"e\\f'g"  # noqa: S108 - never touched, only quoted
T = f"{{{windows.NAMESPACE}}}"


def job(tmp_path: Path, program: str = "/usr/bin/true") -> Job:
    arguments = ("-m", "so8t", f"{NASTY}/x y", "100 %", "$HOME")
    return Job(
        Path(program), arguments, {"PATH": "/usr/bin:/bin", "X": NASTY}, tmp_path, tmp_path / "l"
    )


# --- systemd -------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", [False, True])
def test_systemd_itself_has_nothing_to_say_about_the_unit(tmp_path, system):
    """`systemd-analyze verify` is silent, whatever signs the paths hold; and it is not deaf."""
    if shutil.which("systemd-analyze") is None:
        absent("systemd-analyze is not installed")
    nasty = tmp_path / "a b%c$d"
    nasty.mkdir()
    program = nasty / "python"
    shutil.copy("/usr/bin/true", program)
    given = Job(program, ("-m", "so8t", "$X 100 %", NASTY), {"PATH": "/bin"}, nasty, nasty / "log")
    starter = systemd.SystemdAutoStart(given, given, system=system, user="root", root=tmp_path)
    unit = tmp_path / systemd.UNIT
    starter._units = tmp_path  # not the user's own directory
    unit.write_text(systemd.unit(given, user="root" if system else None))
    assert starter.verify() == []
    unit.write_text(unit.read_text().replace("RestartSec", "RestartSecs"))
    assert any("RestartSecs" in line for line in starter.verify())


def test_the_unit_has_the_settings_that_were_found_right(tmp_path):
    """Restart without a limit, not for what a restart cannot help, and an orderly stop."""
    sections: dict[str, list[str]] = {}
    for line in systemd.unit(job(tmp_path)).splitlines():
        if line.startswith("["):
            section = sections.setdefault(line, [])
        elif line:
            section.append(line)
    assert "StartLimitIntervalSec=0" in sections["[Unit]"]
    assert {
        "Type=exec",
        "Restart=on-failure",
        "RestartSec=10",
        "RestartPreventExitStatus=1 2 3 5 10",
        "KillMode=mixed",
        "TimeoutStopSec=90",
    } <= set(sections["[Service]"])
    assert sections["[Install]"] == ["WantedBy=default.target"]
    assert any(line.startswith('Environment="PATH=/') for line in sections["[Service]"])
    command = next(line for line in sections["[Service]"] if line.startswith("ExecStart="))
    assert PurePosixPath(command.split('"')[1]).is_absolute()


def test_a_unit_cannot_be_torn_by_a_line_break(tmp_path):
    """A line break would begin a setting of its own, a quoted program is not found: refused."""
    given = Job(Path("/bin/true"), ("a\nExecStartPre=/bin/false",), {}, tmp_path, tmp_path)
    with pytest.raises(PrerequisiteError, match="line break"):
        systemd.unit(given)
    with pytest.raises(PrerequisiteError, match="quote"):
        systemd.unit(Job(Path('/opt/a"b/python'), (), {}, tmp_path, tmp_path))


def test_install_status_remove_in_a_home_of_its_own(tmp_path, monkeypatch):
    """The files and the link are made, compared, and gone again; a change is noticed."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(systemd, "call", lambda _: (1, "no manager here"))
    starter = systemd.SystemdAutoStart(job(tmp_path), job(tmp_path), user="nobody-of-that-name")
    assert not starter.status().installed
    notes = starter.install()
    assert any("enable-linger" in note for note in notes)
    status = starter.status()
    assert status.installed
    assert status.before_login is False
    assert all(path.read_bytes() == data for path, data in starter.files().items())
    unit = tmp_path / "config" / "systemd" / "user" / systemd.UNIT
    unit.write_text(unit.read_text() + "\n")
    assert any("another than this version writes" in one for one in starter.status().problems)
    assert starter.remove()
    assert not starter.remove()
    assert [path for path in (tmp_path / "config").rglob("*") if not path.is_dir()] == []


def test_the_logon_entry_is_what_desktops_read(tmp_path):
    """desktop-file-validate accepts it, with any signs in the paths."""
    if shutil.which("desktop-file-validate") is None:
        pytest.skip("desktop-file-validate is not installed")
    file = tmp_path / "so8t.desktop"
    file.write_text(systemd.desktop_entry(job(tmp_path)))
    subprocess.run([shutil.which("desktop-file-validate"), str(file)], check=True)


# --- Task Scheduler ------------------------------------------------------------------------------

BOOLEAN = r"true|false"
DURATION = r"P(?!$)(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?"
# From the documented schema: names in the order in which a sequence asks for them, with the
# pattern of each value; None for the types whose elements may come in any order (xs:all).
BASE = ["Enabled", "StartBoundary", "EndBoundary", "Repetition", "ExecutionTimeLimit"]
SEQUENCES = {
    "BootTrigger": [*BASE, "Delay"],
    "TimeTrigger": [*BASE, "RandomDelay"],
    "LogonTrigger": [*BASE, "UserId", "Delay"],
}
UNORDERED = {
    "Task": {"RegistrationInfo", "Triggers", "Settings", "Data", "Principals", "Actions"},
    "RegistrationInfo": {"URI", "Source", "Date", "Author", "Version", "Description"},
    "Repetition": {"Interval", "Duration", "StopAtDurationEnd"},
    "Principals": {"Principal"},
    "Principal": {"UserId", "LogonType", "GroupId", "DisplayName", "RunLevel"},
    "RestartOnFailure": {"Interval", "Count"},
    "Actions": {"Exec"},
    "Exec": {"Command", "Arguments", "WorkingDirectory"},
    "Settings": {
        "AllowStartOnDemand", "RestartOnFailure", "MultipleInstancesPolicy",
        "DisallowStartIfOnBatteries", "StopIfGoingOnBatteries", "AllowHardTerminate",
        "StartWhenAvailable", "RunOnlyIfNetworkAvailable", "WakeToRun", "Enabled", "Hidden",
        "DeleteExpiredTaskAfter", "IdleSettings", "ExecutionTimeLimit", "Priority", "RunOnlyIfIdle",
    },
    "Triggers": set(SEQUENCES),
}  # fmt: skip
VALUES = {
    "Enabled": BOOLEAN, "DisallowStartIfOnBatteries": BOOLEAN, "StopIfGoingOnBatteries": BOOLEAN,
    "AllowHardTerminate": BOOLEAN, "StartWhenAvailable": BOOLEAN, "StopAtDurationEnd": BOOLEAN,
    "RunOnlyIfNetworkAvailable": BOOLEAN,
    "Delay": DURATION, "Interval": DURATION, "ExecutionTimeLimit": DURATION,
    "StartBoundary": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d",
    "MultipleInstancesPolicy": "Parallel|Queue|IgnoreNew|StopExisting",
    "LogonType": "S4U|Password|InteractiveToken|InteractiveTokenOrPassword",
    "RunLevel": "LeastPrivilege|HighestAvailable",
    "Priority": r"\d|10", "Count": r"[1-9]\d?|1\d\d|2[0-4]\d|25[0-5]",
    "Command": r".{1,260}", "WorkingDirectory": r".{1,260}", "UserId": r".+", "Arguments": r".*",
    "Description": r".*",
}  # fmt: skip


def complaints(element: ET.Element) -> list[str]:
    """Check an element and all below it against the rules of the documented schema."""
    name = element.tag.removeprefix(T)
    children = [child.tag.removeprefix(T) for child in element]
    found = []
    if name in SEQUENCES:
        order = SEQUENCES[name]
        if not set(children) <= set(order) or children != sorted(children, key=order.index):
            found.append(f"{name}: {children}")
    elif name in UNORDERED:
        repeated = len(set(children)) != len(children) and name not in ("Triggers", "Actions")
        if not set(children) <= UNORDERED[name] or repeated:
            found.append(f"{name}: {children}")
    elif children or re.fullmatch(VALUES.get(name, "(?!)"), element.text or "") is None:
        found.append(f"{name}: {element.text!r}")
    return found + [one for child in element for one in complaints(child)]


@pytest.mark.parametrize("logon", [windows.S4U, windows.INTERACTIVE])
def test_the_task_keeps_to_the_documented_schema(tmp_path, logon):
    """Names, order, values, encoding and byte order mark; and the check can fail."""
    for xml in (
        windows.resume_xml(job(tmp_path), "PC\\me", logon),
        windows.notify_xml(job(tmp_path), "me"),
    ):
        assert xml.startswith(b"\xff\xfe")
        assert xml.decode("utf-16").startswith('<?xml version="1.0" encoding="UTF-16"?>')
        task = windows.parse(xml)
        assert task.tag == f"{T}Task"
        assert task.get("version") == "1.2"
        assert complaints(task) == []
        principal = task.find(f"{T}Principals/{T}Principal").get("id")
        assert task.find(f"{T}Actions").get("Context") == principal
    trigger = windows.parse(windows.resume_xml(job(tmp_path), "me", logon)).find(
        f".//{T}BootTrigger"
    )
    trigger[:] = list(trigger)[::-1]
    assert complaints(trigger) != []
    trigger[0].text = "1 minute"
    assert len(complaints(trigger)) == 2


def test_the_task_has_the_settings_that_were_found_right(tmp_path):
    """On battery, without a time limit, one at a time; at boot, at logon and every ten minutes."""
    task = windows.parse(windows.resume_xml(job(tmp_path), "PC\\me", windows.S4U))
    got = dict(windows._leaves(task))
    wanted = {
        "/Settings/MultipleInstancesPolicy": "IgnoreNew",
        "/Settings/DisallowStartIfOnBatteries": "false",
        "/Settings/StopIfGoingOnBatteries": "false",
        "/Settings/StartWhenAvailable": "true",
        "/Settings/ExecutionTimeLimit": "PT0S",
        "/Settings/RestartOnFailure/Interval": "PT1M",
        "/Settings/RestartOnFailure/Count": "255",
        "/Settings/Priority": "7",
        "/Triggers/BootTrigger/Delay": "PT1M",
        "/Triggers/TimeTrigger/Repetition/Interval": "PT10M",
        "/Triggers/LogonTrigger/UserId": "PC\\me",
        "/Principals/Principal/LogonType": "S4U",
        "/Principals/Principal/RunLevel": "LeastPrivilege",
    }
    assert wanted.items() <= got.items()


class Schtasks:
    """Stands for the Task Scheduler: keeps what is registered and gives it back as Windows does."""

    def __init__(self, *, administrator: bool = True, change: tuple[str, str] = ("", "")) -> None:
        self.tasks: dict[str, str] = {}
        self._administrator, self._change = administrator, change

    def __call__(self, arguments: list[str]) -> tuple[int, str]:
        _, verb, _, name, *rest = arguments
        if verb == "/create":
            text = Path(rest[1]).read_bytes().decode("utf-16")
            if "S4U" in text and not self._administrator:
                return 1, "ERROR: Access is denied."
            # Windows adds elements of its own and writes users as SIDs.
            text = text.replace("<Enabled>true</Enabled>", "<Enabled>true</Enabled><!-- -->")
            text = text.replace("<UserId>PC\\me<", "<UserId>S-1-5-21-1<").replace(*self._change)
            self.tasks[name] = text
        elif verb == "/query":
            return (0, self.tasks[name]) if name in self.tasks else (1, "ERROR: cannot find")
        elif verb == "/delete":
            return (0, "") if self.tasks.pop(name, None) else (1, "ERROR: cannot find")
        return 0, "SUCCESS"


def task_scheduler(tmp_path: Path, tool: Schtasks) -> windows.WindowsAutoStart:
    return windows.WindowsAutoStart(
        job(tmp_path), job(tmp_path), state=tmp_path, user="PC\\me", tool=tool
    )


def test_windows_reads_back_what_it_registered(tmp_path):
    """Both tasks are there and as asked for; status says before logon; remove leaves nothing."""
    tool = Schtasks()
    starter = task_scheduler(tmp_path, tool)
    assert not starter.status().installed
    assert starter.install() == []
    assert set(tool.tasks) == {windows.RESUME_TASK, windows.NOTIFY_TASK}
    assert starter.status() == windows.ServiceStatus(True, True, ())
    assert starter.remove()
    assert tool.tasks == {}
    assert not starter.remove()


def test_windows_without_an_administrator_says_what_is_lost(tmp_path):
    """It falls back to a task for after logon, and status says so."""
    starter = task_scheduler(tmp_path, Schtasks(administrator=False))
    assert "administrator" in starter.install()[0]
    status = starter.status()
    assert (status.installed, status.before_login) == (True, False)
    assert any("logged off" in problem for problem in status.problems)


def test_windows_notices_a_registration_that_differs(tmp_path):
    """A Task Scheduler that drops or changes a setting is not trusted."""
    tool = Schtasks(change=("PT0S", "PT72H"))
    with pytest.raises(PrerequisiteError, match="ExecutionTimeLimit is 'PT72H'"):
        task_scheduler(tmp_path, tool).install()


@pytest.mark.parametrize(
    "answer", ["", "SUCCESS", "<Task", "<Task><Settings></Task>", "フォルダー: \\SO8T"]
)
def test_a_task_that_cannot_be_read_is_told_and_no_traceback(answer, tmp_path):
    """A schtasks that answers otherwise is quoted by install, status and test."""

    class Odd(Schtasks):
        def __call__(self, arguments):
            return (0, answer) if arguments[1] == "/query" else super().__call__(arguments)

    starter = task_scheduler(tmp_path, Odd())
    (note,) = starter.install()
    assert "not confirmed: schtasks does not show the task" in note
    status = starter.status()
    assert not status.installed
    assert "does not show the task" in status.problems[0]
    assert "does not show the task" in starter.verify()[0]


@pytest.mark.parametrize(
    ("encoding", "lost"),
    [("utf-16", 0), ("utf-16-le", 0), ("utf-8", 0), ("cp932", 0), ("cp437", 4), ("cp1252", 4)],
)
def test_a_japanese_path_is_read_back_from_any_console(encoding, lost, tmp_path):
    """schtasks writes in the console's code page; what that cannot write is no difference."""
    home = tmp_path / "太郎の箱"
    wanted = windows.parse(windows.resume_xml(job(home), "PC\\me", windows.S4U))
    text = windows.resume_xml(job(home), "PC\\me", windows.S4U).decode("utf-16")
    said = protocol.decode(text.encode(encoding, errors="replace"), ("cp932", encoding))
    found = windows.parse(said.encode("utf-16"))
    assert said.count("?") - text.count("?") >= lost
    assert windows.differences(wanted, found) == []
    other = windows.parse(said.replace("100 %", "200 %").encode("utf-16"))
    assert len(windows.differences(wanted, other)) == 1


# --- launchd -------------------------------------------------------------------------------------


def test_the_property_list_is_read_by_two_parsers(tmp_path):
    """plistlib reads back what was meant; libplist's plistutil reads it where it is installed."""
    data = launchd.property_list(job(tmp_path))
    agent = plistlib.loads(data)
    assert agent["ProgramArguments"] == job(tmp_path).command
    assert agent["RunAtLoad"] is True
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert (agent["ThrottleInterval"], agent["ExitTimeOut"]) == (30, 120)
    assert agent["EnvironmentVariables"]["PATH"]
    assert agent["StandardErrorPath"] == agent["StandardOutPath"] == str(tmp_path / "l")
    if shutil.which("plistutil") is None:
        pytest.skip("plistutil is not installed; plistlib alone has read it")
    file = tmp_path / "so8t.plist"
    file.write_bytes(data)
    command = [shutil.which("plistutil"), "-i", str(file), "-f", "bin", "-o", "-"]
    read = subprocess.run(command, capture_output=True, check=True)
    assert plistlib.loads(read.stdout) == agent


def test_launchd_is_asked_and_its_refusal_is_an_error(tmp_path):
    """install loads the agent, status asks for it, a refusal says why."""
    loaded: list[str] = []

    def tool(arguments: list[str]) -> tuple[int, str]:
        if arguments[1] == "bootstrap":
            loaded.append(arguments[-1])
        if arguments[1] == "bootout":
            loaded.clear()
        return (0, "") if arguments[1] != "print" or loaded else (113, "not found")

    starter = launchd.LaunchdAutoStart(job(tmp_path), home=tmp_path, tool=tool)
    starter.install()
    assert starter.status().installed
    assert starter.remove()
    assert not starter.status().installed
    refused = launchd.LaunchdAutoStart(
        job(tmp_path), home=tmp_path, tool=lambda _: (5, "no session")
    )
    with pytest.raises(PrerequisiteError, match="no session"):
        refused.install()


# --- the command itself --------------------------------------------------------------------------


@pytest.mark.slow
def test_the_dry_run_proves_that_the_command_works(tmp_path):
    """The job as registered runs with its own environment alone; a broken one is told apart."""
    given = resume_job("all", tmp_path)
    assert dry_run(given) == []
    broken = Job(given.program, ("-m", "so8t", "autostart", "nonsense"), {}, tmp_path, tmp_path)
    assert "ends with" in dry_run(broken)[0]
    absent_ = Job(tmp_path / "python", (), {}, tmp_path, tmp_path)
    assert "cannot be started" in dry_run(absent_)[0]
