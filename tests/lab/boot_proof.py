"""Proof on a really booted systemd: the unit starts without a login, is killed, restarts, resumes.

    sudo python tests/lab/boot_proof.py --work /tmp/boot-proof

Builds a minimal Debian with systemd (debootstrap), boots it with systemd-nspawn, and in it:

1. first boot: a user registers `so8t autostart install` and starts a run; then the power is cut
   (the container is killed with SIGKILL, so nothing in it can say good-bye);
2. second boot, nobody logs in: the unit resumes the run; the power is cut again in the benchmark;
3. third boot: the unit resumes; its process is killed with SIGKILL; systemd starts it again; the
   run is done, and its answers are those of a run that nothing disturbed.

A cut through the container keeps the kernel's page cache; what a disk forgets is another test's.
Needs root, systemd-nspawn and debootstrap, and takes some minutes. Prints each step with its time.
"""

# ruff: noqa: S607 - a lab: it prints, and calls the tools that are installed

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "pipeline")]

import tiny_run  # noqa: E402 - the path is ours to set

from so8t.domain.plan import Phase  # noqa: E402
from so8t.errors import SO8TError  # noqa: E402
from so8t.journal.store import Journal  # noqa: E402
from so8t.pipeline.run.progress_state import read_progress  # noqa: E402
from so8t.pipeline.selftest.killing import outcome, phase_now  # noqa: E402

USER, UID = "tester", 1000
PACKAGES = (
    "systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,procps,libssl3,libffi8,"
    "libsqlite3-0,libbz2-1.0,liblzma5,zlib1g,libreadline8,libgomp1,libstdc++6,libuuid1,"
    "libexpat1,libncursesw6"
)
UNIT = "so8t-autostart.service"
STARTED = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:7.1f} s] {text}", flush=True)


def debian(work: Path) -> Path:
    """Return the root of a fresh machine, made from a cached minimal Debian."""
    base, root = work / "debian", work / "machine"
    if not (base / "sbin" / "init").exists():
        say("debootstrap")
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(base),
             "http://deb.debian.org/debian"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run(["cp", "-a", str(base), str(root)], check=True)
    (root / "etc" / "machine-id").write_text("")
    subprocess.run(
        ["chroot", str(root), "useradd", "--create-home", "--uid", str(UID), USER], check=True
    )
    (root / "root").chmod(0o711)  # a Python below root's home is to be reached by the user
    return root


def bindings() -> list[str]:
    """What the machine shares with this one, to read only: the source and the Python."""
    venv, base = Path(sys.prefix), Path(sys.base_prefix)
    return [f"--bind-ro={path}" for path in dict.fromkeys((ROOT, venv, base))]


