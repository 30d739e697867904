"""A run's sessions and interruptions, read back from its journal alone.

A session begins when a process takes the run and ends when it says so; one that does not was
ended by a power cut, a kill or a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from so8t.domain.events import EventKind
from so8t.domain.plan import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.journal.rows import EventRecord, PhaseRecord
    from so8t.journal.store import Journal

#: How a session ended that never said so.
CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class RunSession:
    """One process at work on a run. `how` is None while it may still be at work."""

    seq: int
    until: int | None
    start: datetime
    end: datetime
    how: str | None
    boot: str | None


@dataclass(frozen=True, slots=True)
class Interruption:
    """Between two sessions.

    Attributes:
        at: when the work stopped.
        how: "crashed", or the name of what ended the session in order ("Interrupted").
        away_seconds: until the next session.
        reboot: whether the machine was started again in between; None where that is unknown.
        redone: the phase that was begun again, None where nothing was.
        redone_seconds: the work on that phase that was lost.
        resumed_step: the step from whose checkpoint a training went on; None where none did.

    """

    at: datetime
    how: str
    away_seconds: float
    reboot: bool | None
    redone: Phase | None
    redone_seconds: float
    resumed_step: int | None = None


@dataclass(frozen=True, slots=True)
class Crashes:
    """How often in a row the run's sessions ended without saying so, at the same step."""

    count: int
    step: str
    reboots: int


def read_sessions(journal: Journal) -> list[RunSession]:
    """Return the sessions in order; the newest may be at work."""
    events = journal.events()
    starts = [event for event in events if event.kind == EventKind.SESSION_STARTED]
    newest = journal.last_written()
    found = []
    for number, start in enumerate(starts):
        following = starts[number + 1] if number + 1 < len(starts) else None
        until = None if following is None else following.seq
        inside = [e for e in events if e.seq > start.seq and (until is None or e.seq < until)]
        end, how = _ending(start, inside, newest, last=following is None)
        if how == CRASHED:
            end = max(end, _last_seen(events, following))
        found.append(RunSession(start.seq, until, start.at, end, how, start.data.get("boot")))
    return found


def _ending(
    start: EventRecord, inside: Sequence[EventRecord], newest: datetime | None, *, last: bool
) -> tuple[datetime, str | None]:
    for event in inside:
        if event.kind == EventKind.SESSION_ENDED:
            return event.at, str(event.data["how"])
    if last:
        return newest or start.at, None
    for event in inside:
        if event.kind == EventKind.INTERRUPTION:
            return datetime.fromisoformat(event.data["last_written"]), CRASHED
    return start.at, CRASHED


def _last_seen(events: Sequence[EventRecord], following: EventRecord | None) -> datetime:
    """Return when a session that crashed was last seen, as the one that follows found it."""
    never = datetime.min.replace(tzinfo=UTC)
    for event in events:
        if following is not None and event.seq > following.seq:
            if event.kind == EventKind.SESSION_STARTED:
                break
            if event.kind == EventKind.LAST_SEEN:
                # A clock that was put back must not make the interruption end before it began.
                return min(datetime.fromisoformat(event.data["at"]), following.at)
    return never


def interruptions(
    sessions: Sequence[RunSession],
    steps: Sequence[PhaseRecord],
    resumed: Sequence[EventRecord] = (),
) -> list[Interruption]:
    """Return what lay between sessions; a session that finished was not interrupted.

    `resumed` are the events of trainings that went on from a checkpoint.
    """
    found = []
    for before, after in pairwise(sessions):
        if before.how in (None, "finished"):
            continue
        phase, lost = _cut(before, after.seq, steps)
        step = _went_on_at(after, resumed) if phase is Phase.PREPARE_B else None
        if step is not None:
            phase, lost = None, 0.0
        found.append(
            Interruption(
                at=before.end,
                how=before.how or CRASHED,
                away_seconds=max(0.0, (after.start - before.end).total_seconds()),
                reboot=None if None in (before.boot, after.boot) else before.boot != after.boot,
                redone=phase,
                redone_seconds=lost,
                resumed_step=step,
            )
        )
    return found


def _cut(
    before: RunSession, until: int, steps: Sequence[PhaseRecord]
) -> tuple[Phase | None, float]:
    """Return the phase that was under way when a session ended, and the work on it that is lost.

    The benchmark loses no committed answer, so nothing of it is done again.
    """
    inside = [step for step in steps if before.seq < step.seq < until]
    if not inside or inside[-1].state != "started" or inside[-1].phase is Phase.BENCHMARK:
        return None, 0.0
    return inside[-1].phase, max(0.0, (before.end - inside[-1].at).total_seconds())


def _went_on_at(session: RunSession, resumed: Sequence[EventRecord]) -> int | None:
    inside = (
        event
        for event in resumed
        if event.seq > session.seq and (session.until is None or event.seq < session.until)
    )
    first = next(inside, None)
    return None if first is None else int(first.data["step"])


def crashes_in_a_row(journal: Journal) -> Crashes:
    """Count the newest sessions that crashed one after the other at the same step.

    A session that committed an answer or finished a phase got beyond the step at which the one
    before it crashed.
    """
    steps = journal.phases()
    given_up = [event.seq for event in journal.events(EventKind.GAVE_UP)]
    sessions = [s for s in read_sessions(journal) if not given_up or s.seq > given_up[-1]]
    count, reboots, later_boot = 0, 0, None
    for session in reversed(sessions):
        if session.how not in (None, CRASHED):
            break
        count += 1
        reboots += later_boot is not None and later_boot != session.boot
        later_boot = session.boot
        if _got_on(journal, session, steps):
            break
    return Crashes(count, _step(journal, steps), reboots)


def failures_in_a_row(journal: Journal) -> int:
    """Count the newest sessions that ended in an error, in order, without getting on."""
    steps, count = journal.phases(), 0
    for session in reversed(read_sessions(journal)):
        if session.how in (None, CRASHED, "finished", "Interrupted"):
            break
        count += 1
        if _got_on(journal, session, steps):
            break
    return count


def _got_on(journal: Journal, session: RunSession, steps: Sequence[PhaseRecord]) -> bool:
    until = session.until if session.until is not None else journal.head.seq + 1
    done = any(session.seq < step.seq < until and step.state == "done" for step in steps)
    return done or journal.has_answers_between(session.seq, until)


def _step(journal: Journal, steps: Sequence[PhaseRecord]) -> str:
    phase = steps[-1].phase if steps else Phase.PREPARE_A
    answers = sum(journal.answer_counts().values())
    return f"{phase.value} after {answers} answers" if answers else phase.value
