"""Read lm-evaluation-harness's `samples_<task>_<date>.jsonl` (written with `--log_samples`).

Format: one object a line for each document and filter, with doc_id (index in the data set),
doc_hash, filter, "metrics" (names), and each metric as a field of its own; in lm_eval/evaluator.py
(`evaluate`) and lm_eval/loggers/evaluation_tracker.py (`save_results_samples`), versions 0.4.x;
older files have neither "filter" nor "metrics".
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from so8t.errors import DataError
from so8t.results.items import Item, Note, Results, SourcePlace, as_text, shown
from so8t.results.lines import json_objects

if TYPE_CHECKING:
    from pathlib import Path

PATTERN = "samples_*.jsonl"
#: Metrics of a whole task, for which an item holds [reference, prediction] and no number.
_OF_LABELS = {"mcc", "f1"}
_AGREEMENT = "acc"
_NAME = re.compile(r"samples_(?P<task>.+?)(?:_(?P<date>\d{4}-\d\d-\d\dT[\d.\-:]+))?$")
#: Fields of the document itself; where "metrics" is absent, other numbers are metrics.
_NO_METRIC = {
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics",
    "doc_hash", "prompt_hash", "target_hash", "schema_version",
}  # fmt: skip


def looks_like(first: dict[str, Any]) -> bool:
    """Tell lm-eval's lines from others by their first one."""
    return "doc_id" in first and ("doc" in first or "doc_hash" in first or "filter" in first)


def read_file(path: Path) -> Results:
    """Read one samples file; the task is in its name.

    Raises:
        DataError: a line that is no sample, or one document twice under one filter.

    """
    items, notes = _read(path)
    return Results(str(path), "lm_eval", _label(path), items, tuple(notes))


def read_directory(path: Path) -> Results:
    """Read the samples files of a directory, the newest of each task.

    lm-eval writes below a directory named for the model, so one such directory deeper is looked
    into as well.

    Raises:
        DataError: files of several models, and as `read_file`.

    """
    files = sorted(path.glob(PATTERN)) or sorted(path.glob(f"*/{PATTERN}"))
    folders = sorted({file.parent for file in files})
    if len(folders) > 1:
        raise DataError(
            f"samples of several models: {', '.join(folder.name for folder in folders[:5])}",
            file=str(path),
            hint=f"name one of them, such as {folders[0]}",
        )
    versions: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        versions[_task_of(file)].append(file)
    items: list[Item] = []
    notes: list[Note] = []
    for task, found in versions.items():
        # The date in the name sorts as text; copying files changes their times, not their names.
        newest = max(found, key=lambda file: file.name)
        if len(found) > 1:
            notes.append(Note("newest", {"task": task, "file": newest.name, "count": len(found)}))
        read, said = _read(newest)
        items += read
        notes += said
    return Results(str(path), "lm_eval", _label(files[0]), items, tuple(notes))


def _read(path: Path) -> tuple[list[Item], list[Note]]:
    task = _task_of(path)
    items: dict[str, Item] = {}
    agreeing: set[str] = set()
    for place, line in json_objects(path):
        if "doc_id" not in line:
            raise place.error("no doc_id: this is no line of lm-eval's samples")
        name = as_text(line["doc_id"], "doc_id", place)
        found = _metrics(line, place)
        agreeing |= _add_agreement(found)
        item = items.get(name)
        if item is None:
            items[name] = Item(name, task, found, place, _digest(line))
            continue
        again = item.scores.keys() & found.keys()
        if again:
            raise place.error(
                f"doc_id {shown(name)} occurs twice (first in line {item.place.line}, "
                f"again with {', '.join(sorted(again)[:3])})",
                hint="was the same run appended to the file twice? keep one of them",
            )
        item.scores.update(found)
    notes = [
        Note("agreement", {"task": task, "metric": name, "chosen": _AGREEMENT})
        for name in sorted(agreeing)
    ]
    return list(items.values()), notes


def _add_agreement(found: dict[str, tuple[Any, ...]]) -> set[str]:
    """Add whether reference and prediction are equal where nothing else scores the item.

    Returns the metrics that this was made of.
    """
    used = set()
    for name, (value,) in list(found.items()):
        base, comma, filter_ = name.partition(",")
        key = f"{_AGREEMENT}{comma}{filter_}"
        if base in _OF_LABELS and key not in found and _is_pair(value):
            reference, prediction = value
            found[key] = (float(reference == prediction),)
            used.add(base)
    return used


def _is_pair(value: Any) -> bool:
    # Labels are whole numbers or words; fractions would be measurements, never just equal.
    return (
        isinstance(value, list)
        and len(value) == 2  # noqa: PLR2004 - a pair
        and all(isinstance(one, int | str) for one in value)
    )


def _metrics(line: dict[str, Any], place: SourcePlace) -> dict[str, tuple[Any, ...]]:
    names = line.get("metrics")
    if names is None:
        names = [
            key
            for key, value in line.items()
            if key not in _NO_METRIC and isinstance(value, bool | int | float)
        ]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise place.error(f"metrics is {shown(names)}, not a list of names")
    filter_ = line.get("filter")
    suffix = "" if filter_ is None else f",{as_text(filter_, 'filter', place)}"
    # "metric,filter" is how lm-eval itself names them in its results file.
    return {f"{as_text(name, 'metric', place)}{suffix}": (line.get(name),) for name in names}


def _digest(line: dict[str, Any]) -> str | None:
    found = line.get("doc_hash")
    return f"doc:{found}" if isinstance(found, str) and found else None


def _task_of(path: Path) -> str:
    found = _NAME.match(path.stem)
    return found["task"] if found else path.stem


def _label(path: Path) -> str:
    # The directory is named for the model, as "org__model".
    return path.resolve().parent.name.replace("__", "/") or path.stem
