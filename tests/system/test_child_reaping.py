"""Children whose parent was killed do not live on, and nobody else's process is touched."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from processes import gone
from so8t.system import child_reaping

if TYPE_CHECKING:
    from pathlib import Path

PARENT = """
import subprocess, sys, time
from pathlib import Path
from so8t.system.child_reaping import remember_child
place = Path(sys.argv[1])
child = subprocess.Popen([sys.executable, "-c", sys.argv[2]], start_new_session=True)
remember_child(child.pid, place)
print(child.pid, flush=True)
time.sleep(600)
"""
SLEEPS = "import time; time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}"
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has job objects for this")


def family(place: Path, child: str = SLEEPS) -> tuple[subprocess.Popen, psutil.Process]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(place), child], stdout=subprocess.PIPE, text=True
    )
    return parent, psutil.Process(int(parent.stdout.readline()))


@posix
@pytest.mark.parametrize("child", [SLEEPS, STUBBORN])
def test_a_child_that_outlives_its_killed_parent_is_ended_by_the_next_start(
    tmp_path, child, monkeypatch
):
    """While the parent lives nothing is touched; once it is killed the child is ended, once."""
    monkeypatch.setattr(child_reaping, "_GRACE", 0.5)
    parent, orphan = family(tmp_path, child)
    time.sleep(0.3)  # until it ignores SIGTERM
    assert child_reaping.end_orphans(tmp_path) == []
    assert orphan.is_running()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert orphan.is_running()
    assert child_reaping.end_orphans(tmp_path) == [orphan.pid]
    assert gone(orphan.pid)
    assert child_reaping.end_orphans(tmp_path) == []


@posix
def test_a_process_id_that_was_given_to_another_is_left_alone(tmp_path):
    """The start time must be the same; a torn line names nobody."""
    with subprocess.Popen([sys.executable, "-c", SLEEPS]) as stranger:
        line = {"child": [stranger.pid, 1.0], "parent": [2**22 + 1, 1.0]}
        (tmp_path / "1.jsonl").write_text(json.dumps(line) + '\n{"child": [', encoding="utf-8")
        assert child_reaping.end_orphans(tmp_path) == []
        assert stranger.poll() is None
        stranger.kill()


def test_the_structures_of_windows_have_their_documented_sizes():
    """On 64 bits 64 and 144 bytes; LimitFlags stands 16 bytes from the start."""
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        pytest.skip("the sizes are those of 64 bits")
    assert ctypes.sizeof(child_reaping.BasicLimits) == 64
    assert ctypes.sizeof(child_reaping.ExtendedLimits) == 144
    assert child_reaping.BasicLimits.LimitFlags.offset == 16


@pytest.mark.skipif(sys.platform != "win32", reason="job objects are Windows' own")
def test_a_job_object_takes_the_children_along(tmp_path):
    """A parent in a job is killed; its child is gone without anybody ending it."""
    code = "from so8t.system.child_reaping import bind_children; assert bind_children()\n" + PARENT
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), SLEEPS], stdout=subprocess.PIPE, text=True
    )
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    assert gone(child.pid)


@pytest.mark.skipif(sys.platform == "win32", reason="there the job object does it")
def test_elsewhere_there_is_no_job_and_no_list_but_on_macos(tmp_path, monkeypatch):
    """What a system does not need is not done."""
    monkeypatch.setenv("SO8T_STATE_DIR", str(tmp_path))
    assert not child_reaping.bind_children()
    child_reaping.remember_child(os.getpid())
    assert (tmp_path / "children").exists() == (sys.platform == "darwin")
