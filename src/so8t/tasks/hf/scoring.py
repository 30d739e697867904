"""lm-eval's verdict on one answered document: its filters, its metrics, and a score in [0, 1]."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from so8t.domain.measured import ChoiceMethod, read_measured
from so8t.tasks.hf import catalogue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from so8t.domain.exchange import Form

#: Metrics whose value for one item is right or wrong; of mcc and f1 the agreement of the label.
BINARY = {
    "acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "em", "mcc", "f1",
}  # fmt: skip
#: What the log likelihood of an option that was not chosen stands for, where only the choice is
#: known. Finite, so that it can be divided by lengths.
_NOT_CHOSEN = -1e9
_RANGE = 1e-9


def likelihood_results(form: Form, text: str) -> list[Any]:
    """Turn a measured answer into what lm-eval's `process_results` expects of its requests."""
    measured = read_measured(text)
    if measured.method is ChoiceMethod.EXACT:
        if len(measured.likelihoods) != len(form.continuations):
            raise ValueError(
                f"{len(measured.likelihoods)} likelihoods for {len(form.continuations)} texts"
            )
        return [
            one.logprob if asked.context is None else (one.logprob, one.greedy)
            for asked, one in zip(form.continuations, measured.likelihoods, strict=True)
        ]
    chosen = [place == measured.choice for place in range(len(form.choices))]
    results: list[Any] = [(0.0 if one else _NOT_CHOSEN, one) for one in chosen]
    # Unconditional likelihoods, which some tasks ask for besides: alike for all options.
    return results + [(0.0, False)] * (len(form.continuations) - len(chosen))


def trial(instances: Sequence[Any]) -> list[Any]:
    """Make up results of the right kind for a document's requests."""
    kind = instances[0].request_type
    if kind == "generate_until":
        return ["0" for _ in instances]
    if kind == "loglikelihood_rolling":
        return [-1.0 for _ in instances]
    return [(-1.0 - place, place == 0) for place, _ in enumerate(instances)]


def process(task: Any, instances: Sequence[Any], results: Sequence[Any]) -> dict[str, Any]:
    """Apply a task's filters and metrics to one document; filter -> metric -> value."""
    for instance, result in zip(instances, results, strict=True):
        instance.resps = [result]
        instance.filtered_resps = {}
    task._instances = list(instances)  # noqa: SLF001 - filters work on the task's own list
    task.apply_filters()
    return {
        key: task.process_results(instances[0].doc, [one.filtered_resps[key] for one in instances])
        for key in instances[0].filtered_resps
    }


def item_score(value: Any, *, higher_is_better: bool = True) -> float | None:
    """Return a metric's value for one item as a score in [0, 1]; None where it has none.

    A number in [0, 1] is itself (one minus it where lower is better). A reference with a
    prediction (as for mcc, f1, correlations of labels) is 1 where they are equal, else 0. A log
    likelihood with its number of words or bytes is the mean probability of one (geometric).
    """
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool | int | float):
        number = float(value)
        if not -_RANGE <= number <= 1 + _RANGE:
            return None
        number = min(1.0, max(0.0, number))
        return number if higher_is_better else 1 - number
    if isinstance(value, tuple) and len(value) == 2:  # noqa: PLR2004 - a pair
        return _pair_score(*value)
    return None


def _pair_score(gold: Any, predicted: Any) -> float | None:
    predicted = predicted.item() if getattr(predicted, "shape", None) == () else predicted
    if isinstance(gold, float) and isinstance(predicted, int) and gold <= 0 < predicted:
        return math.exp(gold / predicted)
    if isinstance(gold, list) and isinstance(predicted, int):
        return float(predicted in gold)
    if isinstance(gold, int) and isinstance(predicted, int):
        return float(gold == predicted)
    return None


def grading_task(name: str, doc: Mapping[str, Any]) -> Any:
    """Return the task, built without its data set: only its metrics and texts are wanted."""
    return _TASKS.get(name) or _build(name, doc)


_TASKS: dict[str, Any] = {}


def _build(name: str, doc: Mapping[str, Any]) -> Any:
    asked = catalogue.definition(name)
    split = str(asked.get("test_split") or asked.get("validation_split"))
    _TASKS[name] = catalogue.build(
        name,
        {
            "custom_dataset": _One(split, dict(doc)),
            # The frozen document has been through it.
            "process_docs": None,
            "training_split": None,
            **({"validation_split": None} if asked.get("test_split") else {}),
            "fewshot_split": None,
            "fewshot_config": None,
            "num_fewshot": 0,
        },
    )
    return _TASKS[name]


class _One:
    """A data set of one document."""

    def __init__(self, split: str, doc: dict[str, Any]) -> None:
        self._split = split
        self._doc = doc

    def __call__(self, **_: object) -> Any:
        from datasets import Dataset, DatasetDict  # noqa: PLC0415 - of the extra `hf`

        return DatasetDict({self._split: Dataset.from_list([self._doc])})

    def __deepcopy__(self, memo: dict[int, Any]) -> _One:
        return self


@lru_cache(maxsize=1)
def _instance_class() -> Any:
    from lm_eval.api.instance import Instance  # noqa: PLC0415 - heavy

    return Instance


def instances_of(name: str, doc_id: int, doc: dict[str, Any], form: Form) -> list[Any]:
    """Make a document's requests again from what was frozen."""
    make = _instance_class()
    metadata = (name, doc_id, 1)
    if form.prompt is not None:
        options = {"until": list(form.stop), "do_sample": False}
        return [make("generate_until", doc, (form.prompt, options), 0, metadata)]
    if form.continuations[0].context is None:
        return [make("loglikelihood_rolling", doc, (form.continuations[0].text,), 0, metadata)]
    return [
        make("loglikelihood", doc, (one.context, one.text), place, metadata)
        for place, one in enumerate(form.continuations)
    ]
