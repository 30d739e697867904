"""What the machine looked like during a run: beside the chain, and thinned after a day.

The thread that watches the machine has a connection of its own, so that it never waits for an
answer nor an answer for it. These rows support no claim of the report; they explain its course.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

import apsw

from so8t.journal.chained import FILE_NAME
from so8t.journal.connect import connect, is_open

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_TOGETHER = 12
_DAY = 86_400.0
_COARSE = 300.0
_THIN_EVERY = 3600.0


class ResourceHistory:
    """The resource samples of one run."""

    def __init__(self, directory: Path) -> None:
        """Open the history in a run's directory, whose journal is there already."""
        self._connection = connect(directory / FILE_NAME, readonly=False, vfs=None)
        # Thinning reads before it writes. Begun as a reader it would be refused at once where an
        # answer is committed in between, and no waiting helps (SQLITE_BUSY_SNAPSHOT).
        self._connection.transaction_mode = "IMMEDIATE"
        self._waiting: list[tuple[float, float, str]] = []
        self._thin_at = 0.0

    def add(self, at: float, seconds: float, sample: Mapping[str, Any]) -> None:
        """Keep a sample taken `at` (seconds since the epoch) that stands for `seconds`.

        Twelve share a commit: what a power cut can take is a minute of figures. While another
        writer holds the file they wait for the next commit.
        """
        self._waiting.append((at, seconds, json.dumps(sample)))
        if len(self._waiting) >= _TOGETHER:
            self.write()

    def write(self) -> None:
        """Commit what waits, and thin what is older than a day.

        What another writer is in the way of is done with a later call: nothing here can fail
        because of answers that are being recorded.
        """
        if not self._waiting:
            return
        newest = self._waiting[-1][0]
        try:
            with self._connection:
                self._connection.executemany(
                    "INSERT OR REPLACE INTO resource_sample VALUES (?, ?, ?)", self._waiting
                )
        except apsw.BusyError:
            return
        self._waiting.clear()
        if newest < self._thin_at:
            return
        try:
            self.thin(newest - _DAY)
        except apsw.BusyError:
            return
        self._thin_at = newest + _THIN_EVERY

    def thin(self, before: float) -> None:
        """Put samples from before `before` together, five minutes to one: their means.

        Whole five minutes only, so that none is put together in two parts.

        Raises apsw.BusyError while another writer holds the file.
        """
        before -= before % _COARSE
        with self._connection:
            rows = list(
                self._connection.execute(
                    "SELECT at, seconds, data FROM resource_sample WHERE at < ? AND seconds < ? "
                    "ORDER BY at",
                    (before, _COARSE),
                )
            )
            bins: dict[float, list[tuple[float, float, dict[str, Any]]]] = {}
            for at, seconds, data in rows:
                bins.setdefault(at // _COARSE, []).append((at, seconds, json.loads(data)))
            self._connection.execute(
                "DELETE FROM resource_sample WHERE at < ? AND seconds < ?", (before, _COARSE)
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO resource_sample VALUES (?, ?, ?)",
                [
                    (mine[0][0], _COARSE, json.dumps(_mean([data for _, _, data in mine])))
                    for mine in bins.values()
                ],
            )

    def close(self) -> None:
        """Commit what waits and close. Safe to call twice."""
        if is_open(self._connection):
            self.write()
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _mean(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean of each figure over the samples that know it; a lower level counts, not its mean."""
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for sample in samples for name in sample):
        known = [sample[name] for sample in samples if isinstance(sample.get(name), int | float)]
        if known:
            merged[name] = min(known) if name == "level" else sum(known) / len(known)
    return merged
