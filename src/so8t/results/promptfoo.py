"""Read promptfoo's results: the JSON that `promptfoo eval -o results.json` or its export writes.

Format: {"evalId", "results": {"version": 3, "results": [EvaluateResult, ...]}}, an EvaluateResult
with testIdx, promptIdx, provider {id, label}, vars, success, score, namedScores, failureReason and
error; src/types/index.ts (0.11x and later; version 2 has the same fields). A failureReason of 2 is
an error, which is missing and not wrong. One file may hold several providers and prompts.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from so8t.errors import DataError
from so8t.results.items import Item, Results, SourcePlace, as_text, question_digest, shown

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_ERROR = 2
#: A variable with the question as it stands in other tools' files.
_QUESTIONS = ("question", "input", "query", "prompt")
_NAMED = 8


def looks_like(document: dict[str, Any]) -> bool:
    """Tell promptfoo's results from other JSON."""
    return bool(_rows(document))


def _rows(document: dict[str, Any]) -> list[Any]:
    inner = document.get("results")
    rows = inner.get("results") if isinstance(inner, dict) else None
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], dict):
        return []
    return rows if "testIdx" in rows[0] or "success" in rows[0] else []


def read_document(path: Path, document: dict[str, Any], chosen: str | None = None) -> Results:
    """Read a parsed document; `chosen` names a provider (id or label), a prompt's label, or both.

    Raises:
        DataError: several providers or prompts and none chosen, or one that is not there; a row
            without testIdx or scores.

    """
    sides: dict[str, list[tuple[SourcePlace, dict[str, Any]]]] = {}
    for number, row in enumerate(_rows(document)):
        place = SourcePlace(path, entry=f"result {number + 1}")
        if not isinstance(row, dict):
            raise place.error(f"{shown(row)} where an object was expected")
        sides.setdefault(_side(row, place), []).append((place, row))
    name = _choose(path, sides, chosen)
    items: dict[str, Item] = {}
    for place, row in sides[name]:
        _add(items, place, row)
    return Results(str(path), "promptfoo", name, list(items.values()))


def _side(row: dict[str, Any], place: SourcePlace) -> str:
    provider = row.get("provider")
    provider = provider if isinstance(provider, dict) else {"id": provider}
    named = provider.get("label") or provider.get("id")
    prompt = row.get("prompt")
    label = prompt.get("label") if isinstance(prompt, dict) else None
    text = as_text(named, "provider", place)
    index = row.get("promptIdx", 0)
    return f"{text} | {label if isinstance(label, str) and label else index}"


def _choose(path: Path, sides: Iterable[str], chosen: str | None) -> str:
    names = list(sides)
    fit = [
        name for name in names if chosen is None or chosen == name or chosen in name.split(" | ", 1)
    ]
    if len(fit) == 1:
        return fit[0]
    listed = ", ".join(repr(name) for name in names[:_NAMED])
    what = "several providers or prompts" if fit else f"no provider or prompt {chosen!r}"
    raise DataError(
        f"{what}: there is {listed}",
        file=str(path),
        hint=f"name one behind a colon: {path}:{names[0].partition(' | ')[0]}",
    )


def _add(items: dict[str, Item], place: SourcePlace, row: dict[str, Any]) -> None:
    name = as_text(row.get("testIdx"), "testIdx", place)
    found = _scores(row, place)
    item = items.get(name)
    if item is None:
        items[name] = Item(
            name, "", {key: (value,) for key, value in found.items()}, place, _digest(row)
        )
        return
    # `--repeat` asks a test case several times.
    before = max((len(values) for values in item.scores.values()), default=0)
    item.scores = {
        key: (*item.scores.get(key, (None,) * before), found.get(key))
        for key in dict.fromkeys((*item.scores, *found))
    }


def _scores(row: dict[str, Any], place: SourcePlace) -> dict[str, Any]:
    failed = row.get("failureReason") == _ERROR
    if "failureReason" not in row:
        failed = bool(row.get("error")) and not row.get("gradingResult")
    success = row.get("success")
    if failed:
        return {"pass": None}
    if not isinstance(success, bool):
        raise place.error(f"success is {shown(success)}, neither true nor false")
    found: dict[str, Any] = {"pass": success}
    if row.get("score") is not None:
        found["score"] = row["score"]
    named = row.get("namedScores")
    return found | (dict(named) if isinstance(named, dict) else {})


def _digest(row: dict[str, Any]) -> str | None:
    variables = row.get("vars")
    if not isinstance(variables, dict) or not variables:
        return None
    texts = [value for value in variables.values() if isinstance(value, str)]
    question = next((variables[name] for name in _QUESTIONS if name in variables), None)
    if question is None and len(texts) == len(variables) == 1:
        question = texts[0]
    if isinstance(question, str):
        return question_digest(question)
    whole = question_digest(json.dumps(variables, sort_keys=True, ensure_ascii=False))
    return None if whole is None else f"vars:{whole}"
