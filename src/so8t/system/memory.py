"""How much memory there really is for us: the machine's, or the container's if that is less."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from so8t.system.attempt import reading

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUP_ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
_PRESSURE = Path("/proc/pressure/memory")
_VMSTAT = Path("/proc/vmstat")
# What says that a kernel keeps no such figure, or not for us. Any other error is a reading that
# failed, and a limit that could not be read must not pass for none.
_NOT_KEPT = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EACCES,
    errno.EPERM,
    errno.EOPNOTSUPP,
    errno.ENODEV,
    errno.EINVAL,
}


@dataclass(frozen=True, slots=True)
class Room:
    """One bound on memory: bytes in all, and bytes that new allocations can take."""

    total: int
    available: int

    @property
    def used(self) -> float:
        """Share in use, 0 to 1."""
        return 1.0 - self.available / self.total if self.total else 1.0


def available_memory() -> int | None:
    """Bytes that new allocations can take before the system swaps or kills; None when unknown."""
    rooms = reading(memory_rooms)
    return None if rooms is None else min(room.available for room in rooms)


def resident_memory(pid: int | None = None) -> int | None:
    """Bytes of a process that are in memory, by default of this one; None where it is not told."""
    return reading(lambda: int(psutil.Process(pid).memory_info().rss))


def memory_rooms(membership: Path = MEMBERSHIP, root: Path = CGROUP_ROOT) -> list[Room]:
    """Every bound that holds for this process: the machine, then its control groups.

    psutil shows the host's memory inside a container, so the limits along the cgroup ancestry
    (v2, and v1's memory controller) are taken into account. Each bound leaves out what the kernel
    can take back at once: file pages that no process has mapped. The pages of a mapped model
    count as used, since without them every token would wait for the disk.

    Raises OSError or ValueError where a bound that is there cannot be read.
    """
    machine = psutil.virtual_memory()
    return [Room(machine.total, machine.available), *_cgroup_rooms(membership, root)]


def memory_pressure(membership: Path = MEMBERSHIP, root: Path = CGROUP_ROOT) -> float | None:
    """Share of the last ten seconds in which some process waited for memory (PSI, "some").

    The larger of the machine's and that of the own control group (v2). None where the kernel
    keeps none. Raises OSError or ValueError where it keeps one that cannot be read.
    """
    files = [_PRESSURE]
    for version, group in _groups(membership, root):
        if version == 2:  # noqa: PLR2004 - the version of the interface
            files.append(group / "memory.pressure")
            break
    found = [share for share in map(_pressure, files) if share is not None]
    return max(found, default=None)


def kills_for_memory(
    membership: Path = MEMBERSHIP, root: Path = CGROUP_ROOT, vmstat: Path = _VMSTAT
) -> int | None:
    """How many processes the kernel has killed for memory, here or on the machine, so far.

    A number that grew around a child's death tells why it died. None where nothing counts them,
    or the count cannot be read.
    """
    return reading(lambda: _kills(membership, root, vmstat))


def _kills(membership: Path, root: Path, vmstat: Path) -> int | None:
    counts = [_field(vmstat, "oom_kill")]
    for _, group in _groups(membership, root):
        counts += [
            _field(group / name, "oom_kill") for name in ("memory.events", "memory.oom_control")
        ]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _cgroup_rooms(membership: Path, root: Path) -> Iterator[Room]:
    for version, group in _groups(membership, root):
        if version == 2:  # noqa: PLR2004 - the version of the interface
            # Above memory.high the kernel slows a process down to a crawl: it is a limit to us.
            limits = [_number(group / "memory.max"), _number(group / "memory.high")]
            used = _number(group / "memory.current")
            names = ("inactive_file", "active_file", "file_mapped")
        else:
            limits = [_number(group / "memory.limit_in_bytes")]
            used = _number(group / "memory.usage_in_bytes")
            names = ("total_inactive_file", "total_active_file", "total_mapped_file")
        known = [limit for limit in limits if limit is not None]
        if not known or used is None:
            continue
        inactive, active, mapped = (_field(group / "memory.stat", name) or 0 for name in names)
        taken = max(0, used - max(0, inactive + active - mapped))
        yield Room(min(known), max(0, min(known) - taken))


def _groups(membership: Path, root: Path) -> Iterator[tuple[int, Path]]:
    """Yield the control groups that account this process's memory, from the own one upwards."""
    for line in (_read(membership) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            version, base = 2, root
        elif "memory" in controllers.split(","):
            version, base = 1, root / "memory"
        else:
            continue
        group = base / path.lstrip("/")
        for directory in (group, *group.parents):
            if not directory.is_relative_to(base):
                break
            yield version, directory


def _pressure(path: Path) -> float | None:
    text = _read(path)
    if text is None:
        return None
    for line in text.splitlines():
        kind, *values = line.split()
        if kind == "some":
            for value in values:
                name, _, number = value.partition("=")
                if name == "avg10":
                    return float(number) / 100
    return None


def _field(path: Path, name: str) -> int | None:
    """Read one number of a file with lines of "name number"."""
    text = _read(path)
    if text is None:
        return None
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return None


def _number(path: Path) -> int | None:
    """Read a cgroup file's number; None where there is none, or no limit ("max")."""
    text = _read(path)
    if text is None:
        return None
    text = text.strip()
    # v1 writes "no limit" as the largest multiple of a page below 2**63.
    return int(text) if text.isdigit() and int(text) < 1 << 62 else None


def _read(path: Path) -> str | None:
    """Read a file of the kernel's; None where there is none for us."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        if error.errno in _NOT_KEPT:
            return None
        raise
