"""One look at the machine: everything that can be read here, and why the rest cannot."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from so8t.resources.amd import AmdSensor
from so8t.resources.apple import memory_warning
from so8t.resources.nvidia import NvidiaSensor
from so8t.resources.readings import Gpu, Sample
from so8t.system.memory import memory_pressure, memory_rooms

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_PROC = Path("/proc")
# Looking through all processes for a server's name is dear; servers come and go rarely.
_SERVERS_EVERY = 60.0
# What the combined figures and the balancer rest on.
_OF_A_CARD = ("utilization", "memory", "temperature", "power", "throttled", "others_utilization")


class Sensors:
    """Reads the machine. Shares of the CPU are since the sample before; the first has none."""

    def __init__(self, own_servers: Collection[str] = ()) -> None:
        """`own_servers` names programs that work for this run without being its children."""
        self._own_servers = frozenset(own_servers)
        self._servers: list[int] = []
        self._servers_at = 0.0
        self._me = psutil.Process()
        self._processes: dict[int, psutil.Process] = {self._me.pid: self._me}
        self._spent: dict[int, float] = {}
        self._cpu: tuple[float, float] | None = None
        self._nvidia = NvidiaSensor()
        self._amd = AmdSensor()

    def read(self, level: int | None = None) -> Sample:
        """Take one sample; `level` is noted in it."""
        unreadable: dict[str, str] = {}
        monotonic = time.monotonic()
        own_seconds, own_memory, own = self._own()
        busy, elapsed = self._busy()
        cpu = cpu_own = others = None
        if elapsed:
            cpu = min(1.0, busy / elapsed)
            cpu_own = min(1.0, own_seconds / elapsed)
            others = max(0.0, cpu - cpu_own)
        else:
            unreadable["cpu"] = "the first sample has none before it"
        rooms = memory_rooms()
        tightest = max(rooms, key=lambda room: room.used)
        pressure = memory_pressure()
        if pressure is None:
            unreadable["pressure"] = "this system keeps no memory pressure (Linux PSI)"
        charge, on_battery = _battery(unreadable)
        return Sample(
            at=time.time(),
            monotonic=monotonic,
            cpu=cpu,
            cpu_own=cpu_own,
            cpu_others=others,
            memory=tightest.used,
            memory_available=min(room.available for room in rooms),
            pressure=pressure,
            memory_warning=memory_warning(),
            own_memory=own_memory,
            battery=charge,
            on_battery=on_battery,
            gpus=self._cards(own, unreadable),
            level=level,
            unreadable=unreadable,
        )

    def close(self) -> None:
        """Let the drivers go. Safe to call twice."""
        self._nvidia.close()

    def _cards(self, own: Collection[int], unreadable: dict[str, str]) -> tuple[Gpu, ...]:
        cards = (*self._nvidia.read(own), *self._amd.read())
        if not cards:
            faults = (self._nvidia.fault, self._amd.fault)
            unreadable["gpu"] = "; ".join(fault for fault in faults if fault) or "no card"
        for card in cards:
            missing = [name for name in _OF_A_CARD if getattr(card, name) is None]
            if card.fault is not None:
                unreadable[f"gpu {card.index}"] = card.fault
            elif missing:
                told = ", ".join(missing)
                unreadable[f"gpu {card.index}"] = f"its driver does not tell: {told}"
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

    def _own(self) -> tuple[float, int | None, frozenset[int]]:
        """CPU seconds since the last time and resident bytes of this run, and its process ids."""
        pids = {self._me.pid, *descendants(self._me.pid)}
        for server in self._our_servers():
            pids |= {server, *descendants(server)}
        spent: dict[int, float] = {}
        seconds, memory, known = 0.0, 0, False
        for pid in pids:
            with suppress(psutil.Error):
                process = self._processes.get(pid) or psutil.Process(pid)
                self._processes[pid] = process
                with process.oneshot():
                    times = process.cpu_times()
                    memory += process.memory_info().rss
                known = True
                spent[pid] = times.user + times.system
                # Its whole life counts for a new one: it began since the last look.
                first = 0.0 if self._spent else spent[pid]
                seconds += max(0.0, spent[pid] - self._spent.get(pid, first))
        for gone in set(self._processes) - set(spent) - {self._me.pid}:
            del self._processes[gone]
        self._spent = spent
        return seconds, memory if known else None, frozenset(pids)

    def _our_servers(self) -> list[int]:
        if not self._own_servers:
            return []
        if time.monotonic() >= self._servers_at:
            self._servers_at = time.monotonic() + _SERVERS_EVERY
            self._servers = [
                process.pid
                for process in psutil.process_iter(["name"])
                if (process.info["name"] or "").removesuffix(".exe") in self._own_servers
            ]
        return self._servers


def _battery(unreadable: dict[str, str]) -> tuple[float | None, bool | None]:
    """Return the charge, 0 to 1, and whether the machine runs from it; why not, if not."""
    try:
        found = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    except (OSError, ValueError, RuntimeError, psutil.Error) as error:
        unreadable["battery"] = str(error) or type(error).__name__
        return None, None
    if found is None:
        unreadable["battery"] = "no battery"
        return None, None
    if found.power_plugged is None:
        unreadable["battery"] = "whether it is in use is not told"
        return found.percent / 100, None
    return found.percent / 100, not found.power_plugged


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
    with suppress(psutil.Error):
        yield from (child.pid for child in psutil.Process(pid).children(recursive=True))


def _children(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            yield from map(int, (task / "children").read_text().split())


def lower_priority() -> list[str]:
    """Lower this process's CPU and disk priority; children inherit both. Returns what was done.

    Somebody at the keyboard comes first. On Windows children do not inherit the class from a
    parent of normal priority, but they do from one below normal.
    """
    me, done = psutil.Process(), []
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
