"""What a run needs before it can go on after a boot: its disk, its engine, and the time."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from so8t.engines.registry import kind_of
from so8t.journal.chained import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from so8t.config.schema import RunConfig
    from so8t.pipeline.run.progress import StopRequest

#: A journal's newest row may be this much ahead of the clock: clocks are put right by seconds.
TOLERANCE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class WaitingLimits:
    """How long to wait, in seconds, and how often to look."""

    disk: float = 600.0
    engine: float = 300.0
    clock: float = 300.0
    look: float = 2.0


def disk_is_there(directory: Path) -> bool:
    """Whether a run's directory, with its journal, is there and can be written."""
    return (directory / FILE_NAME).is_file() and os.access(directory, os.W_OK)


def removed(directory: Path) -> bool:
    """Whether a run was deleted: its place is there, it is not.

    An empty place may be the mount point of a disk that is not there yet.
    """
    place = directory.parent
    return not directory.exists() and place.is_dir() and any(place.iterdir())


def engine_is_there(config: RunConfig) -> bool:
    """Whether the run's engine answers, or can be started by the run itself."""
    reachable = kind_of(config.engine).reachable
    return reachable is None or reachable(config.engine)


def clock_is_sane(now: datetime, last_written: datetime | None) -> bool:
    """Whether the clock is not before the newest row of the journal."""
    return last_written is None or now >= last_written - TOLERANCE


def wait_for(
    there: Callable[[], bool], seconds: float, stop: StopRequest, look: float = 2.0
) -> bool:
    """Wait until something is there; return whether it came in time.

    Raises Interrupted when a stop is asked for.
    """
    until = time.monotonic() + seconds
    while not there():
        stop.check()
        left = until - time.monotonic()
        if left <= 0:
            return False
        stop.wait(min(look, left))
    return True
