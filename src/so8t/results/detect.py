"""Find out what a person named: a run of ours, or a log or table of another tool."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.domain.exchange import Arm
from so8t.errors import DataError, PrerequisiteError
from so8t.results import (
    evalscope,
    helm,
    inspect_log,
    lm_eval,
    mlflow_table,
    own,
    promptfoo,
    table,
)
from so8t.results.items import Results, SourcePlace
from so8t.results.lines import parse_json, text_lines
from so8t.results.table import Columns

if TYPE_CHECKING:
    from collections.abc import Callable

_ZIP = b"PK"
#: What is understood, for the messages.
KNOWN = (
    "lm-eval samples_*.jsonl (or their directory), an Inspect log (.eval or .json), EvalScope "
    "reviews (.jsonl), promptfoo results (.json), an MLflow eval_results_table.json, HELM runs "
    "(per_instance_stats.json), CSV or JSONL with an id and a score, a run directory of so8t"
)


def read_results(argument: str, columns: Columns | None = None) -> Results:
    """Read the results that `argument` names: a path, or a path with what is meant in it.

    `RUN:a` and `RUN:b` are a run's models (without, its model B), `FILE:PROVIDER` is one of the
    providers or prompts of promptfoo's results, `TABLE:COLUMN` a table's score. `columns` says
    which columns of a table count.

    Raises:
        DataError: nothing that is understood, nothing in it, or what the reader says.
        PrerequisiteError: there is no such file, or it cannot be read.

    """
    columns = columns or Columns()
    path, part = _split(argument)
    if not path.exists():
        raise PrerequisiteError(
            f"there is nothing at {path}.", hint="so8t compare takes files and run directories"
        )
    results = _read_directory(path, part) if path.is_dir() else _read_file(path, part, columns)
    if not results.items:
        raise DataError("there is no item in it", file=str(path))
    return results


def _split(argument: str) -> tuple[Path, str | None]:
    # What exists under its full name is that: on Windows, C:a is a path.
    path = Path(argument)
    if not path.exists():
        at = argument.find(":", 1)
        while at > 0:
            if Path(argument[:at]).exists() and argument[at + 1 :]:
                return Path(argument[:at]), argument[at + 1 :]
            at = argument.find(":", at + 1)
    return path, None


def _read_directory(path: Path, part: str | None) -> Results:
    if own.looks_like(path):
        if part not in (None, *(arm.value for arm in Arm)):
            raise DataError(f"a run has the models :a and :b, and no :{part}", file=str(path))
        return own.read_run(path, Arm(part) if part else Arm.B)
    _whole(path, part)
    if next(path.glob(lm_eval.PATTERN), None) or next(path.glob(f"*/{lm_eval.PATTERN}"), None):
        return lm_eval.read_directory(path)
    if evalscope.review_files(path):
        return evalscope.read_directory(path)
    if helm.run_directories(path):
        return helm.read_directory(path)
    raise DataError(
        f"a directory without journal.sqlite, samples_*.jsonl, reviews/ or {helm.FILE_NAME}",
        file=str(path),
        hint=f"so8t compare reads: {KNOWN}",
    )


def _whole(path: Path, part: str | None) -> None:
    """Refuse a part of what has none."""
    if part is not None:
        raise DataError(f"has no parts of which :{part} could be one", file=str(path))


def _read_file(path: Path, part: str | None, columns: Columns) -> Results:
    try:
        with path.open("rb") as file:
            start = file.read(len(_ZIP))
    except OSError as error:
        raise PrerequisiteError(f"{path} cannot be read: {error.strerror}") from error
    if start == _ZIP:
        _whole(path, part)
        return inspect_log.read_eval(path)
    first = next(((n, line) for n, line in text_lines(path) if line.strip()), None)
    if first is None:
        raise DataError("the file is empty", file=str(path), line=1)
    if first[1].lstrip().startswith(("{", "[")):
        return _read_json(path, *first, part, columns)
    columns = _with_score(columns, part)
    found = table.read_csv(path, columns)
    if found is None:
        raise _unknown(path, "CSV", f"its first line has no column of {_wanted(columns)}", first[0])
    return found


def _with_score(columns: Columns, part: str | None) -> Columns:
    return columns if part is None else replace(columns, score=part)


def _wanted(columns: Columns) -> str:
    item = columns.item or "ids (item, id, question_id, ...; --item-column names another)"
    score = columns.score or "scores (score, correct, ...; --score-column names another)"
    return f"{item} and {score}"


def _read_json(path: Path, number: int, line: str, part: str | None, columns: Columns) -> Results:
    """Read JSONL by its first line, or one JSON document."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        # The beginning of a document over several lines, or a broken first line: this tells which.
        value = parse_json("".join(text for _, text in text_lines(path)), SourcePlace(path))
    if isinstance(value, list):
        if helm.looks_like(value):
            _whole(path, part)
            return helm.read_list(path, value)
        return table.read_list(path, value, _with_score(columns, part))
    if not isinstance(value, dict):
        raise _unknown(path, "JSON", f"it is a {type(value).__name__}", number)
    if promptfoo.looks_like(value):
        return promptfoo.read_document(path, value, part)
    if table.looks_like(value, _with_score(columns, part)) and not lm_eval.looks_like(value):
        return table.read_jsonl(path, _with_score(columns, part))
    _whole(path, part)
    return _reader(path, value, number)()


def _reader(path: Path, value: dict[str, Any], number: int) -> Callable[[], Results]:
    if inspect_log.looks_like(value):
        return lambda: inspect_log.read_json(path, value)
    if lm_eval.looks_like(value):
        return lambda: lm_eval.read_file(path)
    if evalscope.looks_like(value):
        return lambda: evalscope.read_file(path)
    if mlflow_table.looks_like(value):
        return lambda: mlflow_table.read_document(path, value)
    names = ", ".join(ascii(name)[:30] for name in list(value)[:6])
    raise _unknown(path, "JSON", f"its first object has {names or 'no keys'}", number)


def _unknown(path: Path, kind: str, found: str, line: int) -> DataError:
    return DataError(
        f"{kind}, but of no known kind: {found}. Tried: lm-eval (doc_id and filter), Inspect (eval "
        "and samples), EvalScope (sample_score), promptfoo (results), MLflow (columns and "
        "data), HELM (instance_id and stats), a table (an id and a score)",
        file=str(path),
        line=line,
        hint=f"so8t compare reads: {KNOWN}",
    )
