"""How much memory there really is for us: the machine's, or the container's if that is less."""

from __future__ import annotations

from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that new allocations can take before the system swaps or kills.

    psutil shows the host's memory inside a container, so the limits along the cgroup ancestry
    (v2, and v1's memory controller) are taken into account.
    """
    return min([psutil.virtual_memory().available, *_cgroup_room(Path("/proc/self/cgroup"))])


def _cgroup_room(membership: Path, root: Path = _CGROUP) -> list[int]:
    if not membership.exists():
        return []
    room: list[int] = []
    for line in membership.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, limit, usage = root, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            base, limit, usage = (
                root / "memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            )
        else:
            continue
        group = base / path.lstrip("/")
        for directory in (group, *group.parents):
            if not directory.is_relative_to(base):
                break
            most, used = _number(directory / limit), _number(directory / usage)
            if most is not None and used is not None:
                room.append(max(0, most - used))
    return room


def _number(path: Path) -> int | None:
    """Read a cgroup file's number; None where there is none, or no limit ("max")."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
