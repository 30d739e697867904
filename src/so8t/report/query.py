"""Journal -> View: the only place of the report that reads the journal."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from so8t.domain.events import BOOK_KEEPING, SESSION_EVENTS, EventKind
from so8t.domain.exchange import Arm
from so8t.domain.model_form import ModelForm
from so8t.domain.plan import Phase
from so8t.errors import PrerequisiteError
from so8t.journal.answer_shares import answer_shares
from so8t.journal.evidence import gather
from so8t.journal.items import read_answers
from so8t.report.answer_statistics import AnswerStatistics, list_problems
from so8t.report.side_by_side import Marks, side_by_side
from so8t.report.summary import summary
from so8t.report.view import (
    CourseView,
    EngineView,
    ModelView,
    Occurrence,
    PhaseView,
    ResourcePoint,
    RunState,
    Standing,
    View,
)
from so8t.verdict.course import evidence_course

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.journal.evidence import Evidence
    from so8t.journal.rows import EventRecord, PhaseRecord, RunRecord
    from so8t.journal.store import Journal

__all__ = ["Marks", "View", "load_view", "summary"]

#: Questions that a report carries with both answers, unless told otherwise.
EMBEDDED = 500
_COURSE_POINTS = 240
_RESOURCE_POINTS = 240


def load_view(
    journal: Journal,
    *,
    embed: int = EMBEDDED,
    marks: Marks | None = None,
) -> View:
    """Read all that a report shows, of a finished run or of one that is under way.

    At most `embed` questions come with their answers, those that differ first; `marks` stand for
    what is hidden and for what is too long.

    Raises PrerequisiteError for a journal that holds no run yet.
    """
    with journal.one_moment():
        return _load(journal, embed, marks or Marks())


def _load(journal: Journal, embed: int, marks: Marks) -> View:
    run = journal.run
    if run is None:
        raise PrerequisiteError(
            f"{journal.path} holds no run yet.", hint="so8t run CONFIG starts one"
        )
    frozen = bool(journal.sample_count()) and bool(journal.events(EventKind.PLAN_FROZEN))
    evidence = gather(journal) if frozen else None
    steps = journal.phases()
    count = journal.sample_count()
    given = {arm: AnswerStatistics() for arm in Arm}
    answers = {arm: read_answers(given[arm].count(journal.figures(arm)), count) for arm in Arm}
    problems, problems_left_out = list_problems(journal, given, marks)
    events = journal.events()
    return View(
        run=run,
        state=_state(steps, evidence),
        standing=_standing(steps, evidence, events),
        label_a=run.config["a"]["label"],
        label_b=run.config["b"]["label"],
        evidence=evidence,
        course=None if evidence is None else _course(evidence),
        phases=tuple(_phase(phase, steps) for phase in Phase),
        models={arm: _model(arm, run, steps) for arm in Arm},
        engine=_engine(steps),
        settings=journal.all_settings(),
        latency={arm: given[arm].latency() for arm in Arm},
        occurrences=tuple(
            Occurrence(event.at, event.kind, event.data)
            for event in events
            if event.kind not in BOOK_KEEPING
        ),
        sessions=sum(event.kind == EventKind.SESSION_STARTED for event in events),
        problems=problems,
        problems_left_out=problems_left_out,
        side_by_side=side_by_side(journal, answers, embed, marks),
        head=journal.head,
        resources=_thinned(journal.resource_samples()),
        last_written=journal.last_written(),
        hf_scores=_hf_scores(_data_of(events, EventKind.HF_RESULTS)),
        cut_in_thinking={arm: one.counts["cut_in_thinking"] for arm, one in given.items()},
        answer_shares=answer_shares(journal) if frozen else (),
        choice_methods=tuple(_data_of(events, EventKind.CHOICE_METHODS_COMPARED)),
    )


def _data_of(events: Sequence[EventRecord], kind: EventKind) -> list[dict[str, Any]]:
    return [event.data for event in events if event.kind == kind]


def _hf_scores(found: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Turn the newest task scores from task, arm, metric into task, metric, arm."""
    tasks: dict[str, dict[str, dict[str, float | None]]] = {}
    for task, arms in found[-1]["tasks"].items() if found else ():
        for arm, scores in arms.items():
            for metric, score in scores.items():
                tasks.setdefault(task, {}).setdefault(metric, {})[arm] = score
    return tasks


