"""The journal: every fact of a run, committed before anyone claims it.

"The database is the checkpoint": there is no other state to lose. One process writes (it holds
the lease); others read.
"""

from __future__ import annotations

import json
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import apsw
from pydantic import TypeAdapter

from so8t.domain.canonical import canonical_json, digest_of
from so8t.domain.exchange import Arm, EngineReply, Status
from so8t.domain.plan import Phase
from so8t.domain.sample import Grade, Sample, Score
from so8t.errors import IncompleteError, JournalError
from so8t.journal.chain import check_witness, link, read_head, verify_chain, write_witness
from so8t.journal.connect import connect
from so8t.journal.migrations import CHAINED
from so8t.journal.rows import (
    AnswerRecord,
    EventRecord,
    GradedReply,
    PhaseRecord,
    Place,
    RunRecord,
    Standing,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from so8t.journal.chain import Head

FILE_NAME = "journal.sqlite"
_SAMPLE = TypeAdapter(Sample)
_WITNESS_EVERY = 256
_RUN = "run_id, name, created, version, config, config_digest"
_STORAGE_FAILED = (apsw.IOError, apsw.ReadOnlyError, apsw.CantOpenError, apsw.CorruptError)

_INSERT = {
    table: f"INSERT INTO {table} ({', '.join(columns)}, chain) "  # noqa: S608 - our own names
    f"VALUES ({', '.join('?' * (len(columns) + 1))})"
    for table, columns in CHAINED.items()
}

_NEWEST = """
SELECT a.seq, a.at, a.arm, a.position, a.repeat, a.status, a.text, a.reason, a.prompt_tokens,
       a.completion_tokens, a.seconds, a.settings, s.grade, s.value, s.reason, s.grader,
       (SELECT count(*) FROM answer c
         WHERE c.arm = a.arm AND c.repeat = a.repeat AND c.position = a.position),
       a.reused_from
  FROM answer a
  LEFT JOIN score s ON s.seq = (SELECT max(seq) FROM score WHERE answer = a.seq)
 WHERE a.seq = (SELECT max(b.seq) FROM answer b
                 WHERE b.arm = a.arm AND b.repeat = a.repeat AND b.position = a.position)
"""


def system_now() -> datetime:
    """Wall clock in UTC: the default of every `now` argument at the edge."""
    return datetime.now(UTC)


class Journal:
    """One run's journal in its directory."""

    def __init__(
        self,
        directory: Path,
        *,
        readonly: bool = False,
        now: Callable[[], datetime] = system_now,
        vfs: str | None = None,
    ) -> None:
        """Open the journal in `directory`, created if absent unless `readonly`.

        Raises JournalNewerError, JournalError (damage, missing rows), PrerequisiteError (none to
        read).
        """
        self.directory = directory
        self.path = directory / FILE_NAME
        self._witness = directory / "journal.witness"
        self._now = now
        self._readonly = readonly
        if not readonly:
            directory.mkdir(parents=True, exist_ok=True)
        self._connection = connect(self.path, readonly=readonly, vfs=vfs)
        self._inode = self.path.stat().st_ino
        self._broken: str | None = None
        try:
            check_witness(self._witness, self._connection)
        except JournalError:
            self._connection.close()
            raise
        self._head = read_head(self._connection)
        self._witnessed = self._head.seq

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
                "run_created",
                canonical_json({"row": digest_of(row)}),
            )

    @property
    def run(self) -> RunRecord | None:
        """What was asked for, or None in a journal that holds no run yet."""
        row = self._connection.execute(f"SELECT {_RUN} FROM run").fetchone()  # noqa: S608 - our own names
        if row is None:
            return None
        run_id, name, created, version, config, config_digest = row
        return RunRecord(run_id, name, created, version, json.loads(config), config_digest)

    # --- events and phases ---------------------------------------------------------------------

    def event(self, kind: str, /, **data: Any) -> None:
        """Record that something happened."""
        with self._transaction():
            self._append(
                "event", self._now().isoformat(), time.monotonic(), kind, canonical_json(data)
            )

    def events(self, kind: str | None = None) -> list[EventRecord]:
        """Events in order, of one kind or all."""
        return [
            EventRecord(seq, datetime.fromisoformat(at), found, json.loads(data))
            for seq, at, found, data in self._connection.execute(
                "SELECT seq, at, kind, data FROM event WHERE ? IN (kind, '') ORDER BY seq",
                (kind or "",),
            )
        ]

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
        self.witness()

    def phases(self) -> list[PhaseRecord]:
        """All steps of all phases in order."""
        return [
            PhaseRecord(
                Phase(phase), attempt, state, datetime.fromisoformat(at), inputs, json.loads(result)
            )
            for phase, attempt, state, at, inputs, result in self._connection.execute(
                "SELECT phase, attempt, state, at, inputs, result FROM phase ORDER BY seq"
            )
        ]

    def phase(self, phase: Phase) -> PhaseRecord | None:
        """Return the newest step of a phase, or None when it never started."""
        return next((step for step in reversed(self.phases()) if step.phase is phase), None)

    # --- samples and settings ------------------------------------------------------------------

    def freeze(self, samples: Sequence[Sample]) -> None:
        """Freeze the samples in the order of the run, all or none, once."""
        with self._transaction():
            for position, sample in enumerate(samples):
                body = _SAMPLE.dump_json(sample).decode()
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

    def sample_count(self) -> int:
        """How many samples are frozen; 0 before phase 4 has planned."""
        return int(self._one("SELECT count(*) FROM sample"))

    def samples(self, start: int = 0, stop: int | None = None) -> Iterator[Sample]:
        """Yield the frozen samples from position `start` to `stop` (excluded)."""
        for (body,) in self._connection.execute(
            "SELECT body FROM sample WHERE position >= ? AND position < ? ORDER BY position",
            (start, self.sample_count() if stop is None else stop),
        ):
            yield _SAMPLE.validate_json(body)

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

    # --- answers -------------------------------------------------------------------------------

    def record(self, replies: Sequence[GradedReply]) -> None:
        """Commit answers with their scores, all or none; on return they survive a power cut.

        Raises JournalError for a second answer where one counts already.
        """
        at = self._now().isoformat()
        try:
            with self._transaction():
                for graded in replies:
                    self._append_answer(graded, at)
        except apsw.ConstraintError as error:
            raise JournalError(f"an answer was to be recorded twice: {error}") from error
        if self._head.seq - self._witnessed >= _WITNESS_EVERY:
            self.witness()

    def _append_answer(self, graded: GradedReply, at: str) -> None:
        reply = graded.reply
        answer = self._append(
            "answer",
            at,
            graded.arm.value,
            graded.position,
            graded.repeat,
            reply.status.value,
            reply.text,
            reply.reason,
            reply.prompt_tokens,
            reply.completion_tokens,
            reply.seconds,
            graded.settings,
            graded.reused_from,
        )
        if graded.score is not None:
            score = graded.score
            self._append(
                "score", answer, graded.grader or "", score.grade.value, score.value, score.reason
            )

    def open_positions(
        self, arm: Arm, start: int, stop: int, *, repeat: int = 0, failed: bool = False
    ) -> list[int]:
        """Positions from `start` to `stop` (excluded) that have no answer yet, in order.

        With `failed`, positions whose only answers are failures count as open too.
        """
        rows = self._connection.execute(
            """
            SELECT position FROM sample s
             WHERE position >= :start AND position < :stop AND NOT EXISTS (
                 SELECT 1 FROM answer a
                  WHERE a.arm = :arm AND a.repeat = :repeat AND a.position = s.position
                    AND (a.status <> 'failed' OR NOT :failed))
             ORDER BY position
            """,
            {
                "arm": arm.value,
                "repeat": repeat,
                "start": start,
                "stop": stop,
                "failed": failed,
            },
        )
        return [position for (position,) in rows]

    def answers(
        self, arm: Arm | None = None, *, repeat: int | None = 0, stop: int | None = None
    ) -> Iterator[AnswerRecord]:
        """Yield the answers as they stand in the order of positions, of one arm or both.

        `stop` ends before that position.
        """
        where = (
            " AND ? IN (a.arm, '') AND ? IN (a.repeat, -1) AND a.position < ?"
            " ORDER BY a.position, a.arm, a.repeat"
        )
        last = self.sample_count() if stop is None else stop
        for row in self._connection.execute(
            _NEWEST + where, (arm.value if arm else "", -1 if repeat is None else repeat, last)
        ):
            yield _answer_record(row)

    def standings(self, arm: Arm) -> Iterator[Standing]:
        """Yield how each answered question stands with an arm, without texts, by position."""
        # SQLite takes the bare columns beside max() from the row that has the maximum.
        for position, status, grade, value in self._connection.execute(
            """
            WITH newest AS (
                SELECT position, status, max(seq) AS seq FROM answer
                 WHERE arm = ? AND repeat = 0 GROUP BY position)
            SELECT n.position, n.status, s.grade, s.value FROM newest n
              LEFT JOIN score s ON s.seq = (SELECT max(seq) FROM score WHERE answer = n.seq)
             ORDER BY n.position
            """,
            (arm.value,),
        ):
            yield Standing(position, Status(status), Grade(grade) if grade else None, value)

    def places(self) -> list[Place]:
        """Where each frozen sample belongs, by position: task, category and cluster."""
        return [
            Place(*row)
            for row in self._connection.execute(
                "SELECT task, category, cluster FROM sample ORDER BY position"
            )
        ]

    def answer_counts(self) -> dict[tuple[Arm, Status], int]:
        """How many answers stand, by arm and status (first answers only, without repeats)."""
        counts: dict[tuple[Arm, Status], int] = {}
        for arm, status, count in self._connection.execute(
            """
            SELECT arm, status, count(*) FROM answer a
             WHERE repeat = 0 AND seq = (SELECT max(seq) FROM answer b WHERE b.arm = a.arm
                                            AND b.repeat = 0 AND b.position = a.position)
             GROUP BY arm, status
            """
        ):
            counts[Arm(arm), Status(status)] = count
        return counts

    def answers_under_other_settings(self, arm: Arm, settings: str) -> int:
        """How many answers of an arm were given under other settings than these."""
        return int(
            self._one(
                "SELECT count(*) FROM answer "
                "WHERE arm = ? AND settings <> ? AND status <> 'failed'",
                arm.value,
                settings,
            )
        )

    # --- durability ----------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether the journal can still be written (no failed fsync, no vanished file)."""
        return self._broken is None

    def last_written(self) -> datetime | None:
        """When the newest answer, phase step or event was committed."""
        newest = self._one(
            "SELECT max(at) FROM (SELECT max(at) AS at FROM event UNION ALL "
            "SELECT max(at) FROM phase UNION ALL "
            "SELECT at FROM answer WHERE seq = (SELECT max(seq) FROM answer))"
        )
        return datetime.fromisoformat(newest) if newest else None

    @property
    def head(self) -> Head:
        """The newest link of the chain."""
        return read_head(self._connection)

    def verify(self) -> Head:
        """Recompute the whole chain. Raises JournalError naming the first row that is wrong."""
        head = verify_chain(self._connection)
        row = self._connection.execute(f"SELECT {_RUN} FROM run").fetchone()  # noqa: S608 - our own names
        created = [event.data["row"] for event in self.events("run_created")]
        if created != ([digest_of(row)] if row else []):
            raise JournalError(
                "the run's own record (its config) was changed after it was written."
            )
        return head

    def witness(self) -> None:
        """Write count and head of the chain outside the database, and shorten the WAL."""
        if self._head.seq != self._witnessed:
            write_witness(self._witness, self._head)
            self._witnessed = self._head.seq
        self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def close(self) -> None:
        """Close the file; a writer leaves a witness and an empty WAL. Safe to call twice."""
        if not self._readonly and self._broken is None and self._is_open():
            self.witness()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _is_open(self) -> bool:
        try:
            self._connection.db_filename("main")
        except apsw.ConnectionClosedError:
            return False
        return True

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One commit. On any failure nothing of it is kept, and the head is as before."""
        self._check_usable()
        before = self._head
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute(
                "INSERT INTO head VALUES (1, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, chain = excluded.chain",
                (self._head.seq, self._head.chain),
            )
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._head = before
            self._undo(error)
            raise

    def _undo(self, error: BaseException) -> None:
        """Roll back, and say what a storage error means. Raises the error that explains it."""
        if isinstance(error, _STORAGE_FAILED):
            # After a failed fsync nobody knows what is on the disk: this handle is not used again.
            self._broken = str(error)
            raise JournalError(
                f"{self.path} could not be written: {error}. Nothing was claimed that is not kept.",
                hint="check the disk, then run the same command again",
            ) from error
        # SQLite rolls back by itself on some errors, a full disk among them.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if isinstance(error, apsw.FullError):
            raise IncompleteError(
                f"the disk that holds {self.path} is full. Everything committed is kept.",
                hint="make room, then run the same command again",
            ) from error

    def _check_usable(self) -> None:
        if self._broken is not None:
            raise JournalError(f"{self.path} failed before ({self._broken}) and is not used again.")
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            inode = None
        if inode != self._inode:
            # SQLite would go on acknowledging commits to a file that nobody can open any more.
            self._broken = "the file was removed or replaced"
            raise JournalError(
                f"{self.path} was removed or replaced while the run was writing to it.",
                hint="put the directory back, or start the run again from the beginning",
            )

    def _append(self, table: str, *values: Any) -> int:
        seq = self._head.seq + 1
        chain = link(self._head.chain, table, (seq, *values))
        self._connection.execute(_INSERT[table], (seq, *values, chain))
        self._head = type(self._head)(seq, chain)
        return seq

    def _one(self, query: str, *arguments: Any) -> Any:
        row = self._connection.execute(query, arguments).fetchone()
        return row[0] if row else None


def _answer_record(row: tuple[Any, ...]) -> AnswerRecord:
    arm, position, repeat = Arm(row[2]), row[3], row[4]
    grade = row[12]
    return AnswerRecord(
        seq=row[0],
        at=datetime.fromisoformat(row[1]),
        arm=arm,
        position=position,
        repeat=repeat,
        reply=EngineReply(
            key=request_key(arm, position, repeat),
            status=Status(row[5]),
            text=row[6],
            reason=row[7],
            prompt_tokens=row[8],
            completion_tokens=row[9],
            seconds=row[10],
        ),
        settings=row[11],
        score=Score(Grade(grade), row[13], row[14]) if grade else None,
        grader=row[15],
        attempts=row[16],
        reused_from=row[17],
    )


def request_key(arm: Arm, position: int, repeat: int) -> str:
    """Name one question to one model within a run."""
    return f"{arm.value}/{position}/{repeat}"
