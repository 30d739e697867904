"""The command line in a process that notes every file of the journal opened without SQLite.

    python watched_run.py NOTES run so8t.yaml ...

Python tells an audit hook of each `open`, whoever calls it; SQLite opens its files without Python.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

JOURNAL = "journal.sqlite"


def watch(notes: Path) -> None:
    """Write down each plain opening of a journal, of its log or of its index, and from where."""

    def heard(event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str | bytes):
            return
        name = Path(os.fsdecode(arguments[0])).name
        if name.startswith(JOURNAL):
            frame, callers = sys._getframe(1), []
            while frame is not None:
                callers.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
                frame = frame.f_back
            with notes.open("a") as file:
                file.write(f"{name} from {' '.join(callers[:6])}\n")

    sys.addaudithook(heard)


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
    from so8t.cli import invoke

    sys.exit(invoke(sys.argv[2:]))
