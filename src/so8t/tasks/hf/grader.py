"""Grade one answer to a document of an lm-eval task, with lm-eval's own code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from so8t.domain.canonical import digest_of
from so8t.domain.measured import read_measured
from so8t.domain.sample import Score
from so8t.domain.thinking import CUT_IN_THINKING, split_reply
from so8t.tasks.graders.text import TEXT_RULES
from so8t.tasks.hf import catalogue
from so8t.tasks.hf.scoring import (
    grading_task,
    instances_of,
    item_score,
    likelihood_results,
    process,
)

if TYPE_CHECKING:
    from so8t.domain.sample import Sample


def metrics_of(sample: Sample, text: str) -> dict[str, dict[str, Any]]:
    """Return filter -> metric -> value for one answer, as lm-eval computes them.

    Of a generated answer lm-eval's filters see what stands behind the thinking.

    Raises ValueError for an answer of another kind than the sample asks for.
    """
    spec, form = sample.grader, sample.form
    if form is None:
        raise ValueError("the sample has no form")
    task = grading_task(spec["task"], spec["doc"])
    instances = instances_of(spec["task"], spec["doc_id"], spec["doc"], form)
    results = likelihood_results(form, text) if form.continuations else [split_reply(text).answer]
    return process(task, instances, results)


def grade_document(sample: Sample, text: str) -> Score:
    """Score the sample's primary metric; unscored where lm-eval's code cannot."""
    metric, _, key = str(sample.grader["metric"]).partition(",")
    if not _is_measured(sample) and split_reply(text).cut:
        return Score.invalid(CUT_IN_THINKING)
    try:
        found = metrics_of(sample, text)
        value = found[key][metric]
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return Score.unscored(f"lm-eval's metrics: {type(error).__name__}: {error}"[:300])
    task = grading_task(sample.grader["task"], sample.grader["doc"])
    score = item_score(value, higher_is_better=task.higher_is_better().get(metric, True))
    if score is None:
        return Score.unscored(f"{metric} gives no score for one item: {value!r}"[:300])
    return Score.number(score, _reason(sample, text, metric))


def _is_measured(sample: Sample) -> bool:
    return sample.form is not None and bool(sample.form.continuations)


def _reason(sample: Sample, text: str, metric: str) -> str:
    if not _is_measured(sample):
        return metric
    measured = read_measured(text)
    if measured.choice is not None:
        return f"{metric}, method {measured.method.value}: option {measured.choice + 1}"
    if len(measured.likelihoods) == 1:
        return f"{metric}, method {measured.method.value}: {measured.likelihoods[0].logprob:.4f}"
    values = [one.logprob for one in measured.likelihoods]
    best = values.index(max(values))
    return f"{metric}, method {measured.method.value}: option {best + 1} ({values[best]:.4f})"


def document_digest(spec: dict[str, Any]) -> str:
    """Digest of the rules that a score was made by: the task, its version, lm-eval's."""
    rules = {key: spec[key] for key in ("task", "metric", "version")}
    return digest_of({**rules, "lm_eval": catalogue.require_lm_eval(), "text": TEXT_RULES})
