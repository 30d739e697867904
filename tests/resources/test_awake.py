"""The machine stays awake while a run works, and may sleep afterwards."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from so8t.resources.awake import kept_awake

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fallback is Linux's own")


@pytest.fixture
def no_desktop(tmp_path, monkeypatch):
    """A machine without a desktop: no session bus for wakepy to ask."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path / 'none'}")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def inhibitor(place: Path, script: str) -> None:
    file = place / "systemd-inhibit"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def holders(place: Path) -> list[psutil.Process]:
    pids = place / "pid"
    return [p for p in psutil.process_iter() if pids.exists() and p.pid == int(pids.read_text())]


def test_logind_is_asked_where_there_is_no_desktop_and_released_at_the_end(no_desktop):
    """systemd-inhibit gets sleep and idle, holds while the context lasts, and is gone after it."""
    inhibitor(no_desktop, f'echo $$ > {no_desktop}/pid; echo "$@" > {no_desktop}/args; exec cat')
    with kept_awake() as how:
        assert how == "systemd-inhibit"
        assert "--what=sleep:idle" in (no_desktop / "args").read_text()
        assert len(holders(no_desktop)) == 1
    time.sleep(0.2)
    assert holders(no_desktop) == []


def test_a_refusal_is_said_and_stops_nothing(no_desktop):
    """logind may refuse; the run works on and knows that the machine may sleep."""
    inhibitor(no_desktop, "exit 1")
    with kept_awake() as how:
        assert how == ""
    Path(no_desktop / "systemd-inhibit").unlink()
    with kept_awake() as how:
        assert how in ("", "systemd-inhibit")  # the machine's own, where it has one


def test_the_lock_is_released_when_the_run_fails(no_desktop):
    """An error in the run does not leave the machine awake for ever."""
    inhibitor(no_desktop, f"echo $$ > {no_desktop}/pid; exec cat")

    def run() -> None:
        with kept_awake():
            raise RuntimeError("the run failed")

    with pytest.raises(RuntimeError):
        run()
    time.sleep(0.2)
    assert holders(no_desktop) == []
