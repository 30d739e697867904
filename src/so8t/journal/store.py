"""The journal: every fact of a run, committed before anyone claims it.

"The database is the checkpoint": there is no other state to lose. One process writes (it holds
the lease); others read.
"""

from __future__ import annotations

import json
import time
import uuid
from array import array
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from so8t.domain.canonical import canonical_json, digest_of
from so8t.domain.events import EventKind
from so8t.domain.plan import Phase
from so8t.domain.sample import Sample
from so8t.errors import IncompleteError
from so8t.journal.answers import AnswerRows, request_key, system_now
from so8t.journal.migrations import RUN_COLUMNS
from so8t.journal.rows import (
    EventRecord,
    PhaseRecord,
    RowPlace,
    RunRecord,
    SampleHead,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    import apsw

    from so8t.domain.sample import Origin
    from so8t.journal.backup import Backup

__all__ = ["Journal", "request_key", "system_now"]


#: A sample as the text that is kept of it.
SAMPLE = TypeAdapter(Sample)
_RUN = ", ".join(RUN_COLUMNS)


def run_in(connection: apsw.Connection) -> RunRecord | None:
    """Read what a journal or a backup of one asks for; None where it holds no run yet."""
    row = connection.execute(f"SELECT {_RUN} FROM run").fetchone()  # noqa: S608 - our own names
    if row is None:
        return None
    run_id, name, created, version, config, config_digest = row
    asked = json.loads(config)
    for event in events_in(connection, EventKind.CONFIG_CHANGED)[-1:]:
        asked, config_digest = event.data["config"], digest_of(event.data["config"])
    return RunRecord(run_id, name, created, version, asked, config_digest)


def events_in(connection: apsw.Connection, kind: str | None = None) -> list[EventRecord]:
    """Read the events of a journal or a backup of one in order, of one kind or all."""
    return [
        EventRecord(seq, datetime.fromisoformat(at), found, json.loads(data))
        for seq, at, found, data in connection.execute(
            "SELECT seq, at, kind, data FROM event WHERE ? IN (kind, '') ORDER BY seq",
            (kind or "",),
        )
    ]


class Journal(AnswerRows):
    """One run's journal in its directory."""

    def __init__(
        self,
        directory: Path,
        *,
        readonly: bool = False,
        check: bool = True,
        now: Callable[[], datetime] = system_now,
        vfs: str | None = None,
        guard: Callable[[], None] | None = None,
    ) -> None:
        """Open the journal in `directory`, created if absent unless `readonly`.

        `check` compares it with its witness; who verifies all of it does that there. `guard` is
        asked before each commit, and raises where this process may not write any more.

        Raises JournalNewerError, JournalError (damage, missing rows), PrerequisiteError (none to
        read).
        """
        super().__init__(directory, readonly=readonly, check=check, now=now, vfs=vfs, guard=guard)

    # --- the run -------------------------------------------------------------------------------

    def create_run(self, name: str, config: dict[str, Any], version: str) -> None:
        """Record what was asked for. Done once; `run` gives it back."""
        at = self._now().isoformat()
        row = (uuid.uuid4().hex, name, at, version, canonical_json(config), digest_of(config))
        with self._transaction():
            self._connection.execute("INSERT INTO run VALUES (1, ?, ?, ?, ?, ?, ?)", row)
            # The row itself is no link of the chain; this one holds its digest.
            self._append(
                "event",
                at,
                time.monotonic(),
                EventKind.RUN_CREATED,
                canonical_json({"row": digest_of(row)}),
            )

    @property
    def run(self) -> RunRecord | None:
        """What is asked for, or None in a journal that holds no run yet."""
        return run_in(self._connection)

    def reconfigure(self, config: dict[str, Any], changed: Sequence[str]) -> None:
        """Record that `config` is asked for from now on, and the keys in which it differs."""
        self.event(EventKind.CONFIG_CHANGED, config=config, changed=list(changed))

    # --- events and phases ---------------------------------------------------------------------

    def event(self, kind: str, /, **data: Any) -> None:
        """Record that something happened."""
        with self._transaction():
            self._append(
                "event", self._now().isoformat(), time.monotonic(), kind, canonical_json(data)
            )

    def events(self, kind: str | None = None) -> list[EventRecord]:
        """Events in order, of one kind or all."""
        return events_in(self._connection, kind)

    def phase_step(
        self, phase: Phase, attempt: int, state: str, inputs: str, result: dict[str, Any]
    ) -> None:
        """Record that an attempt at a phase started, is done (with its result) or failed."""
        with self._transaction():
            self._append(
                "phase",
                self._now().isoformat(),
                phase.value,
                attempt,
                state,
                inputs,
                canonical_json(result),
            )
        if state == "done":
            self.secure()
        else:
            self.witness()

    def phases(self) -> list[PhaseRecord]:
        """All steps of all phases in order."""
        return [
            PhaseRecord(
                Phase(phase),
                attempt,
                state,
                datetime.fromisoformat(at),
                inputs,
                json.loads(result),
                seq,
            )
            for seq, phase, attempt, state, at, inputs, result in self._connection.execute(
                "SELECT seq, phase, attempt, state, at, inputs, result FROM phase ORDER BY seq"
            )
        ]

    def phase(self, phase: Phase) -> PhaseRecord | None:
        """Return the newest step of a phase, or None when it never started."""
        return next((step for step in reversed(self.phases()) if step.phase is phase), None)

    # --- samples and settings ------------------------------------------------------------------

    def freeze(self, samples: Iterable[Sample]) -> None:
        """Freeze the samples in the order of the run, all or none, once."""
        with self._transaction():
            for position, sample in enumerate(samples):
                body = SAMPLE.dump_json(sample).decode()
                self._append(
                    "sample",
                    position,
                    sample.id,
                    sample.task,
                    sample.category,
                    sample.origin.value,
                    sample.cluster,
                    sample.digest,
                    body,
                )
        self.witness()

    def sample_count(self, origins: Collection[Origin] | None = None) -> int:
        """How many samples are frozen (of some origins); 0 before phase 4 has planned."""
        if origins is None:
            return self._sample_count()
        marks = ", ".join("?" * len(origins))
        return int(self._one(f"SELECT count(*) FROM sample WHERE origin IN ({marks})", *origins))  # noqa: S608 - only marks

    def samples(self, start: int = 0, stop: int | None = None) -> Iterator[Sample]:
        """Yield the frozen samples from position `start` to `stop` (excluded)."""
        for (body,) in self._connection.execute(
            "SELECT body FROM sample WHERE position >= ? AND position < ? ORDER BY position",
            (start, self.sample_count() if stop is None else stop),
        ):
            yield SAMPLE.validate_json(body)

    def sample_id(self, position: int) -> str:
        """Return the id of the frozen sample at a position."""
        return str(self._one("SELECT id FROM sample WHERE position = ?", position))

    def sample_heads(self) -> Iterator[SampleHead]:
        """Yield what the frozen samples are called and where they belong, by position."""
        for row in self._connection.execute(
            "SELECT id, task, category, json_extract(body, '$.language'), cluster "
            "FROM sample ORDER BY position"
        ):
            yield SampleHead(*row)

    def positions_graded_by(self, grader: str, *, ordered_by: str) -> dict[str, array[int]]:
        """Return where the samples of a type of grader are, by task in the order of names.

        Those of a task are in the order of a field of the grader.
        """
        found: dict[str, array[int]] = {}
        for task, position in self._connection.execute(
            "SELECT task, position FROM sample WHERE json_extract(body, '$.grader.type') = ? "
            "ORDER BY task, json_extract(body, ?), position",
            (grader, f"$.grader.{ordered_by}"),
        ):
            found.setdefault(task, array("q")).append(position)
        return found

    def formed_positions(self, start: int, stop: int) -> Iterator[int]:
        """Yield the positions from `start` to `stop` (excluded) that ask for a form of answer."""
        for (position,) in self._connection.execute(
            "SELECT position FROM sample WHERE position >= ? AND position < ? "
            "AND json_extract(body, '$.form') IS NOT NULL ORDER BY position",
            (start, stop),
        ):
            yield position

    def sample_digests(self) -> Iterator[str]:
        """Yield the digests of the frozen samples as they were recorded, by position."""
        for (digest,) in self._connection.execute("SELECT digest FROM sample ORDER BY position"):
            yield digest

    def settings(self, body: dict[str, Any]) -> str:
        """Record a set of settings (model, engine, decoding) if it is new; return its digest."""
        digest = digest_of(body)
        if not self._one("SELECT count(*) FROM settings WHERE digest = ?", digest):
            with self._transaction():
                self._append("settings", digest, canonical_json(body))
        return digest

    def all_settings(self) -> dict[str, dict[str, Any]]:
        """All recorded settings by digest."""
        return {
            digest: json.loads(body)
            for digest, body in self._connection.execute("SELECT digest, body FROM settings")
        }

    def places(self) -> Iterator[RowPlace]:
        """Yield where each frozen sample belongs, by position: task, category and cluster."""
        for row in self._connection.execute(
            "SELECT task, category, cluster FROM sample ORDER BY position"
        ):
            yield RowPlace(*row)

    def resource_samples(self) -> list[tuple[float, dict[str, float]]]:
        """Return what the machine looked like: seconds since the epoch, and the known figures."""
        if not self._one("SELECT count(*) FROM sqlite_master WHERE name = 'resource_sample'"):
            return []  # an older journal, open for reading only
        return [
            (at, json.loads(data))
            for at, data in self._connection.execute(
                "SELECT at, data FROM resource_sample ORDER BY at"
            )
        ]

    # --- durability ----------------------------------------------------------------------------

    def secure(self) -> Backup | None:
        """Make what is committed survive damage to the file; a backup without room is recorded."""
        backup = super().secure()
        if backup is None:
            # On a full disk there may be no room for this row either; the next commit tells.
            with suppress(IncompleteError):
                self.event(EventKind.BACKUP_NOT_MADE, rows=self.head.seq)
        return backup

    def last_written(self, *, ignoring: Sequence[str] = ()) -> datetime | None:
        """When the newest row was committed; events of the kinds `ignoring` do not count."""
        newest = self._one(
            "SELECT max(at) FROM (SELECT max(at) AS at FROM event "
            "WHERE kind NOT IN (SELECT value FROM json_each(?)) UNION ALL "
            "SELECT max(at) FROM phase UNION ALL "
            "SELECT at FROM answer WHERE seq = (SELECT max(seq) FROM answer))",
            json.dumps(list(ignoring)),
        )
        return datetime.fromisoformat(newest) if newest else None
