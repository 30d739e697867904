"""What is still worth asking: until the deadline, and after each look at the evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm
from so8t.domain.sample import Origin
from so8t.journal.evidence import gather
from so8t.verdict.settings import Ending, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from so8t.config.schema import RunConfig
    from so8t.domain.plan import Leg
    from so8t.journal.store import Journal
    from so8t.pipeline.benchmark.answer_settings import AnswerSettings
    from so8t.pipeline.run.progress import Note

_SETTLED = (Ending.DECIDED, Ending.FUTILE)


def deadline_of(config: RunConfig, journal: Journal) -> datetime | None:
    """Return when the run must have its verdict: the first such time of day after it was asked for.

    A run that goes on after a reboot keeps the deadline that it had; one that is given another
    deadline, or none, goes on to that.
    """
    wanted, run = config.verdict.deadline, journal.run
    if wanted is None or run is None:
        return None
    asked = datetime.fromisoformat(run.created)
    for event in journal.events(EventKind.CONFIG_CHANGED):
        if "verdict.deadline" in event.data["changed"]:
            asked = event.at
    asked = asked.astimezone()
    hour, minute = (int(part) for part in wanted.split(":"))
    deadline = asked.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return deadline if deadline > asked else deadline + timedelta(days=1)


class Deadline:
    """The time at which a run asks nothing more, if it has one."""

    def __init__(self, at: datetime | None, now: Callable[[], datetime]) -> None:
        """`now` gives the time, with its zone."""
        self._at = at
        self._now = now

    def past(self) -> bool:
        """Whether it has come."""
        return self._at is not None and self._now() >= self._at


@dataclass(frozen=True, slots=True)
class WantedAnswers:
    """Which questions are to be asked: of some origins, of some tasks; None is all."""

    origins: frozenset[Origin] | None = None
    tasks: frozenset[str] | None = None

    @property
    def nothing(self) -> bool:
        """Whether nothing is worth asking any more."""
        return self.tasks is not None and not self.tasks


class InterimAnalysis:
    """The looks at the evidence that an early stop rests on."""

    def __init__(
        self, config: RunConfig, journal: Journal, settings: AnswerSettings, note: Note
    ) -> None:
        """A look holds for the settings under which the answers stood."""
        self._config = config
        self._journal = journal
        self._settings = settings
        self._note = note

    def look(self, wanted: WantedAnswers, leg: Leg) -> WantedAnswers:
        """Look at the evidence at the end of a block, once; return what is still worth asking.

        A look that said to go on is remembered in the journal, so that a start among a million
        answers need not repeat it.
        """
        what = {
            "settings": [self._settings.of(arm) for arm in Arm],
            "deadline": self._config.verdict.deadline,
        }
        for event in self._journal.events(EventKind.INTERIM_ANALYSIS):
            if event.data["after"] == leg.stop and event.data["what"] == what:
                tasks = event.data["tasks"]
                return replace(wanted, tasks=None if tasks is None else frozenset(tasks))
        found = self._still_wanted(wanted, leg)
        if not found.nothing:
            tasks = None if found.tasks is None else sorted(found.tasks)
            self._journal.event(EventKind.INTERIM_ANALYSIS, after=leg.stop, what=what, tasks=tasks)
        return found

    def _still_wanted(self, wanted: WantedAnswers, leg: Leg) -> WantedAnswers:
        """Say what is worth asking after a block.

        Once the overall verdict stands, nothing is; but up to a deadline the time that is left
        goes to the tasks that are still undecided, each along its own order.
        """
        evidence = gather(self._journal)
        if evidence.overall.ending not in _SETTLED:
            return wanted
        outcome = evidence.overall.outcome.value
        tasks = evidence.tasks
        open_tasks = frozenset(
            task.name
            for task in tasks
            if task.claim is Outcome.UNDECIDED and task.verdict.ending is Ending.ONGOING
        )
        if self._config.verdict.deadline is None or len(tasks) < 2 or not open_tasks:  # noqa: PLR2004 - several
            futile = evidence.overall.ending is Ending.FUTILE
            kind = EventKind.STOPPED_FUTILE if futile else EventKind.STOPPED_EARLY
            self._note(kind, after=leg.stop, of=self._journal.sample_count(), outcome=outcome)
            return replace(wanted, tasks=frozenset())
        return replace(wanted, tasks=open_tasks)
