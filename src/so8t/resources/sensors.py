"""One look at the machine: everything that can be read here, and why the rest cannot."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from so8t.resources.amd import AmdSensor
from so8t.resources.apple import memory_warning
from so8t.resources.guard import Guard
from so8t.resources.nvidia import NvidiaSensor
from so8t.resources.readings import Gpu, ResourceSample
from so8t.system.attempt import reading
from so8t.system.memory import memory_pressure, memory_rooms

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_PROC = Path("/proc")
# Looking through all processes for a server's name is dear; servers come and go rarely.
_SERVERS_EVERY = 60.0
# What the combined figures and the balancer rest on.
_OF_A_CARD = ("utilization", "memory", "temperature", "power", "throttled", "others_utilization")


class Sensors:
    """Reads the machine. Shares of the CPU are since the sample before; the first has none.

    No reading raises: one that fails is None in the sample, with its reason in `unreadable`.
    """

    def __init__(self, own_servers: Collection[str] = ()) -> None:
        """`own_servers` names programs that work for this run without being its children."""
        self._own_servers = frozenset(own_servers)
        self._servers: list[int] = []
        self._servers_at = 0.0
        self._pid = os.getpid()
        self._processes: dict[int, psutil.Process] = {}
        self._spent: dict[int, float] | None = None
        self._cpu: tuple[float, float] | None = None
        self._guard = Guard()
        self._nvidia = NvidiaSensor()
        self._amd = AmdSensor()

    def read(self, level: int | None = None) -> ResourceSample:
        """Take one sample; `level` is noted in it."""
        absent: dict[str, str] = {}
        ask = self._guard.ask
        monotonic = time.monotonic()
        own = ask("own processes", self._own)
        if own is None:
            self._spent = None  # what was spent meanwhile belongs to no interval
        seconds, own_memory, pids = own or (None, None, frozenset[int]())
        spent = ask("cpu", self._busy)
        if spent is None:
            self._cpu = None
        busy, elapsed = spent or (0.0, 0.0)
        cpu = cpu_own = others = None
        if elapsed:
            cpu = min(1.0, busy / elapsed)
            if seconds is not None:
                cpu_own = min(1.0, seconds / elapsed)
                others = max(0.0, cpu - cpu_own)
        else:
            absent["cpu"] = "the first sample has none before it"
        rooms = ask("memory", memory_rooms) or []
        pressure = ask("pressure", memory_pressure)
        if pressure is None:
            absent["pressure"] = "this system keeps no memory pressure (Linux PSI)"
        charge, on_battery, silent = ask("battery", _battery) or (None, None, "")
        if silent:
            absent["battery"] = silent
        warning = ask("memory warning", memory_warning)
        cards = self._cards(pids, absent)
        faults = self._guard.faults
        return ResourceSample(
            at=time.time(),
            monotonic=monotonic,
            cpu=cpu,
            cpu_own=cpu_own,
            cpu_others=others,
            memory=max((room.used for room in rooms), default=None),
            memory_available=min((room.available for room in rooms), default=None),
            pressure=pressure,
            memory_warning=warning,
            own_memory=own_memory,
            battery=charge,
            on_battery=on_battery,
            gpus=cards,
            level=level,
            unreadable=absent | faults,
            failed=tuple(sorted(faults)),
        )

    def close(self) -> None:
        """Let the drivers go. Safe to call twice."""
        self._nvidia.close()

    def _cards(self, own: Collection[int], absent: dict[str, str]) -> tuple[Gpu, ...]:
        nvidia = self._guard.ask("nvidia", lambda: self._nvidia.read(own)) or ()
        amd = self._guard.ask("amd", self._amd.read) or ()
        cards = (*nvidia, *amd)
        if not cards:
            whys = (self._nvidia.absent, self._amd.absent)
            absent["gpu"] = "; ".join(why for why in whys if why) or "no card"
        self._guard.notes = {f"gpu {card.index}": card.fault for card in cards if card.fault}
        for card in cards:
            missing = [name for name in _OF_A_CARD if getattr(card, name) is None]
            if missing:
                told = ", ".join(missing)
                absent[f"gpu {card.index}"] = f"its driver does not tell: {told}"
        return cards

    def _busy(self) -> tuple[float, float]:
        """Seconds of all cores since the last time: of work, and in all."""
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # Linux counts a guest's time in user and nice already.
        counted = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        before, self._cpu = self._cpu, (counted - idle, counted)
        if before is None:
            return 0.0, 0.0
        return max(0.0, self._cpu[0] - before[0]), max(0.0, self._cpu[1] - before[1])

    def _own(self) -> tuple[float | None, int, frozenset[int]]:
        """CPU seconds since the last time and resident bytes of this run, and its process ids.

        The seconds are None where there was no last time. Raises where a process that is there
        cannot be read: what it does would count as others' work.
        """
        pids = {self._pid, *descendants(self._pid)}
        for server in self._our_servers():
            pids |= {server, *descendants(server)}
        spent: dict[int, float] = {}
        seconds, memory = 0.0, 0
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                process = self._processes.get(pid) or psutil.Process(pid)
                self._processes[pid] = process
                with process.oneshot():
                    times = process.cpu_times()
                    memory += process.memory_info().rss
                spent[pid] = times.user + times.system
                # Its whole life counts for a new one: it began since the last look.
                seconds += max(0.0, spent[pid] - (self._spent or {}).get(pid, 0.0))
        for gone in set(self._processes) - set(spent):
            del self._processes[gone]
        before, self._spent = self._spent, spent
        return None if before is None else seconds, memory, frozenset(pids)

    def _our_servers(self) -> list[int]:
        if not self._own_servers:
            return []
        if time.monotonic() >= self._servers_at:
            self._servers = [
                process.pid
                for process in psutil.process_iter(["name"])
                if (process.info["name"] or "").removesuffix(".exe") in self._own_servers
            ]
            self._servers_at = time.monotonic() + _SERVERS_EVERY
        return self._servers


def _battery() -> tuple[float | None, bool | None, str]:
    """Return the charge, 0 to 1, whether the machine runs from it, and why not, if not."""
    found = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    if found is None:
        return None, None, "no battery"
    if found.power_plugged is None:
        return found.percent / 100, None, "whether it is in use is not told"
    return found.percent / 100, not found.power_plugged, ""


def descendants(pid: int) -> Iterator[int]:
    """Yield the ids of a process's children, their children, and so on.

    Linux tells a process's children directly, where the kernel was built so; looking through all
    processes, as psutil must, costs ten times as much on a busy desktop.
    """
    if (_PROC / str(pid) / "task" / str(pid) / "children").exists():
        waiting = [pid]
        while waiting:
            found = list(_children(waiting.pop()))
            waiting += found
            yield from found
        return
    with suppress(psutil.NoSuchProcess):
        yield from (child.pid for child in psutil.Process(pid).children(recursive=True))


def _children(pid: int) -> Iterator[int]:
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        for task in (_PROC / str(pid) / "task").iterdir():
            yield from map(int, (task / "children").read_text().split())


def lower_priority() -> list[str]:
    """Lower this process's CPU and disk priority; children inherit both. Returns what was done.

    Somebody at the keyboard comes first. On Windows children do not inherit the class from a
    parent of normal priority, but they do from one below normal.
    """
    done: list[str] = []
    me = reading(psutil.Process)
    if me is None:
        return done
    with suppress(psutil.Error, OSError):
        if sys.platform == "win32":
            me.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
            done.append("below normal")
        elif me.nice() < _NICE:
            me.nice(_NICE)
            done.append(f"nice {_NICE}")
    with suppress(psutil.Error, OSError, AttributeError):
        if sys.platform == "linux":
            # Best effort, the lowest of its eight classes: idle could starve for hours.
            me.ionice(psutil.IOPRIO_CLASS_BE, 7)
            done.append("ionice best-effort 7")
        elif sys.platform == "win32":
            me.ionice(psutil.IOPRIO_LOW)
            done.append("low disk priority")
    return done


_NICE = 5
