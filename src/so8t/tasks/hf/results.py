"""Task scores by lm-eval's own aggregation, and its files.

Format of the files: lm_eval/evaluator.py (`evaluate`) and lm_eval/loggers/evaluation_tracker.py
(`save_results_samples`, `save_results_aggregated`), version 0.4.13.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from so8t.domain.measured import read_measured
from so8t.domain.sample import Sample
from so8t.system.files import atomic_text, write_atomic
from so8t.tasks.hf import catalogue
from so8t.tasks.hf.scoring import grading_task, instances_of, likelihood_results, process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Answered:
    """A sample with the answer that stands."""

    sample: Sample
    text: str


@dataclass(slots=True)
class TaskResult:
    """One task with one model.

    `scores` is metric,filter -> aggregate, None where lm-eval's aggregation has no number (one
    class only, for example); `errors` the standard error of those that are means.
    """

    version: Any
    num_fewshot: int
    documents: int = 0
    scores: dict[str, float | None] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    higher_is_better: dict[str, bool] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


def task_result(
    answered: Iterable[Answered], log: Callable[[dict[str, Any]], object] = lambda _: None
) -> TaskResult | None:
    """Compute a task's scores from the answers that stand, in the order of the documents.

    `log` takes lm-eval's logged samples as they are made: of all documents no more is kept than
    their metrics. None without an answer.
    """
    answers = iter(answered)
    first = next(answers, None)
    return None if first is None else _task_result(first, answers, log)


def _task_result(
    first: Answered, others: Iterator[Answered], log: Callable[[dict[str, Any]], object]
) -> TaskResult:
    from lm_eval.utils import hash_string  # noqa: PLC0415 - of the extra `hf`

    spec = first.sample.grader
    task = grading_task(spec["task"], spec["doc"])
    result = TaskResult(task.VERSION, spec["num_fewshot"])
    values: dict[str, list[Any]] = defaultdict(list)
    for one in itertools.chain([first], others):
        result.documents += 1
        doc, form = one.sample.grader["doc"], one.sample.form
        if form is None:
            continue
        instances = instances_of(spec["task"], one.sample.grader["doc_id"], doc, form)
        results = likelihood_results(form, one.text) if form.continuations else [one.text]
        target = task.doc_to_target(doc)
        for key, metrics in process(task, instances, results).items():
            for metric, value in metrics.items():
                values[f"{metric},{key}"].append(value)
            log(
                {
                    "doc_id": one.sample.grader["doc_id"],
                    "doc": doc,
                    "target": str(target),
                    "arguments": {
                        f"gen_args_{number}": {
                            f"arg_{place}": part for place, part in enumerate(instance.args)
                        }
                        for number, instance in enumerate(instances)
                    },
                    "resps": [[_text(instance.resps)] for instance in instances],
                    "filtered_resps": [
                        _text(instance.filtered_resps[key]) for instance in instances
                    ],
                    "filter": key,
                    "metrics": list(metrics),
                    "doc_hash": hash_string(json.dumps(doc, indent=2, ensure_ascii=False)),
                    "prompt_hash": hash_string(str(instances[0].arguments[0])),
                    "target_hash": hash_string(str(target)),
                    "method": read_measured(one.text).method.value
                    if form.continuations
                    else "text",
                    **{metric: _number(value) for metric, value in metrics.items()},
                }
            )
    aggregation, better = task.aggregation(), task.higher_is_better()
    for key, its in values.items():
        metric = key.partition(",")[0]
        result.scores[key] = _aggregate(aggregation.get(metric), its)
        error = _standard_error(aggregation.get(metric), its)
        if error is not None:
            result.errors[key] = error
        result.higher_is_better[metric] = bool(better.get(metric, True))
    result.config = {
        name: getattr(task.config, name)
        for name in ("task", "dataset_path", "dataset_name", "output_type")
    }
    return result


def _aggregate(function: Any, values: list[Any]) -> float | None:
    from lm_eval.api.metrics import mean  # noqa: PLC0415 - of the extra `hf`

    try:
        found = float((function or mean)(values))
    except (ArithmeticError, ValueError):
        return None  # a correlation of one item, for example
    return found if math.isfinite(found) else None


def _standard_error(function: Any, values: list[Any]) -> float | None:
    """Return lm-eval's standard error where it has a formula; its bootstrap is left out."""
    from lm_eval.api import metrics  # noqa: PLC0415 - of the extra `hf`

    formulas = {metrics.mean: metrics.mean_stderr, metrics.acc_all: metrics.acc_all_stderr}
    formula = formulas.get(function or metrics.mean)
    if formula is None or len(values) < 2:  # noqa: PLR2004 - one value has no spread
        return None
    found = float(formula(values))
    return found if math.isfinite(found) else None


def _text(value: Any) -> Any:
    """Return a response as lm-eval writes it: everything in lists is text."""
    if isinstance(value, list | tuple):
        return [_text(one) for one in value]
    return str(value)


def _number(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_number(one) for one in value] if isinstance(value, list | tuple) else value


def write_task(
    directory: Path, name: str, answered: Iterable[Answered], *, date: str
) -> TaskResult | None:
    """Write lm-eval's samples of one task with one model, over those of an earlier time.

    `answered` come in the order of the documents; each is written before the next is asked for.
    `date` is ISO 8601. None, and no file, without an answer.
    """
    answers = iter(answered)
    first = next(answers, None)
    if first is None:
        return None
    with atomic_text(directory / f"samples_{name}_{_stamp(date)}.jsonl") as file:
        return task_result(
            itertools.chain([first], answers),
            lambda line: file.write(json.dumps(line, ensure_ascii=False) + "\n"),
        )


def write_summary(
    directory: Path, results: dict[str, TaskResult], *, label: str, date: str
) -> None:
    """Write lm-eval's scores of one model; its samples are beside them (`write_task`)."""
    plain = {
        "results": {name: {"alias": name, **_scores(result)} for name, result in results.items()},
        "group_subtasks": {name: [] for name in results},
        "configs": {name: result.config for name, result in results.items()},
        "versions": {name: result.version for name, result in results.items()},
        "n-shot": {name: result.num_fewshot for name, result in results.items()},
        "higher_is_better": {name: result.higher_is_better for name, result in results.items()},
        "n-samples": {
            name: {"original": result.documents, "effective": result.documents}
            for name, result in results.items()
        },
        "config": {"model": "so8t", "model_args": {"label": label}},
        "lm_eval_version": catalogue.require_lm_eval(),
        "model_name": label,
        "date": date,
    }
    text = json.dumps(plain, ensure_ascii=False, indent=2) + "\n"
    write_atomic(directory / f"results_{_stamp(date)}.json", text)


def _scores(result: TaskResult) -> dict[str, float | str]:
    """Return the scores with their standard errors, under lm-eval's names for both."""
    found: dict[str, float | str] = {}
    for key, score in result.scores.items():
        if score is not None:
            metric, _, its_filter = key.partition(",")
            found[key] = score
            found[f"{metric}_stderr,{its_filter}"] = result.errors.get(key, "N/A")
    return found


def _stamp(date: str) -> str:
    return date[:26].replace(":", "-").partition("+")[0]
