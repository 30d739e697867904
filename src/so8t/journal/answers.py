"""The answers of a run: recorded once, found again, and which of them stand.

An answer carries the digest of the settings (model, template, engine, profile, decoding) that it
was given under. When a person changes what an arm's answers depend on, its earlier answers stay
in the journal and stand no longer; should the settings come back, so do they.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from heapq import merge
from typing import TYPE_CHECKING, Any

import apsw

from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm, EngineReply, Status
from so8t.domain.sample import Grade, Score
from so8t.errors import JournalError
from so8t.journal.chained import ChainedFile
from so8t.journal.rows import AnswerFigures, AnswerRecord, AnswerTotal, GradedReply, Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from so8t.domain.sample import Origin


_ANSWER = """
SELECT a.seq, a.at, a.arm, a.position, a.repeat, a.status, a.text, a.reason, a.prompt_tokens,
       a.completion_tokens, a.seconds, a.settings, s.grade, s.value, s.reason, s.grader,
       (SELECT count(*) FROM answer c
         WHERE c.arm = a.arm AND c.repeat = a.repeat AND c.position = a.position {c}),
       a.reused_from, s.valid
  FROM answer a
  LEFT JOIN score s ON s.seq = (SELECT max(seq) FROM score WHERE answer = a.seq)
 WHERE a.seq = (SELECT max(b.seq) FROM answer b
                 WHERE b.arm = a.arm AND b.repeat = a.repeat AND b.position = a.position {b})
   AND a.arm = ? AND a.repeat = ? AND a.position >= ? AND a.position < ?
 ORDER BY a.position
