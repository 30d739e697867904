"""Read HELM's runs: `per_instance_stats.json` with `run_spec.json` and `instances.json` beside it.

Format: a list of PerInstanceStats {instance_id, perturbation, train_trial_index, stats: [{name:
{name, split, ...}, count, sum, mean, ...}]}; helm/benchmark/metrics/metric.py and statistic.py
(0.5.x). Trials are repeats. Perturbed copies of an instance are other questions, and are left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from so8t.errors import DataError
from so8t.results.items import Item, Note, Results, SourcePlace, as_text, question_digest, shown
from so8t.results.lines import parse_json, text_lines

if TYPE_CHECKING:
    from pathlib import Path

_MODEL = re.compile(r"([:,])model=[^,]*,?")
FILE_NAME = "per_instance_stats.json"


def run_directories(path: Path) -> list[Path]:
    """Return the runs in a directory: itself, or those that it holds."""
    if (path / FILE_NAME).is_file():
        return [path]
    return sorted(found.parent for found in path.glob(f"*/{FILE_NAME}"))


def looks_like(rows: list[Any]) -> bool:
    """Tell HELM's list from other JSON lists."""
    first = rows[0] if rows else None
    return isinstance(first, dict) and "instance_id" in first and "stats" in first


def read_directory(path: Path) -> Results:
    """Read the runs of one model; each is a task.

    Raises:
        DataError: runs of several models, or as `read_list`.

    """
    items: list[Item] = []
    notes: list[Note] = []
    labels: dict[str, None] = {}
    for run in run_directories(path):
        file = run / FILE_NAME
        rows = _json(file)
        found = read_list(file, rows if isinstance(rows, list) else [])
        labels[found.label] = None
        items += found.items
        notes += found.notes
    if len(labels) > 1:
        raise DataError(
            f"runs of several models: {', '.join(list(labels)[:5])}",
            file=str(path),
            hint="name the run of one of them",
        )
    return Results(str(path), "helm", next(iter(labels), path.name), items, tuple(notes))


def read_list(path: Path, rows: list[Any]) -> Results:
    """Read a parsed per_instance_stats.json.

    Raises:
        DataError: a row that is none of HELM's, or one instance and trial twice.

    """
    task, label = _about(path.parent)
    texts = _texts(path.parent)
    items: dict[str, Item] = {}
    trials: dict[tuple[str, str], dict[str, Any]] = {}
    perturbed = 0
    for number, row in enumerate(rows, start=1):
        place = SourcePlace(path, entry=f"row {number}")
        if not isinstance(row, dict) or not isinstance(row.get("stats"), list):
            raise place.error(f"{shown(row)} where an instance with stats was expected")
        if row.get("perturbation") is not None:
            perturbed += 1
            continue
        name = as_text(row.get("instance_id"), "instance_id", place)
        trial = as_text(row.get("train_trial_index", 0), "train_trial_index", place)
        # A metric writes its stats in a row of its own, or several write one together.
        stats = trials.setdefault((name, trial), {})
        for metric, value in _stats(row["stats"], place):
            if metric in stats:
                raise place.error(f"instance {shown(name)} has {metric} twice in trial {trial}")
            stats[metric] = value
        if name not in items:
            items[name] = Item(name, task, {}, place, question_digest(texts.get(name)))
    by_item: dict[str, list[dict[str, Any]]] = {}
    for (name, _), stats in trials.items():
        by_item.setdefault(name, []).append(stats)
    for name, repeats in by_item.items():
        metrics = dict.fromkeys(metric for stats in repeats for metric in stats)
        items[name].scores = {
            metric: tuple(stats.get(metric) for stats in repeats) for metric in metrics
        }
    notes = (Note("perturbed", {"count": perturbed, "path": str(path)}),) if perturbed else ()
    return Results(str(path), "helm", label, list(items.values()), notes)


def _stats(stats: list[Any], place: SourcePlace) -> list[tuple[str, Any]]:
    found = []
    for stat in stats:
        about = stat.get("name") if isinstance(stat, dict) else None
        if not isinstance(about, dict):
            raise place.error(f"{shown(stat)} is no stat")
        if about.get("perturbation") is not None:
            continue
        count, total = stat.get("count"), stat.get("sum")
        known = isinstance(count, int | float) and count and isinstance(total, int | float)
        value = total / count if known else None
        found.append((as_text(about.get("name"), "stat", place), value))
    return found


def _about(run: Path) -> tuple[str, str]:
    """Return the task and the model of a run from its run_spec.json, else from its name."""
    spec = _json(run / "run_spec.json") if (run / "run_spec.json").is_file() else {}
    spec = spec if isinstance(spec, dict) else {}
    adapter = spec.get("adapter_spec")
    model = adapter.get("model") if isinstance(adapter, dict) else None
    name = spec.get("name")
    # "mmlu:subject=anatomy,model=openai_gpt2": the task is what is left without the model.
    whole = _MODEL.sub(r"\1", str(name if isinstance(name, str) else run.name)).rstrip(":,")
    return whole, model if isinstance(model, str) and model.isprintable() else run.name


def _texts(run: Path) -> dict[str, str]:
    """Return the text of each instance, where instances.json stands beside the stats."""
    path = run / "instances.json"
    if not path.is_file():
        return {}
    found = {}
    for instance in _json(path):
        asked = instance.get("input") if isinstance(instance, dict) else None
        text = asked.get("text") if isinstance(asked, dict) else None
        if isinstance(text, str) and instance.get("perturbation") is None:
            found[str(instance.get("id"))] = text
    return found


def _json(path: Path) -> Any:
    return parse_json("".join(text for _, text in text_lines(path)), SourcePlace(path))
