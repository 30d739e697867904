"""A program of a person's within a time limit, which holds when who started it has ended.

    python limited.py SECONDS PROGRAM [ARGUMENT ...]

The end of a run does not wait for a notification, and what tells of that end may need longer than
the run has left. So another process keeps the time. It needs the standard library alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

#: Exit codes besides the program's own: its time was over; it could not be started.
ENDED, NOT_STARTED = 124, 126
#: Seconds from the request to end to the end.
GRACE = 5.0


def main(arguments: list[str]) -> int:
    """Run PROGRAM for at most SECONDS; return its exit code, 128 and more for a signal."""
    seconds, *command = arguments
    try:
        # A process group of its own, so that all of it can be ended, and nothing else.
        process = subprocess.Popen(command, start_new_session=sys.platform != "win32")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return NOT_STARTED
    try:
        code = process.wait(timeout=float(seconds))
    except subprocess.TimeoutExpired:
        _end(process)
        return ENDED
    return code if code >= 0 else 128 - code


def _end(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()
        process.wait()
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        # The second one also for what outlived the program in its group.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