class Machine:
    """A booted container."""

    def __init__(self, root: Path, log: Path) -> None:
        self.at = time.monotonic()
        self._log = log.open("ab")
        self.process = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit",
             "--console=pipe", "--machine=so8tproof", f"--directory={root}", *bindings()],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        self.leader = self._leader()

    def _leader(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        until = time.monotonic() + 60
        while time.monotonic() < until:
            for pid in children.read_text().split():
                if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                    return int(pid)
            time.sleep(0.1)
        raise SystemExit("the machine did not boot; see the log")

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command in the machine, as its root."""
        return self._done([*self._enter, *command], check=check)

    @property
    def _enter(self) -> list[str]:
        return ["nsenter", "--target", str(self.leader), "--all", "--"]

    @staticmethod
    def _done(command: list[str], *, check: bool) -> str:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and found.returncode:
            raise SystemExit(f"{command}: {found.stdout}{found.stderr}")
        return (found.stdout + found.stderr).strip()

    def user(self, *command: str, check: bool = True) -> str:
        """Run a command as the user, without a login session."""
        return self._done(self.as_user(*command), check=check)

    def as_user(self, *command: str, place: str = "") -> list[str]:
        """Return the command that runs another as the user, below the user's home."""
        environment = [f"HOME=/home/{USER}", f"USER={USER}", f"XDG_RUNTIME_DIR=/run/user/{UID}",
                       f"PYTHONPATH={ROOT / 'src'}", "OMP_NUM_THREADS=1", "LC_ALL=C.UTF-8",
                       "PATH=/usr/bin:/bin"]  # fmt: skip
        return [
            *self._enter, "setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--",
            "env", "-i", "-C", f"/home/{USER}/{place}", *environment, *command,
        ]  # fmt: skip

    def wait_until_up(self) -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            if self.run("systemctl", "is-system-running", check=False) in ("running", "degraded"):
                return
            time.sleep(0.5)
        raise SystemExit("the machine did not come up")

    def cut(self) -> None:
        """Cut the power."""
        # The first process of the machine takes all others with it.
        os.kill(self.leader, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        while Path(f"/proc/{self.leader}").exists():
            time.sleep(0.1)
        self._log.close()

    def shut_down(self) -> None:
        self.run("systemctl", "poweroff", check=False)
        self.process.wait(timeout=120)
        self._log.close()


def wait(what: str, there, seconds: float = 240.0) -> float:
    """Wait until `there()`; return after how many seconds."""
    began = time.monotonic()
    while not there():
        if time.monotonic() - began > seconds:
            raise SystemExit(f"{what}: not within {seconds} s")
        time.sleep(0.2)
    return time.monotonic() - began


def sessions(directory: Path) -> list[dict]:
    try:
        with Journal(directory, readonly=True) as journal:
            return [event.data for event in journal.events("session_started")]
    except SO8TError:
        return []


def answers(directory: Path) -> int:
    with Journal(directory, readonly=True) as journal:
        return sum(journal.answer_counts().values())


def first_boot(root: Path, log: Path, directory: Path) -> None:
    """Register, start a run as a person does, and cut the power in phase 2."""
    python = sys.executable
    machine = Machine(root, log)
    machine.wait_until_up()
    say(f"boot 1: up after {time.monotonic() - machine.at:.1f} s")
    machine.run("loginctl", "enable-linger", USER)
    state = ("systemctl", "--user", "is-system-running")
    wait("the user's manager", lambda: "running" in machine.user(*state, check=False))
    say(machine.user(python, "-m", "so8t", "autostart", "install"))
    say(machine.user(python, "-m", "so8t", "autostart", "test"))
    command = machine.as_user(python, "-m", "so8t", "run", "so8t.yaml", place="job")
    starter = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait("phase 2", lambda: phase_now(directory) is Phase.PREPARE_B)
    machine.cut()
    starter.wait()
    say("boot 1: a person started the run; power cut in phase 2")


def second_boot(root: Path, log: Path, directory: Path, enough: int) -> int:
    """Nobody logs in; the unit resumes the run; cut the power in the benchmark."""
    machine = Machine(root, log)
    wait("a second session", lambda: len(sessions(directory)) == 2)
    say(f"boot 2: the unit resumed the run {time.monotonic() - machine.at:.1f} s after power on")
    machine.wait_until_up()
    people = machine.run("loginctl", "list-sessions", "--no-legend")
    say(f"boot 2: sessions of people: {people or 'none'}")
    wait("answers", lambda: answers(directory) > enough)
    before = answers(directory)
    machine.cut()
    say(f"boot 2: power cut in the benchmark, {before} answers seen")
    return before


def third_boot(root: Path, log: Path, directory: Path, before: int) -> None:
    """The unit resumes; SIGKILL its process; systemd starts it again; the run is done."""
    machine = Machine(root, log)
    wait("a third session", lambda: len(sessions(directory)) == 3)
    there = answers(directory)
    say(f"boot 3: resumed {time.monotonic() - machine.at:.1f} s after power on, {there} answers")
    machine.wait_until_up()
    wait("more answers", lambda: answers(directory) > before + 20)
    show = ("systemctl", "--user", "show")
    pid = machine.user(*show, "-p", "MainPID", "--value", UNIT)
    machine.run("kill", "-KILL", pid)
    at = time.monotonic()
    say(f"boot 3: SIGKILL to the unit's process {pid}, {answers(directory)} answers")
    wait("a fourth session", lambda: len(sessions(directory)) == 4)
    say(f"boot 3: systemd started it again; resumed {time.monotonic() - at:.1f} s after the kill")

    def state() -> str:
        with Journal(directory, readonly=True) as journal:
            return read_progress(journal, held=True).state

    wait("the end of the run", lambda: state() == "complete")
    active = ("systemctl", "--user", "is-active", UNIT)
    wait("the unit's end", lambda: machine.user(*active, check=False) == "inactive", 60)
    result = machine.user(*show, "-p", "NRestarts,Result,ExecMainStatus", UNIT)
    say("boot 3: done; " + " ".join(result.split()))
    print(machine.run("journalctl", "--no-pager", "-o", "short-iso", f"_UID={UID}", check=False))
    machine.shut_down()


def main() -> None:
    """Run the proof."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("/tmp/so8t-boot-proof"))  # noqa: S108 - a lab
    parser.add_argument("--questions", type=int, default=400)
    asked = parser.parse_args()
    if os.geteuid() != 0 or not all(map(shutil.which, ("systemd-nspawn", "debootstrap"))):
        raise SystemExit("needs root, systemd-nspawn (systemd-container) and debootstrap")
    asked.work.mkdir(parents=True, exist_ok=True)
    root = debian(asked.work)
    home = root / "home" / USER
    tiny_run.write_config(home / "job", questions=asked.questions, steps=3)
    for path in (home / "job", *(home / "job").iterdir()):
        os.chown(path, UID, UID)
    directory = home / "job" / "runs" / "tiny"
    log = asked.work / "console.log"
    log.unlink(missing_ok=True)

    first_boot(root, log, directory)
    before = second_boot(root, log, directory, asked.questions // 2)
    third_boot(root, log, directory, before)

    registered = list((home / ".local/state/so8t/runs").glob("*.json"))
    report = (directory / "report.html").exists()
    say(f"registered runs left: {len(registered)}; report written: {report}")
    with Journal(directory, readonly=True) as journal:
        print(json.dumps(read_progress(journal, held=False).plain()["interruptions"], indent=1))
    calm = tiny_run.write_config(asked.work / "calm", questions=asked.questions, steps=3)
    shutil.rmtree(asked.work / "calm" / "runs", ignore_errors=True)
    tiny_run.run(calm)
    same = outcome(directory) == outcome(tiny_run.run_directory(calm))
    say(f"answers, models and verdict equal to an undisturbed run: {same}")
    if not same or registered or not report:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
