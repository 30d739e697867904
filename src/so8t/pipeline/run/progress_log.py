"""A run's log of its progress, every 30 minutes: JSON lines and Markdown in the run's directory.

All of it is made from the journal, so none of it can be lost: a file that was damaged or removed
is written again at the next entry.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Self

from so8t.errors import SO8TError
from so8t.journal.store import Journal, system_now
from so8t.pipeline.run.progress_state import read_progress
from so8t.pipeline.run.progress_text import checklist, log_table
from so8t.system.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from so8t.pipeline.run.progress import ProgressWords
    from so8t.pipeline.run.progress_state import RunProgress

LOG = "progress.jsonl"
TABLE = "progress.md"
CHECKLIST = "checklist.md"
EVERY = 1800.0


class ProgressLog:
    """Writes the log of the run in a directory; use as a context manager for the entries by time.

    `failed` is called, from any thread, with what could not be written and why.
    """

    def __init__(
        self,
        directory: Path,
        words: ProgressWords,
        failed: Callable[[str], None],
        *,
        every: float = EVERY,
    ) -> None:
        self._directory, self._words, self._failed = directory, words, failed
        self._every = every
        self._wake = threading.Event()
        self._ending = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="progress-log", daemon=True)

    def request(self) -> None:
        """Ask for an entry soon; returns at once."""
        self._wake.set()

    def entry(self, *, held: bool = True) -> None:
        """Write an entry now, from the journal as it is committed."""
        try:
            # The witness is the writer's own, which may be replacing it at this moment.
            with self._lock, Journal(self._directory, readonly=True, check=False) as journal:
                self._write(read_progress(journal, held=held))
        except (OSError, SO8TError) as error:
            # The run matters more than its log; the journal, which it is made from, has it all.
            self._failed(str(error))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ending = True
        self._wake.set()
        self._thread.join()

    def _work(self) -> None:
        while True:
            self._wake.wait(self._every)
            self._wake.clear()
            if self._ending:
                return
            self.entry()

    def _write(self, progress: RunProgress) -> None:
        entries = read_log(self._directory)
        at = system_now().astimezone().isoformat(timespec="seconds")
        entries.append({"at": at} | progress.plain())
        lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
        write_atomic(self._directory / LOG, lines)
        write_atomic(self._directory / TABLE, log_table(entries, self._words))
        write_atomic(self._directory / CHECKLIST, checklist(progress, self._words))


def read_log(directory: Path) -> list[dict[str, Any]]:
    """Return the entries of a run's log; a line that cannot be read is left out."""
    try:
        text = (directory / LOG).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    entries = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and {"at", "phases", "answers"} <= entry.keys():
            entries.append(entry)
    return entries
