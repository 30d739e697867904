"""Read EvalScope's reviews: `reviews/<model>/<data set>_<subset>.jsonl`.

Format: one object a line with index, messages, and sample_score {score {value {metric: number},
main_score_name}, sample_id, group_id}; evalscope/api/metric/scorer.py (1.x). Lines of one group_id
are repeats of one item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from so8t.errors import DataError
from so8t.results.items import (
    Item,
    Results,
    SourcePlace,
    as_text,
    last_user_text,
    question_digest,
    shown,
)
from so8t.results.lines import json_objects

if TYPE_CHECKING:
    from pathlib import Path


def looks_like(first: dict[str, Any]) -> bool:
    """Tell EvalScope's reviews from other lines."""
    return isinstance(first.get("sample_score"), dict)


def read_file(path: Path) -> Results:
    """Read one reviews file; the task is its name.

    Raises:
        DataError: a line that is no review, or one sample twice.

    """
    items, label = _read(path)
    return Results(str(path), "evalscope", label or path.stem, items)


def review_files(path: Path) -> list[Path]:
    """Return the reviews below a directory that EvalScope wrote, or below its `reviews`."""
    below = path / "reviews" if (path / "reviews").is_dir() else path
    if below.name != "reviews" and below.parent.name != "reviews":
        return []
    return sorted(below.glob("*.jsonl")) or sorted(below.glob("*/*.jsonl"))


def read_directory(path: Path) -> Results:
    """Read all reviews of one model.

    Raises:
        DataError: reviews of several models, and as `read_file`.

    """
    files = review_files(path)
    folders = sorted({file.parent for file in files})
    if len(folders) > 1:
        raise DataError(
            f"reviews of several models: {', '.join(folder.name for folder in folders[:5])}",
            file=str(path),
            hint=f"name one of them, such as {folders[0]}",
        )
    items: list[Item] = []
    label = ""
    for file in files:
        found, name = _read(file)
        items += found
        label = label or name
    return Results(str(path), "evalscope", label or path.name, items)


def _read(path: Path) -> tuple[list[Item], str]:
    items: dict[str, Item] = {}
    seen: dict[tuple[str, str], int | None] = {}
    label = ""
    for place, line in json_objects(path):
        about = line.get("sample_score")
        score = about.get("score") if isinstance(about, dict) else None
        if not isinstance(about, dict) or not isinstance(score, dict):
            raise place.error(
                "no sample_score with a score: this is no line of EvalScope's reviews"
            )
        sample = as_text(_first(about.get("sample_id"), line.get("index")), "sample id", place)
        name = as_text(_first(about.get("group_id"), sample), "group id", place)
        if (name, sample) in seen:
            raise place.error(
                f"sample {shown(sample)} occurs twice (first in line {seen[name, sample]})"
            )
        seen[name, sample] = place.line
        found = _values(score, place)
        item = items.get(name)
        if item is None:
            digest = question_digest(last_user_text(line.get("messages")))
            items[name] = Item(name, path.stem, found, place, digest)
        else:
            for metric in item.scores.keys() | found.keys():
                item.scores[metric] = item.scores.get(metric, ()) + found.get(metric, (None,))
        label = label or _model(line)
    return list(items.values()), label


def _values(score: dict[str, Any], place: SourcePlace) -> dict[str, tuple[Any, ...]]:
    value = score.get("value")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise place.error(f"the score's value is {shown(value)}, not an object of metrics")
    main = score.get("main_score_name")
    # The main score goes first, where it is looked for.
    names = sorted(value, key=lambda name: name != main)
    return {as_text(name, "metric", place): (value[name],) for name in names}


def _model(line: dict[str, Any]) -> str:
    messages = line.get("messages")
    for message in messages if isinstance(messages, list) else []:
        name = message.get("model") if isinstance(message, dict) else None
        if isinstance(name, str) and name.isprintable():
            return name
    return ""


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
