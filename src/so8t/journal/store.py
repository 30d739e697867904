"""The journal: every fact of a run, committed before anyone claims it.

"The database is the checkpoint": there is no other state to lose. One process writes (it holds
the lease); others read.
"""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import apsw
from pydantic import TypeAdapter

from so8t.domain.canonical import canonical_json, digest_of
from so8t.domain.exchange import Arm, EngineReply, Status
from so8t.domain.plan import Phase
from so8t.domain.sample import Grade, Sample, Score
from so8t.errors import JournalError
from so8t.journal.chained import ChainedFile
from so8t.journal.rows import (
    AnswerRecord,
    AnswerTotal,
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

_SAMPLE = TypeAdapter(Sample)
_RUN = "run_id, name, created, version, config, config_digest"

_NEWEST = """
SELECT a.seq, a.at, a.arm, a.position, a.repeat, a.status, a.text, a.reason, a.prompt_tokens,
       a.completion_tokens, a.seconds, a.settings, s.grade, s.value, s.reason, s.grader,
       (SELECT count(*) FROM answer c
         WHERE c.arm = a.arm AND c.repeat = a.repeat AND c.position = a.position),
       a.reused_from, s.valid
  FROM answer a
  LEFT JOIN score s ON s.seq = (SELECT max(seq) FROM score WHERE answer = a.seq)
 WHERE a.seq = (SELECT max(b.seq) FROM answer b
                 WHERE b.arm = a.arm AND b.repeat = a.repeat AND b.position = a.position)
"""


def system_now() -> datetime:
    """Wall clock in UTC: the default of every `now` argument at the edge."""
    return datetime.now(UTC)


class Journal(ChainedFile):
    """One run's journal in its directory."""

    def __init__(
        self,
        directory: Path,
        *,
        readonly: bool = False,
        check: bool = True,
        now: Callable[[], datetime] = system_now,
        vfs: str | None = None,
    ) -> None:
        """Open the journal in `directory`, created if absent unless `readonly`.

        `check` compares it with its witness; who verifies all of it does that there.

        Raises JournalNewerError, JournalError (damage, missing rows), PrerequisiteError (none to
        read).
        """
        super().__init__(directory, readonly=readonly, check=check, vfs=vfs)
        self._now = now

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
        self._witness_now_and_then()

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
                "score",
                answer,
                graded.grader or "",
                score.grade.value,
                score.value,
                score.reason,
                int(score.valid),
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
        for position, status, grade, value, valid in self._connection.execute(
            """
            WITH newest AS (
                SELECT position, status, max(seq) AS seq FROM answer
                 WHERE arm = ? AND repeat = 0 GROUP BY position)
            SELECT n.position, n.status, s.grade, s.value, s.valid FROM newest n
              LEFT JOIN score s ON s.seq = (SELECT max(seq) FROM score WHERE answer = n.seq)
             ORDER BY n.position
            """,
            (arm.value,),
        ):
            found = Grade(grade) if grade else None
            yield Standing(position, Status(status), found, value, valid != 0)

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

    def answer_totals(self, after: int = 0) -> list[AnswerTotal]:
        """Sum up the answers recorded after row `after`, by arm, repeat, status and origin."""
        return [
            AnswerTotal(Arm(arm), repeat, Status(status), bool(reused), *sums)
            for arm, repeat, status, reused, *sums in self._connection.execute(
                """
                SELECT arm, repeat, status, reused_from IS NOT NULL, count(*),
                       sum(prompt_tokens), sum(completion_tokens), sum(seconds), max(seq)
                  FROM answer WHERE seq > ? GROUP BY 1, 2, 3, 4
                """,
                (after,),
            )
        ]

    def only_failed(self) -> int:
        """How many first questions have failures for answers and nothing else."""
        return int(
            self._one(
                """
                SELECT count(DISTINCT arm || position) FROM answer f
                 WHERE status = 'failed' AND repeat = 0 AND NOT EXISTS (
                     SELECT 1 FROM answer a WHERE a.arm = f.arm AND a.repeat = 0
                        AND a.position = f.position AND a.status <> 'failed')
                """
            )
        )

    def newest_answers(self, limit: int) -> list[tuple[int, datetime]]:
        """Row and time of the newest `limit` answers that were asked here, the newest first."""
        return [
            (seq, datetime.fromisoformat(at))
            for seq, at in self._connection.execute(
                "SELECT seq, at FROM answer WHERE reused_from IS NULL ORDER BY seq DESC LIMIT ?",
                (limit,),
            )
        ]

    def has_answers_between(self, first: int, last: int) -> bool:
        """Whether an answer was recorded between two rows."""
        found = self._one("SELECT 1 FROM answer WHERE seq > ? AND seq < ? LIMIT 1", first, last)
        return found is not None

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

    def last_written(self) -> datetime | None:
        """When the newest answer, phase step or event was committed."""
        newest = self._one(
            "SELECT max(at) FROM (SELECT max(at) AS at FROM event UNION ALL "
            "SELECT max(at) FROM phase UNION ALL "
            "SELECT at FROM answer WHERE seq = (SELECT max(seq) FROM answer))"
        )
        return datetime.fromisoformat(newest) if newest else None

    def verify(self) -> Head:
        """Recompute the whole chain, the run's own record included.

        Raises JournalError naming the first row that is wrong.
        """
        head = super().verify()
        row = self._connection.execute(f"SELECT {_RUN} FROM run").fetchone()  # noqa: S608 - our own names
        created = [event.data["row"] for event in self.events("run_created")]
        if created != ([digest_of(row)] if row else []):
            raise JournalError(
                "the run's own record (its config) was changed after it was written."
            )
        return head

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
        score=Score(Grade(grade), row[13], row[14], valid=bool(row[18])) if grade else None,
        grader=row[15],
        attempts=row[16],
        reused_from=row[17],
    )


def request_key(arm: Arm, position: int, repeat: int) -> str:
    """Name one question to one model within a run."""
    return f"{arm.value}/{position}/{repeat}"