"""


def system_now() -> datetime:
    """Wall clock in UTC: the default of every `now` argument at the edge."""
    return datetime.now(UTC)


class AnswerRows(ChainedFile):
    """The part of a journal that holds answers and their scores."""

    def __init__(
        self,
        directory: Path,
        *,
        readonly: bool,
        check: bool,
        now: Callable[[], datetime],
        vfs: str | None,
        guard: Callable[[], None] | None,
    ) -> None:
        super().__init__(directory, readonly=readonly, check=check, vfs=vfs, guard=guard)
        self._now = now

    # --- written -------------------------------------------------------------------------------

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
        if graded.in_flight is not None:
            self._append("load", answer, graded.in_flight)

    def record_scores(self, scores: Sequence[tuple[int, str, Score]]) -> None:
        """Commit later scores of answers (by row, with the digest of the rules); the newest counts.

        All or none, so that the two halves of a judged pair have theirs together.
        """
        with self._transaction():
            for answer, grader, score in scores:
                self._append(
                    "score",
                    answer,
                    grader,
                    score.grade.value,
                    score.value,
                    score.reason,
                    int(score.valid),
                )
        self._witness_now_and_then()

    # --- which of them stand -------------------------------------------------------------------

    def settings_in_force(self, arm: Arm) -> str | None:
        """Digest of the settings under which an arm's answers stand; None where none was said."""
        changes = self._changes_of_settings(arm)
        return changes[-1] if changes else None

    def all_in_force(self, arm: Arm) -> set[str]:
        """Digests of all settings that were ever said to be in force for an arm."""
        return set(self._changes_of_settings(arm))

    def loads(self) -> dict[int, int]:
        """How many answers were allowed in flight when each answer (by its row) was asked."""
        return dict(self._connection.execute("SELECT answer, in_flight FROM load"))

    def _changes_of_settings(self, arm: Arm) -> list[str]:
        return [digest for digest, _ in self._all_changes_of_settings(arm)]

    def _all_changes_of_settings(self, arm: Arm) -> list[tuple[str, bool]]:
        """Each change, and whether what stood before goes on standing beside it."""
        return [
            (digest, bool(beside))
            for digest, beside in self._connection.execute(
                "SELECT json_extract(data, '$.settings'), json_extract(data, '$.beside') "
                "FROM event WHERE kind = ? AND json_extract(data, '$.arm') = ? ORDER BY seq",
                (EventKind.SETTINGS_IN_FORCE, arm.value),
            )
        ]

    def _redone(self) -> bool:
        """Whether answers can stand beside earlier ones of the same question, and replace them."""
        return any(beside for arm in Arm for _, beside in self._all_changes_of_settings(arm))

    def _standing(self, alias: str) -> str:
        """Return the condition that keeps answers that stand; "" as long as all do."""
        retired: set[str] = set()
        standing: set[str] = set()
        for arm in Arm:
            mine: set[str] = set()
            for digest, beside in self._all_changes_of_settings(arm):
                if not beside:
                    retired |= mine
                    mine = set()
                mine.add(digest)
            standing |= mine
        # Digests are hexadecimal and our own; an arm's settings name the arm.
        gone = ", ".join(f"'{digest}'" for digest in sorted(retired - standing))
        return f"AND {alias}.settings NOT IN ({gone})" if gone else ""

    # --- found again ---------------------------------------------------------------------------

    def open_positions(
        self,
        arm: Arm,
        start: int,
        stop: int,
        *,
        repeat: int = 0,
        failed: bool = False,
        origins: Collection[Origin] | None = None,
        tasks: Collection[str] | None = None,
    ) -> list[int]:
        """Positions from `start` to `stop` (excluded) that have no answer yet, in order.

        With `failed`, positions whose only answers are failures count as open too. `origins` and
        `tasks` leave out the questions of others.
        """
        # Each variant is answered from an index alone, without touching an answer's text.
        counts = "AND a.status <> 'failed'" if failed else ""
        among, names = "", []
        for column, wanted in (("origin", origins), ("task", tasks)):
            if wanted is not None:
                among += f" AND s.{column} IN ({', '.join('?' * len(wanted))})"
                names += list(wanted)
        rows = self._connection.execute(
            f"""
            SELECT position FROM sample s
             WHERE position >= ? AND position < ? {among} AND NOT EXISTS (
                 SELECT 1 FROM answer a WHERE a.arm = ? AND a.repeat = ?
                    AND a.position = s.position {counts} {self._standing("a")})
             ORDER BY position
            """,  # noqa: S608 - our own names
            (start, stop, *names, arm.value, repeat),
        )
        return [position for (position,) in rows]

    def answers(
        self,
        arm: Arm | None = None,
        *,
        repeat: int | None = 0,
        start: int = 0,
        stop: int | None = None,
    ) -> Iterator[AnswerRecord]:
        """Yield the answers as they stand in the order of positions, of one arm or both.

        Those of one position come by arm and repeat. Each is read when it is asked for: a million
        take no more memory than one. `start` and `stop` (excluded) bound the positions.
        """
        last = self._sample_count() if stop is None else stop
        kinds = [
            (one, number)
            for one in ([arm] if arm else Arm)
            for number in (self._repeats(one) if repeat is None else [repeat])
        ]
        # Each of these is read along an index; sorting all of them would need their texts at once.
        streams = [self._answers(one, number, start, last) for one, number in kinds]
        return merge(*streams, key=lambda answer: (answer.position, answer.arm, answer.repeat))

    def _answers(self, arm: Arm, repeat: int, start: int, stop: int) -> Iterator[AnswerRecord]:
        query = _ANSWER.format(b=self._standing("b"), c=self._standing("c"))
        for row in self._connection.execute(query, (arm.value, repeat, start, stop)):
            yield _answer_record(row)

    def _repeats(self, arm: Arm) -> list[int]:
        rows = self._connection.execute(
            "SELECT DISTINCT repeat FROM answer WHERE arm = ? ORDER BY repeat", (arm.value,)
        )
        return [repeat for (repeat,) in rows]

    def texts(self, arm: Arm) -> Iterator[tuple[int, str]]:
        """Yield position and text of the first answers of an arm as they stand, by position."""
        for position, text, _ in self._connection.execute(
            f"""
            SELECT a.position, a.text, max(a.seq) FROM answer a
             WHERE a.arm = ? AND a.repeat = 0 {self._standing("a")}
             GROUP BY a.position ORDER BY a.position
            """,  # noqa: S608 - our own names
            (arm.value,),
        ):
            yield position, text

    def texts_at(self, arm: Arm, positions: Iterable[int]) -> Iterator[tuple[int, str]]:
        """Yield position and text of the first answers that stand and did not fail.

        They come in the order of `positions`; those without such an answer are left out.
        """
        query = f"""
            SELECT a.status, a.text, max(a.seq) FROM answer a
             WHERE a.arm = ? AND a.repeat = 0 AND a.position = ? {self._standing("a")}
        """  # noqa: S608 - our own names
        for position in positions:
            status, text, _ = next(self._connection.execute(query, (arm.value, position)))
            if status not in (None, Status.FAILED):
                yield position, text

    def figures(self, arm: Arm) -> Iterator[AnswerFigures]:
        """Yield what the first answers of an arm cost and came to, without texts, by position."""
        for row in self._connection.execute(
            f"""
            WITH newest AS (
                SELECT a.position, a.status, a.settings, a.reason, a.completion_tokens, a.seconds,
                       a.reused_from IS NOT NULL AS reused, max(a.seq) AS seq FROM answer a
                 WHERE a.arm = ? AND a.repeat = 0 {self._standing("a")} GROUP BY a.position)
            SELECT n.position, n.status, n.settings, s.grade, s.value, s.valid,
                   n.reason, s.reason, n.completion_tokens, n.seconds, n.reused
              FROM newest n
              LEFT JOIN score s ON s.seq = (SELECT max(seq) FROM score WHERE answer = n.seq)
             ORDER BY n.position
            """,  # noqa: S608 - our own names
            (arm.value,),
        ):
            reason, score_reason, tokens, seconds, reused = row[6:]
            yield AnswerFigures(
                _standing_of(*row[:6]), reason, score_reason, tokens, seconds, bool(reused)
            )

    def standings(self, arm: Arm, repeat: int = 0) -> Iterator[Standing]:
        """Yield how each answered question stands with an arm, without texts, by position."""
        # SQLite takes the bare columns beside max() from the row that has the maximum.
        for row in self._connection.execute(
            f"""
            WITH newest AS (
                SELECT a.position, a.status, a.settings, max(a.seq) AS seq FROM answer a
                 WHERE a.arm = ? AND a.repeat = ? {self._standing("a")} GROUP BY a.position)
            SELECT n.position, n.status, n.settings, s.grade, s.value, s.valid FROM newest n
              LEFT JOIN score s ON s.seq = (SELECT max(seq) FROM score WHERE answer = n.seq)
             ORDER BY n.position
            """,  # noqa: S608 - our own names
            (arm.value, repeat),
        ):
            yield _standing_of(*row)

    def graded_text(
        self, arm: Arm, position: int, repeat: int
    ) -> tuple[Status, str, str, Score] | None:
        """Return status, text, grader's digest and score of an answer; None without a score."""
        row = self._connection.execute(
            """
            SELECT a.status, a.text, s.grader, s.grade, s.value, s.reason, s.valid
              FROM answer a JOIN score s ON s.answer = a.seq
             WHERE a.arm = ? AND a.position = ? AND a.repeat = ?
             ORDER BY a.seq DESC, s.seq DESC LIMIT 1
            """,
            (arm.value, position, repeat),
        ).fetchone()
        if row is None:
            return None
        status, text, grader, grade, value, reason, valid = row
        return Status(status), text, grader, Score(Grade(grade), value, reason, bool(valid))

    def answer_counts(self) -> dict[tuple[Arm, Status], int]:
        """How many answers stand, by arm and status, without those for the noise floor."""
        counts: dict[tuple[Arm, Status], int] = {}
        standing = self._standing("a")
        newest, each = "", "count(*)"
        if self._redone():
            each = "count(DISTINCT a.position * 1024 + a.repeat)"
            newest = f"""AND NOT EXISTS (SELECT 1 FROM answer n WHERE n.arm = a.arm
                AND n.repeat = a.repeat AND n.position = a.position AND n.status <> 'failed'
                AND n.seq > a.seq {self._standing("n")})"""  # noqa: S608 - our own names
        # An answer that counts is the only one of its question, unless pairs were redone; a
        # failure stands where none is. The index is named, because the planner would rather read
        # a million rows than it.
        for arm in Arm:
            for status, count in self._connection.execute(
                f"""
                SELECT a.status, {each} FROM answer a INDEXED BY answer_place
                 WHERE a.arm = ? AND a.repeat <> 1 AND a.status <> 'failed' {standing} {newest}
                 GROUP BY a.status
                UNION ALL
                SELECT 'failed', count(DISTINCT a.position * 1024 + a.repeat) FROM answer a
                 WHERE a.arm = ? AND a.repeat <> 1 AND a.status = 'failed' {standing}
                   AND NOT EXISTS (
                    SELECT 1 FROM answer b WHERE b.arm = a.arm AND b.repeat = a.repeat
                       AND b.position = a.position AND b.status <> 'failed' {self._standing("b")})
                """,  # noqa: S608 - our own names
                (arm.value, arm.value),
            ):
                if count:
                    counts[arm, Status(status)] = count
        return counts

    def failed_because(self, reason: str) -> int:
        """How many failures stand for a reason, without those for the noise floor."""
        found = self._connection.execute(
            f"""
            SELECT count(DISTINCT a.arm || (a.position * 1024 + a.repeat)) FROM answer a
             WHERE a.repeat <> 1 AND a.status = 'failed' AND a.reason = ? {self._standing("a")}
               AND NOT EXISTS (
                SELECT 1 FROM answer b WHERE b.arm = a.arm AND b.repeat = a.repeat
                   AND b.position = a.position AND b.seq > a.seq {self._standing("b")})
            """,  # noqa: S608 - our own names
            (reason,),
        )
        return sum(count for (count,) in found)

    def answers_under_other_settings(self, arm: Arm, settings: str) -> int:
        """How many answers of an arm were given under other settings than these."""
        (count,) = next(
            self._connection.execute(
                "SELECT count(*) FROM answer "
                "WHERE arm = ? AND settings <> ? AND status <> 'failed'",
                (arm.value, settings),
            )
        )
        return int(count)

    def answer_totals(self) -> list[AnswerTotal]:
        """Sum up the answers by arm, repeat, status and origin."""
        return [
            AnswerTotal(Arm(arm), repeat, Status(status), bool(reused), *sums)
            for arm, repeat, status, reused, *sums in self._connection.execute(
                """
                SELECT arm, repeat, status, reused_from IS NOT NULL, count(*),
                       sum(prompt_tokens), sum(completion_tokens), sum(seconds), max(seq)
                  FROM answer GROUP BY 1, 2, 3, 4
                """
            )
        ]

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

    def _sample_count(self) -> int:
        return int(self._one("SELECT count(*) FROM sample"))

    def _one(self, query: str, *arguments: Any) -> Any:
        row = self._connection.execute(query, arguments).fetchone()
        return row[0] if row else None


def _standing_of(
    position: int,
    status: str,
    settings: str,
    grade: str | None,
    value: float | None,
    valid: int | None,
) -> Standing:
    known = Grade(grade) if grade else None
    return Standing(position, Status(status), known, value, valid != 0, sys.intern(settings))


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
