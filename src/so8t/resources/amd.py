"""AMD cards through `amd-smi metric --json`."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from typing import Any

from so8t.resources.readings import Gpu

# amd-smi is a program of its own, which costs a good part of a second of CPU at each start.
_EVERY = 60.0
_TIMEOUT = 30.0
_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


class AmdSensor:
    """Asks `amd-smi` now and then; what it said last stands in between."""

    def __init__(self) -> None:
        #: Why there is no card, where nothing failed.
        self.absent: str | None = None
        self._at = 0.0
        self._cards: tuple[Gpu, ...] = ()

    def read(self) -> tuple[Gpu, ...]:
        """Return every card. Without any, `absent` says why.

        Raises OSError, SubprocessError or ValueError where `amd-smi` fails.
        """
        if time.monotonic() < self._at:
            return self._cards
        self._cards = ()
        program = shutil.which("amd-smi")
        if program is None:
            self.absent = "no amd-smi"
        else:
            answer = subprocess.run(
                [program, "metric", "--json"],
                capture_output=True,
                text=True,
                errors="replace",
                check=True,
                timeout=_TIMEOUT,
            )
            self._cards = parse(json.loads(answer.stdout))
            self.absent = None if self._cards else "amd-smi names no card"
        self._at = time.monotonic() + _EVERY
        return self._cards


def parse(said: Any) -> tuple[Gpu, ...]:
    """Read the JSON of `amd-smi metric`; "N/A" and what is missing become None."""
    listed = said.get("gpu_data", []) if isinstance(said, dict) else said
    if not isinstance(listed, list):
        return ()
    cards = []
    for place, card in enumerate(listed):
        if not isinstance(card, dict):
            continue
        load = _number(card, "usage", "gfx_activity")
        heat = [_number(card, "temperature", where) for where in ("hotspot", "edge")]
        index = card.get("gpu")
        cards.append(
            Gpu(
                index if isinstance(index, int) else place,
                name="AMD",
                utilization=None if load is None else load / 100,
                memory_used=_bytes(card, "used_vram"),
                memory_total=_bytes(card, "total_vram"),
                temperature=next((value for value in heat if value is not None), None),
                power=_number(card, "power", "socket_power"),
            )
        )
    return tuple(cards)


def _field(card: dict[str, Any], group: str, name: str) -> Any:
    found = card.get(group)
    return found.get(name) if isinstance(found, dict) else None


def _number(card: dict[str, Any], group: str, name: str) -> float | None:
    found = _field(card, group, name)
    value = found.get("value") if isinstance(found, dict) else found
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _bytes(card: dict[str, Any], name: str) -> int | None:
    value = _number(card, "mem_usage", name)
    found = _field(card, "mem_usage", name)
    unit = found.get("unit") if isinstance(found, dict) else "MB"
    if value is None or unit not in _UNITS:
        return None
    return round(value * _UNITS[unit])
