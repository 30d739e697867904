"""The command to type next, for a run as it stands."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

from so8t.pipeline.run.registry import Registry
from so8t.report.html import FILE_NAME
from so8t.system.state import state_directory

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.pipeline.run.progress_state import RunProgress


def next_command(progress: RunProgress, directory: Path) -> str | None:
    """Return what goes on with the run in `directory`; None where nothing is left to do."""
    if progress.state == "running":
        return command_line("watch", str(directory))
    if progress.state != "complete":
        if not progress.run:
            return "so8t run CONFIG"  # nothing was recorded yet that could be gone on with
        registered = Registry(state_directory()).find(directory)
        origin = registered.origin if registered is not None else "all"
        return command_line(
            "run", str(directory), *(() if origin == "all" else ("--origin", origin))
        )
    # A question that is too long is as long the next time.
    if progress.failed > progress.unfit:
        return command_line("retry", str(directory))
    return None if (directory / FILE_NAME).exists() else command_line("report", str(directory))


def command_line(*words: str) -> str:
    """Write a command of ours as it is typed into this system's shell."""
    line = ["so8t", *words]
    return subprocess.list2cmdline(line) if sys.platform == "win32" else shlex.join(line)
