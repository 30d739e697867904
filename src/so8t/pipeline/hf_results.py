"""After phase 4: what lm-eval itself would have said, into the journal and into its own files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from so8t.domain.exchange import Arm, Status
from so8t.tasks.graders.registry import LM_EVAL

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.journal.store import Journal

#: The event that holds the task scores as lm-eval aggregates them.
HF_RESULTS = "hf_results"


def write_hf_results(journal: Journal, artifacts: Path) -> None:
    """Write `lm_eval/<arm>/samples_*.jsonl` and `results_*.json`, and record the task scores.

    Written again after each phase 4; the scores are recorded where they have changed.
    """
    samples = list(journal.samples())
    if not any(sample.grader.get("type") == LM_EVAL for sample in samples):
        return
    from so8t.tasks.hf.results import Answered, task_results, write_files  # noqa: PLC0415 - lm-eval

    run = journal.run
    labels = run.config if run is not None else {}
    scores: dict[str, dict[str, Any]] = {}
    for arm in Arm:
        answered = [
            Answered(samples[answer.position], answer.reply.text)
            for answer in journal.answers(arm)
            if answer.reply.status is not Status.FAILED
            and samples[answer.position].grader.get("type") == LM_EVAL
        ]
        if not answered:
            continue
        results = task_results(answered)
        label = str(labels.get(arm.value, {}).get("label", arm.value))
        created = run.created if run is not None else ""
        write_files(artifacts / "lm_eval" / arm.value, results, label=label, date=created)
        for task, found in results.items():
            scores.setdefault(task, {})[arm.value] = found.scores
    last = journal.events(HF_RESULTS)
    if scores and (not last or last[-1].data["tasks"] != scores):
        journal.event(HF_RESULTS, tasks=scores)
