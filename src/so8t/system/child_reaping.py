"""Child processes end with their parent, however it ends.

Linux does it by itself once a child asked (`child.die_with_parent`). On Windows a job object takes
all children with it when its last handle closes, which the death of this process does. macOS has
neither: there every child is written down with its start time, and the next start ends those whose
parent is gone. A child that reads our messages also ends with its input, on every system; this is
for one that hangs in native code.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

import psutil

from so8t.system.files import remove_file
from so8t.system.state import state_directory

if TYPE_CHECKING:
    from pathlib import Path

_KILL_ON_JOB_CLOSE = 0x2000
_EXTENDED_LIMIT_INFORMATION = 9
_GRACE = 3.0


class BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION."""

    _fields_ = (
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
    )


class ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = (
        ("BasicLimitInformation", BasicLimits),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


@cache
def bind_children() -> bool:
    """Put this process and all its future children into a job that ends with it; Windows only.

    Returns whether that was possible; the handle is kept open for life by being forgotten.
    """
    if sys.platform != "win32":
        return False
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.CreateJobObjectW.restype = ctypes.c_void_p
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    job = ctypes.c_void_p(kernel.CreateJobObjectW(None, None))
    limits = ExtendedLimits()
    limits.BasicLimitInformation.LimitFlags = _KILL_ON_JOB_CLOSE
    size = ctypes.sizeof(limits)
    done = kernel.SetInformationJobObject(
        job, _EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), size
    )
    me = ctypes.c_void_p(kernel.GetCurrentProcess())
    return bool(job) and bool(done) and bool(kernel.AssignProcessToJobObject(job, me))


def remember_child(pid: int, directory: Path | None = None) -> None:
    """Write a child down for `end_orphans`; only macOS needs it.

    `directory` is the register of children, by default that of macOS and elsewhere none.
    """
    if directory is None and sys.platform != "darwin":
        return
    place = directory or _register()
    try:
        line = {"child": _name(pid), "parent": _name(os.getpid())}
    except psutil.NoSuchProcess:
        return  # it has ended already
    place.mkdir(parents=True, exist_ok=True)
    with (place / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def end_orphans(directory: Path | None = None) -> list[int]:
    """End children whose parent is gone; return their process ids.

    A process id alone names nothing: the start time tells whether it is still the same process.
    """
    ended = []
    for file in sorted((directory or _register()).glob("*.jsonl")):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        found = [pair for line in lines if (pair := _read(line)) is not None]
        if any(_alive(parent) is not None for _, parent in found):
            continue
        orphans = [process for child, _ in found if (process := _alive(child)) is not None]
        for process in orphans:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        _, stubborn = psutil.wait_procs(orphans, timeout=_GRACE)
        for process in stubborn:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        ended += [process.pid for process in orphans]
        remove_file(file)
    return ended


def _register() -> Path:
    return state_directory() / "children"


def _name(pid: int) -> list[float]:
    return [pid, psutil.Process(pid).create_time()]


def _read(line: str) -> tuple[list[float], list[float]] | None:
    try:
        told = json.loads(line)
        return (
            [float(value) for value in told["child"]],
            [float(value) for value in told["parent"]],
        )
    except (ValueError, KeyError, TypeError):
        return None  # torn by the same power cut that ended the process


def _alive(name: list[float]) -> psutil.Process | None:
    try:
        process = psutil.Process(int(name[0]))
        same = process.create_time() == name[1] and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError, IndexError):
        return None
    return process if same else None