def _thinned(samples: list[tuple[float, dict[str, float]]]) -> tuple[ResourcePoint, ...]:
    """Put resource samples together, so that a drawing has few points: their means."""
    if not samples:
        return ()
    first, last = samples[0][0], samples[-1][0]
    width = max((last - first) / _RESOURCE_POINTS, 1e-9)
    bins: dict[int, list[tuple[float, dict[str, float]]]] = defaultdict(list)
    for at, figures in samples:
        bins[int((at - first) / width)].append((at, figures))
    return tuple(
        ResourcePoint(
            mine[len(mine) // 2][0],
            {
                name: float(np.mean([figures[name] for _, figures in mine if name in figures]))
                for name in dict.fromkeys(name for _, figures in mine for name in figures)
            },
        )
        for _, mine in sorted(bins.items())
    )


def _state(steps: Sequence[PhaseRecord], evidence: Evidence | None) -> str:
    last = _newest(Phase.BENCHMARK, steps)
    if last is not None and last.state == "done" and evidence is not None:
        return "complete"
    return "empty" if evidence is None and not steps else "partial"


def _standing(
    steps: Sequence[PhaseRecord], evidence: Evidence | None, events: Sequence[EventRecord]
) -> Standing:
    """Tell where the run stands, from its rows alone: a page is the same wherever it is written."""
    if evidence is None:
        return Standing(RunState.NOT_BEGUN, 0, 0)
    pairs, planned = len(evidence.pairs), evidence.planned
    if _state(steps, evidence) == "complete":
        begun = max(
            (s.seq for s in steps if s.phase is Phase.BENCHMARK and s.state == "started"), default=0
        )
        ended = any(
            event.kind == EventKind.DEADLINE_REACHED and event.seq > begun for event in events
        )
        short = ended and pairs < planned
        return Standing(RunState.DEADLINE if short else RunState.COMPLETE, pairs, planned)
    if not any(found.answered or found.failed for found in evidence.coverage.values()):
        return Standing(RunState.NOT_BEGUN, pairs, planned)
    sessions = [event for event in events if event.kind in SESSION_EVENTS]
    ended = bool(sessions) and sessions[-1].kind == EventKind.SESSION_ENDED
    return Standing(RunState.STOPPED if ended else RunState.RUNNING, pairs, planned)


def _newest(
    phase: Phase, steps: Sequence[PhaseRecord], state: str | None = None
) -> PhaseRecord | None:
    return next((s for s in reversed(steps) if s.phase is phase and state in (None, s.state)), None)


def _phase(phase: Phase, steps: Sequence[PhaseRecord]) -> PhaseView:
    mine = [step for step in steps if step.phase is phase]
    if not mine:
        return PhaseView(phase, "waiting", 0, None, None, None, None)
    last = mine[-1]
    started = next((step.at for step in reversed(mine) if step.state == "started"), None)
    return PhaseView(
        phase=phase,
        state=last.state,
        attempts=len({step.attempt for step in mine}),
        started=started,
        finished=last.at if last.state != "started" else None,
        seconds=last.result.get("phase_seconds"),
        error=last.result.get("message") if last.state == "failed" else None,
    )


def _model(arm: Arm, run: RunRecord, steps: Sequence[PhaseRecord]) -> ModelView:
    phase = Phase.PREPARE_A if arm is Arm.A else Phase.PREPARE_B
    done = _newest(phase, steps, "done")
    prepared: dict[str, Any] = done.result if done else {}
    registered = _registration(steps).get("arms", {}).get(arm.value, {})
    location = prepared.get("location")
    is_file = prepared.get("kind") == ModelForm.FILE
    return ModelView(
        arm=arm,
        label=run.config[arm.value]["label"],
        # The name alone: a report travels, and the directories of this machine say nothing there.
        file=PurePath(location).name if is_file and location else location,
        digest=prepared.get("digest"),
        size=prepared.get("size"),
        quantization=prepared.get("quantization"),
        source=prepared.get("source") or {},
        conversion=prepared.get("conversion"),
        training=prepared.get("training"),
        facts=registered.get("facts") or {},
        load=registered.get("load") or {},
    )


def _registration(steps: Sequence[PhaseRecord]) -> dict[str, Any]:
    done = _newest(Phase.REGISTER, steps, "done")
    return done.result if done else {}


def _engine(steps: Sequence[PhaseRecord]) -> EngineView | None:
    registration = _registration(steps)
    if "engine" not in registration:
        return None
    engine = registration["engine"]
    return EngineView(
        engine=engine["name"],
        version=engine["version"],
        detail=engine.get("detail", ""),
        profile=registration.get("profile") or {},
        calibration=registration.get("calibration"),
    )


def _course(evidence: Evidence) -> CourseView | None:
    """Thin the course of the evidence to what a drawing can show."""
    differences = evidence.pairs.score_b - evidence.pairs.score_a
    known = differences[~np.isnan(differences)]
    if not known.size or evidence.pairs.clustered:
        # With clusters the looks fall on their ends, which only `gather` knows.
        return None
    course = evidence_course(
        known,
        evidence.planned,
        evidence.overall.settings,
        dropped=evidence.group.missing,
    )
    if not course.items.size:
        return None
    picked = np.unique(
        np.linspace(0, course.items.size - 1, min(_COURSE_POINTS, course.items.size)).astype(int)
    )
    return CourseView(
        kind=course.kind,
        items=tuple(course.items[picked].tolist()),
        for_b=tuple(course.for_b[picked].tolist()),
        for_a=tuple(course.for_a[picked].tolist()),
        boundary=tuple(
            value if np.isfinite(value) else None for value in course.boundary[picked].tolist()
        ),
        total=evidence.planned,
    )
