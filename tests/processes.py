"""What tests ask of processes that they started."""

from __future__ import annotations

import time

import psutil


def alive(pid: int) -> bool:
    """Whether the process is at work; a zombie is at its end."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(pid: int, within: float = 5.0) -> bool:
    """Whether the process ended in time."""
    until = time.monotonic() + within
    while alive(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
