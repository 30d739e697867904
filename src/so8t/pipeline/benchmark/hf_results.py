"""After phase 4: what lm-eval itself would have said, into the journal and into its own files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm
from so8t.system.files import file_digest
from so8t.tasks.graders.registry import LM_EVAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from so8t.journal.store import Journal
    from so8t.tasks.hf.results import Answered


def write_hf_results(journal: Journal, artifacts: Path) -> None:
    """Write `lm_eval/<arm>/samples_*.jsonl` and `results_*.json`, and record the task scores.

    Written again after each phase 4; scores and digests are recorded where they have changed.
    """
    tasks = journal.positions_graded_by(LM_EVAL, ordered_by="doc_id")
    if not tasks:
        return
    from so8t.tasks.hf.results import write_summary, write_task  # noqa: PLC0415 - lm-eval

    run = journal.run
    labels = run.config if run is not None else {}
    created = run.created if run is not None else ""
    scores: dict[str, dict[str, Any]] = {}
    for arm in Arm:
        folder = artifacts / "lm_eval" / arm.value
        results = {
            task: found
            for task, positions in tasks.items()
            if (found := write_task(folder, task, _given(journal, arm, positions), date=created))
        }
        if not results:
            continue
        label = str(labels.get(arm.value, {}).get("label", arm.value))
        write_summary(folder, results, label=label, date=created)
        for task, found in results.items():
            scores.setdefault(task, {})[arm.value] = found.scores
    said = {"tasks": scores, "files": _digests(artifacts)}
    last = journal.events(EventKind.HF_RESULTS)
    if scores and (not last or last[-1].data != said):
        journal.event(EventKind.HF_RESULTS, **said)


def _digests(artifacts: Path) -> dict[str, str]:
    """Return the digests of lm-eval's files, so that a changed one is found later."""
    return {
        path.relative_to(artifacts).as_posix(): file_digest(path)
        for path in sorted((artifacts / "lm_eval").rglob("*.json*"))
        if not path.name.startswith(".")
    }


def _given(journal: Journal, arm: Arm, positions: Iterable[int]) -> Iterator[Answered]:
    """Yield the questions at `positions` with the answers that stand and did not fail."""
    from so8t.tasks.hf.results import Answered  # noqa: PLC0415 - lm-eval

    for position, text in journal.texts_at(arm, positions):
        (sample,) = journal.samples(position, position + 1)
        yield Answered(sample, text)
