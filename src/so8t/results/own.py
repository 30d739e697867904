"""Read a run of ours: one arm of it, from its journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from so8t.errors import DataError
from so8t.journal.chained import FILE_NAME
from so8t.journal.evidence import repeats_of, settings_of
from so8t.journal.items import by_item, every_answer
from so8t.journal.store import Journal
from so8t.results.items import UNNAMED, Frozen, Item, Results, SourcePlace, question_digest

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.domain.exchange import Arm
    from so8t.domain.sample import Sample
    from so8t.journal.rows import ItemStanding


def looks_like(path: Path) -> bool:
    """Whether a directory is a run's."""
    return (path / FILE_NAME).is_file()


def read_run(path: Path, arm: Arm) -> Results:
    """Read what `arm` scored, in the frozen order of the run.

    An answer that failed or that the grader could not score is missing. A question that was not
    asked is open: what was answered behind it was answered early because it is easy, and does not
    count before it.

    Raises:
        DataError: the run has planned nothing yet.
        JournalError, PrerequisiteError: as `Journal`.

    """
    with Journal(path, readonly=True) as journal:
        journal.verify()
        run = journal.run
        if run is None or not journal.sample_count():
            raise DataError(
                "this run has no questions yet",
                file=str(path),
                hint="let it reach its benchmark first: so8t run ...",
            )
        settings = settings_of(journal)
        standings = by_item(every_answer(journal, arm, repeats_of(journal)))
        place = SourcePlace(path / FILE_NAME)
        items = [
            _item(sample, standings.get(position), place)
            for position, sample in enumerate(journal.samples())
        ]
        label = run.config[arm.value]["label"]
        frozen = Frozen(
            run.run_id,
            settings.look_every,
            settings.alpha,
            settings.margin,
            settings.scope.value,
            settings.binary,
            settings.replanned,
        )
    return Results(
        path=str(path),
        format="run",
        label=label if label.strip() not in ("A", "B") else f"{run.name}:{arm.value}",
        items=items,
        frozen=frozen,
        arm=arm.value,
    )


def _item(sample: Sample, standing: ItemStanding | None, place: SourcePlace) -> Item:
    question = next((m.content for m in reversed(sample.messages) if m.role == "user"), None)
    return Item(
        # The id of a run's question already begins with its task.
        id=sample.id,
        task=sample.task,
        scores={UNNAMED: (None if standing is None else standing.score,)},
        place=place,
        digest=question_digest(question),
        strata={"category": sample.category},
        cluster=sample.cluster,
        open=standing is None,
    )
