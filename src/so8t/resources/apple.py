"""macOS: how the kernel itself judges its memory."""

from __future__ import annotations

import subprocess
import sys

_SYSCTL = ("/usr/sbin/sysctl", "-n", "kern.memorystatus_vm_pressure_level")
_WORDS = {"1": "normal", "2": "warning", "4": "critical"}
_TIMEOUT = 10.0


def memory_warning() -> str | None:
    """Return "normal", "warning" or "critical"; None elsewhere, and for a level without a name.

    Raises OSError or SubprocessError where the kernel cannot be asked.
    """
    if sys.platform != "darwin":
        return None
    answer = subprocess.run(_SYSCTL, capture_output=True, text=True, check=True, timeout=_TIMEOUT)
    return read_level(answer.stdout)


def read_level(said: str) -> str | None:
    """Name the kernel's pressure level (1, 2 or 4); None for anything else."""
    return _WORDS.get(said.strip())
