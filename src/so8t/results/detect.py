"""Find out what a person named: a run of ours, or a log or table of another tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.domain.exchange import Arm
from so8t.errors import DataError, PrerequisiteError
from so8t.results import evalscope, inspect_log, lm_eval, own, table
from so8t.results.items import Results, SourcePlace
from so8t.results.lines import parse_json, text_lines

if TYPE_CHECKING:
    from collections.abc import Callable

_ZIP = b"PK"
#: What is understood, for the messages.
KNOWN = (
    "lm-eval samples_*.jsonl (or their directory), an Inspect log (.eval or .json), EvalScope "
    "reviews (.jsonl), CSV or JSONL with item and score, a run directory of so8t"
)


def read_results(argument: str, metric: str | None = None) -> Results:
    """Read the results that `argument` names: a path, or `RUN:a` and `RUN:b` for a run's arms.

    A run without an arm means its model B. `metric` matters here for tables only, whose score it
    may name.

    Raises:
        DataError: nothing that is understood, nothing in it, or what the reader says.
        PrerequisiteError: there is no such file, or it cannot be read.

    """
    path, arm = _split(argument)
    if not path.exists():
        raise PrerequisiteError(
            f"there is nothing at {path}.", hint="so8t compare takes files and run directories"
        )
    if path.is_dir():
        results = _read_directory(path, arm)
    elif arm is not None:
        raise DataError(f"is no run, so it has no :{arm.value}", file=str(path))
    else:
        results = _read_file(path, metric)
    if not results.items:
        raise DataError("there is no item in it", file=str(path))
    return results


def _split(argument: str) -> tuple[Path, Arm | None]:
    # What exists under its full name is that: on Windows, C:a is a path.
    if not Path(argument).exists():
        for arm in Arm:
            if argument.endswith(f":{arm.value}") and len(argument) > len(":a"):
                return Path(argument.removesuffix(f":{arm.value}")), arm
    return Path(argument), None


def _read_directory(path: Path, arm: Arm | None) -> Results:
    if own.looks_like(path):
        return own.read_run(path, arm or Arm.B)
    if arm is not None:
        raise DataError(f"is no run, so it has no :{arm.value}", file=str(path))
    if next(path.glob(lm_eval.PATTERN), None) or next(path.glob(f"*/{lm_eval.PATTERN}"), None):
        return lm_eval.read_directory(path)
    if evalscope.review_files(path):
        return evalscope.read_directory(path)
    raise DataError(
        "a directory without journal.sqlite, samples_*.jsonl or reviews/",
        file=str(path),
        hint=f"so8t compare reads: {KNOWN}",
    )


def _read_file(path: Path, metric: str | None) -> Results:
    try:
        with path.open("rb") as file:
            start = file.read(len(_ZIP))
    except OSError as error:
        raise PrerequisiteError(f"{path} cannot be read: {error.strerror}") from error
    if start == _ZIP:
        return inspect_log.read_eval(path)
    first = next(((n, line) for n, line in text_lines(path) if line.strip()), None)
    if first is None:
        raise DataError("the file is empty", file=str(path), line=1)
    if first[1].lstrip().startswith(("{", "[")):
        return _read_json(path, *first, metric)
    found = table.read_csv(path, metric)
    if found is None:
        raise _unknown(
            path, "CSV", f"its first line has no columns item and {metric or 'score'}", first[0]
        )
    return found


def _read_json(path: Path, number: int, line: str, metric: str | None) -> Results:
    """Read JSONL by its first line, or one JSON document."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        # The beginning of a document over several lines, or a broken first line: this tells which.
        value = parse_json("".join(text for _, text in text_lines(path)), SourcePlace(path))
    if isinstance(value, list):
        return table.read_list(path, value, metric)
    if not isinstance(value, dict):
        raise _unknown(path, "JSON", f"it is a {type(value).__name__}", number)
    return _reader(path, value, number, metric)()


def _reader(
    path: Path, value: dict[str, Any], number: int, metric: str | None
) -> Callable[[], Results]:
    if inspect_log.looks_like(value):
        return lambda: inspect_log.read_json(path, value)
    if lm_eval.looks_like(value):
        return lambda: lm_eval.read_file(path)
    if evalscope.looks_like(value):
        return lambda: evalscope.read_file(path)
    if table.looks_like(value, metric):
        return lambda: table.read_jsonl(path, metric)
    names = ", ".join(ascii(name)[:30] for name in list(value)[:6])
    raise _unknown(path, "JSON", f"its first object has {names or 'no keys'}", number)


def _unknown(path: Path, kind: str, found: str, line: int) -> DataError:
    return DataError(
        f"{kind}, but of no known kind: {found}. Tried: lm-eval (doc_id and filter), Inspect (eval "
        "and samples), EvalScope (sample_score), a table (item and score)",
        file=str(path),
        line=line,
        hint=f"so8t compare reads: {KNOWN}",
    )
