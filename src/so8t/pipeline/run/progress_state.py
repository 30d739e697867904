"""How far a run is, computed from its journal: the same before and after a reboot."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from so8t.domain.events import EventKind
from so8t.domain.exchange import CONTEXT, Status
from so8t.domain.plan import NOISE_FLOOR, Phase
from so8t.journal.evidence import repeats_of
from so8t.pipeline.run.sessions import Interruption, RunSession, interruptions, read_sessions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from so8t.journal.rows import AnswerTotal, PhaseRecord
    from so8t.journal.store import Journal

#: What a run tells beside its journal: the unit that it works on (training steps, bytes).
LIVE_FILE = "progress.json"
_RECENT = 512
# Two answers further apart than this were not waiting for each other: the machine slept, or its
# clock was put right.
_LONGEST_PAUSE = 1800.0
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class PhaseProgress:
    """A phase: waiting, started, interrupted, done or failed. Seconds are None until it is done."""

    phase: Phase
    state: str
    attempt: int
    since: datetime | None
    seconds: float | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Unit:
    """What a phase counts while it works: `done` of `total` training steps, bytes, answers."""

    what: str
    done: int
    total: int
    per_second: float | None
    eta_seconds: float | None


@dataclass(frozen=True, slots=True)
class Live:
    """What a process at work told last, beside its journal; `session` is the row that began it."""

    session: int
    at: datetime
    unit: Unit


@dataclass(frozen=True, slots=True)
class Load:
    """How many answers may be in flight, 0 in a pause; why and since when.

    In a training, which has no such number, only a pause is known.
    """

    level: int
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is. Times are in seconds; None is unknown, never zero.

    Attributes:
        state: empty, running, stopped or complete.
        answers: first answers that stand, of both models; `planned` of them at most.
        reused: how many of them an earlier run gave.
        unfit: how many failed because their questions are longer than the context.
        per_second: answers in a second of work, over the newest ones, across sessions.
        eta_seconds: until everything is asked at that rate; a verdict may come before. None in a
            pause, whose end nobody knows.
        load: what the balancer last changed in the process at work; None where it changed nothing.
        active_seconds: work in all sessions together.

    """

    run: str
    state: str
    phases: tuple[PhaseProgress, ...]
    answers: int
    planned: int
    failed: int
    reused: int
    per_second: float | None
    eta_seconds: float | None
    unit: Unit | None
    load: Load | None
    prompt_tokens: int | None
    completion_tokens: int | None
    active_seconds: float
    sessions: int
    interruptions: tuple[Interruption, ...]
    last_written: datetime | None
    unfit: int = 0

    def plain(self) -> dict[str, Any]:
        """Return it as JSON-ready data; the form has a number."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self), default=datetime.isoformat))
        return {"format": _FORMAT} | found


def read_progress(journal: Journal, *, held: bool) -> RunProgress:
    """Compute how far the run of `journal` is; `held` says whether a process is at work on it.

    Raises nothing of its own: a journal without a run is an empty run.
    """
    steps = journal.phases()
    sessions = _with_end(read_sessions(journal), journal.directory, held=held)
    totals = journal.answer_totals()
    asked = [total for total in totals if not total.reused]
    first = [total for total in totals if total.repeat != NOISE_FLOOR]
    # What stands, and not what was recorded: answers under changed settings do not count.
    standing = journal.answer_counts()
    failed = sum(count for (_, status), count in standing.items() if status is Status.FAILED)
    answered = sum(standing.values()) - failed
    planned = 2 * journal.sample_count() * repeats_of(journal)
    phases = tuple(_phase(phase, steps, held=held) for phase in Phase)
    complete = phases[-1].state == "done"
    rate = _rate(journal, sessions)
    left = planned - answered - failed + _noise_floor_left(journal, totals)
    open_ = not complete and planned > 0
    run = journal.run
    load = _load(journal, sessions[-1]) if held and sessions else None
    paused = load is not None and load.level == 0
    unit = _live(journal.directory, sessions) if held else None
    return RunProgress(
        run=run.name if run is not None else "",
        state=_state(complete=complete, held=held, any_work=bool(sessions)),
        phases=phases,
        answers=answered + failed,
        planned=planned,
        failed=failed,
        reused=sum(total.count for total in first if total.reused),
        per_second=rate,
        eta_seconds=left / rate if open_ and rate and not paused else None,
        unit=replace(unit, eta_seconds=None) if unit is not None and paused else unit,
        load=load,
        prompt_tokens=_sum(total.prompt_tokens for total in asked),
        completion_tokens=_sum(total.completion_tokens for total in asked),
        active_seconds=sum(map(_length, sessions)),
        sessions=len(sessions),
        interruptions=tuple(
            interruptions(sessions, steps, journal.events(EventKind.TRAINING_RESUMED))
        ),
        last_written=journal.last_written(),
        unfit=journal.failed_because(CONTEXT) if failed else 0,
    )


def _state(*, complete: bool, held: bool, any_work: bool) -> str:
    if complete:
        return "complete"
    if held:
        return "running"
    return "stopped" if any_work else "empty"


def _phase(phase: Phase, steps: Sequence[PhaseRecord], *, held: bool) -> PhaseProgress:
    of_phase = [step for step in steps if step.phase is phase]
    if not of_phase:
        return PhaseProgress(phase, "waiting", 0, None, None, None)
    last = of_phase[-1]
    state = "interrupted" if last.state == "started" and not held else last.state
    return PhaseProgress(
        phase,
        state,
        last.attempt,
        last.at,
        last.result.get("phase_seconds"),
        last.result.get("message") if last.state == "failed" else None,
    )


def _rate(journal: Journal, sessions: Sequence[RunSession]) -> float | None:
    """Answers a second of work: pauses between sessions, sleep and clock jumps do not count."""
    newest = journal.newest_answers(_RECENT)
    starts = [session.seq for session in sessions]
    seconds, count = 0.0, 0
    for (later, later_at), (earlier, earlier_at) in pairwise(newest):
        between = (later_at - earlier_at).total_seconds()
        same_session = not any(earlier < start < later for start in starts)
        if same_session and 0 <= between <= _LONGEST_PAUSE:
            seconds += between
            count += 1
    return count / seconds if seconds > 0 else None


def _noise_floor_left(journal: Journal, totals: Sequence[AnswerTotal]) -> int:
    run = journal.run
    if run is None:
        return 0
    wanted = min(int(run.config["benchmark"]["noise_floor"]), journal.sample_count())
    return max(0, 2 * wanted - sum(total.count for total in totals if total.repeat == NOISE_FLOOR))


def _load(journal: Journal, session: RunSession) -> Load | None:
    """Return what the newest steps of a session led to."""
    found: Load | None = None
    steps = [
        *journal.events(EventKind.RESOURCES_ADJUSTED),
        *journal.events(EventKind.TRAINING_SETTING),
    ]
    for step in sorted(steps, key=lambda one: one.seq):
        if step.seq < session.seq:
            continue
        level = step.data["after"]
        if step.kind == EventKind.TRAINING_SETTING:
            before, after = step.data["before"].get("paused"), level.get("paused")
            if after and not before:
                found = Load(0, step.data["reason"], step.at)
            elif before and not after:
                found = None
        elif found is None or level != found.level:
            found = Load(level, step.data["reason"], step.at)
    return found


def _length(session: RunSession) -> float:
    return max(0.0, (session.end - session.start).total_seconds())


def _sum(values: Any) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def read_live(directory: Path) -> Live | None:
    """Return what the newest process to work on a run told last, or None."""
    try:
        told = json.loads((directory / LIVE_FILE).read_text(encoding="utf-8"))
        return Live(told["session"], datetime.fromisoformat(told["at"]), Unit(**told["unit"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # there is none, or it is just being replaced


def _with_end(sessions: list[RunSession], directory: Path, *, held: bool) -> list[RunSession]:
    """Let the newest session end when it was last heard of, or now where it is at work."""
    if not sessions or sessions[-1].how is not None:
        return sessions
    *earlier, last = sessions
    told = read_live(directory)
    end = last.end
    if held:
        end = datetime.now(UTC)
    elif told is not None and told.session == last.seq:
        end = max(end, told.at)
    return [*earlier, replace(last, end=end)]


def _live(directory: Path, sessions: Sequence[RunSession]) -> Unit | None:
    """Return what the session at work counts; what an earlier one told does not count."""
    told = read_live(directory)
    return told.unit if told and sessions and told.session == sessions[-1].seq else None
