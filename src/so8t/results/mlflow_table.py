"""Read the table of an MLflow evaluation: `eval_results_table.json` among a run's artifacts.

Format: {"columns": [...], "data": [[...], ...]}, pandas' orient="split", as `mlflow.log_table` and
`mlflow.evaluate` write it. A metric's columns end in /score or /value (`exact_match/score`,
`answer_similarity/v1/score`, `correctness/value`); inputs stand in `inputs`, `question` or
`inputs/question`. Rows have no id of their own unless a column holds one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from so8t.results.items import Item, Results, SourcePlace, as_text, question_digest, shown
from so8t.results.table import ID_COLUMNS, QUESTION_COLUMNS, SCORE_COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

_ENDINGS = ("/score", "/value")
_INPUTS = ("inputs", "inputs/question", "request", *QUESTION_COLUMNS)
_WORDS = {"yes": 1.0, "no": 0.0}


def looks_like(document: dict[str, Any]) -> bool:
    """Tell a table in pandas' split form from other JSON."""
    return isinstance(document.get("columns"), list) and isinstance(document.get("data"), list)


def read_document(path: Path, document: dict[str, Any]) -> Results:
    """Read a parsed table.

    Raises:
        DataError: a row of another length, an id twice, or no column with a metric.

    """
    columns = [str(name) for name in document["columns"]]
    metrics = {
        place: metric for place, name in enumerate(columns) if (metric := _metric(name)) is not None
    }
    if not metrics:
        raise SourcePlace(path).error(
            f"no column of the table is a metric: {', '.join(columns[:8])}",
            hint="metrics of MLflow end in /score or /value, such as exact_match/score",
        )
    plain = [name.lower() for name in columns]
    id_at = next((plain.index(name) for name in ID_COLUMNS if name in plain), None)
    question_at = next((plain.index(name) for name in _INPUTS if name in plain), None)
    items: dict[str, Item] = {}
    for number, row in enumerate(document["data"]):
        place = SourcePlace(path, entry=f"row {number + 1}")
        if not isinstance(row, list) or len(row) != len(columns):
            raise place.error(f"{shown(row)} is no row of {len(columns)} columns")
        name = str(number) if id_at is None else as_text(row[id_at], "id", place)
        if name in items:
            raise place.error(f"the item {shown(name)} occurs twice")
        scores = {metric: (_value(row[at]),) for at, metric in metrics.items()}
        asked = None if question_at is None else row[question_at]
        items[name] = Item(name, "", scores, place, _digest(asked))
    return Results(str(path), "mlflow", path.stem, list(items.values()))


def _metric(column: str) -> str | None:
    """Return the name of a column's metric without its ending and version; None for others."""
    for ending in _ENDINGS:
        if column.endswith(ending):
            name = column.removesuffix(ending)
            head, _, version = name.rpartition("/")
            return head if head and version[:1] == "v" and version[1:].isdigit() else name
    return column if column.lower() in SCORE_COLUMNS else None


def _value(value: Any) -> Any:
    return _WORDS.get(value.strip().lower(), value) if isinstance(value, str) else value


def _digest(asked: Any) -> str | None:
    if isinstance(asked, dict):
        if len(asked) == 1:
            return _digest(next(iter(asked.values())))
        asked = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    return question_digest(asked)
