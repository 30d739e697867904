"""Read plain tables: CSV (also ; or tab), JSONL, or a JSON list of objects, with item and score.

Columns: an id (`ID_COLUMNS`), a score (`SCORE_COLUMNS`, or the one that is named), and, where they
are there, `task` (part of the id), `cluster` (items that share a passage), `question` (for matching
by content); English or Japanese. Any other column is a stratum. An empty score is missing, never
zero. CSV as in RFC 4180; a byte order mark and CRLF, as Excel writes them, are read as well.
"""

from __future__ import annotations

import csv
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from so8t.errors import DataError
from so8t.results.items import UNNAMED, Item, Results, SourcePlace, as_text, question_digest, shown
from so8t.results.lines import json_objects, text_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

Duplicates = Literal["refuse", "first", "mean"]
#: Names of columns, in lower case; the first that is there counts.
ID_COLUMNS = (
    "item", "item_id", "id", "question_id", "qid", "sample_id", "example_id", "instance_id",
    "doc_id", "問題id", "設問id", "問題番号", "設問番号", "番号", "項目", "項目id",
)  # fmt: skip
SCORE_COLUMNS = (
    UNNAMED, "correct", "is_correct", "accuracy", "acc", "exact_match", "passed", "pass",
    "スコア", "得点", "正誤", "正解", "正答", "点数", "評価",
)  # fmt: skip
QUESTION_COLUMNS = ("question", "input", "prompt", "問題", "問題文", "質問", "設問", "入力")
TASK_COLUMNS = ("task", "タスク", "課題")
CLUSTER_COLUMNS = ("cluster", "クラスタ", "クラスター")
_DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True)
class Columns:
    """What a person says of a table's columns; None leaves it to their names.

    Attributes:
        item: the column with the ids; it must be there.
        score: the column with the scores; it must be there.
        metric: the column with the scores where there is one of this name.
        duplicates: what is made of an id that occurs several times: "refuse", "first" (its first
            line counts) or "mean" (its lines are repeats).

    """

    item: str | None = None
    score: str | None = None
    duplicates: Duplicates = "refuse"
    metric: str | None = None


def looks_like(first: Mapping[str, Any], columns: Columns) -> bool:
    """Whether an object, or a header as one, has the columns of a table."""
    names = {_plain(name) for name in first}
    return (
        _pick(names, columns.item, ID_COLUMNS) is not None and _score_of(names, columns) is not None
    )


def _pick(names: Iterable[str], named: str | None, known: tuple[str, ...]) -> str | None:
    """Return the column that was named, else the first known one; None where it is not there."""
    there = set(names)
    wanted = known if named is None else (_plain(named),)
    return next((name for name in wanted if name in there), None)


def _score_of(names: Iterable[str], columns: Columns) -> str | None:
    known = SCORE_COLUMNS if columns.metric is None else (_plain(columns.metric), *SCORE_COLUMNS)
    return _pick(names, columns.score, known)


def read_csv(path: Path, columns: Columns = Columns()) -> Results | None:
    """Read a CSV file; None where its first line is no header with item and score.

    Raises:
        DataError: a row of another length than the header, one item twice, a column twice.

    """
    lines = text_lines(path)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        return None
    delimiter = _delimiter(first[1], columns)
    if delimiter is None:
        return None
    return _results(path, _csv_rows(path, first, lines, delimiter), columns)


def read_jsonl(path: Path, columns: Columns = Columns()) -> Results:
    """Read a JSONL file.

    Raises:
        DataError: a line that is no object or lacks item or score, or one item twice.

    """
    return _results(path, json_objects(path), columns)


def read_list(path: Path, rows: list[Any], columns: Columns = Columns()) -> Results:
    """Read a JSON list that is already parsed; errors as `read_jsonl`, with the row's number."""

    def objects() -> Iterator[tuple[SourcePlace, dict[str, Any]]]:
        for number, row in enumerate(rows, start=1):
            place = SourcePlace(path, entry=f"row {number}")
            if not isinstance(row, dict):
                raise place.error(f"{shown(row)} where an object was expected")
            yield place, row

    return _results(path, objects(), columns)


def _delimiter(header: str, columns: Columns) -> str | None:
    for delimiter in _DELIMITERS:
        if looks_like(dict.fromkeys(_split(header, delimiter)), columns):
            return delimiter
    return None


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _csv_rows(
    path: Path, first: tuple[int, str], lines: Iterator[tuple[int, str]], delimiter: str
) -> Iterator[tuple[SourcePlace, dict[str, str]]]:
    before, header_line = first
    header = _split(header_line, delimiter)
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise DataError(f"the column {shown(twice[0])} occurs twice", file=str(path), line=before)
    reader = csv.reader((line for _, line in lines), delimiter=delimiter, strict=True)
    begin = before + 1
    try:
        for row in reader:
            place, begin = SourcePlace(path, begin), before + 1 + reader.line_num
            if not row:
                continue
            if len(row) != len(header):
                raise place.error(
                    f"{len(row)} columns, but the header has {len(header)}",
                    hint="put text that holds the separator into quotes",
                )
            yield place, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise DataError(f"no CSV: {error}", file=str(path), line=begin) from error


def _results(
    path: Path, rows: Iterable[tuple[SourcePlace, Mapping[str, Any]]], columns: Columns
) -> Results:
    items: dict[tuple[str, str], Item] = {}
    for place, row in rows:
        item = _item(place, {_plain(key): value for key, value in row.items()}, columns)
        earlier = items.get((item.task, item.id))
        if earlier is None:
            items[item.task, item.id] = item
        elif columns.duplicates == "mean":
            earlier.scores = {
                name: values + item.scores.get(name, ()) for name, values in earlier.scores.items()
            }
        elif columns.duplicates == "refuse":
            where = earlier.place
            first = where.entry or f"line {where.line}"
            raise place.error(
                f"the item {shown(item.id)} occurs twice (first in {first})",
                hint="--duplicates mean averages them, --duplicates first keeps the first; or give "
                "each a task column",
            )
    return Results(str(path), "table", path.stem, list(items.values()))


def _item(place: SourcePlace, row: dict[str, Any], columns: Columns) -> Item:
    id_column = _pick(row, columns.item, ID_COLUMNS)
    score_column = _score_of(row, columns)
    if id_column is None or score_column is None:
        lacks = "item" if id_column is None else "score"
        raise place.error(f"no {lacks}", hint="each row needs an item and a score")
    question, task, cluster = (
        _pick(row, None, known) for known in (QUESTION_COLUMNS, TASK_COLUMNS, CLUSTER_COLUMNS)
    )
    used = {id_column, score_column, UNNAMED, question, task, cluster}
    strata = {key: value for key, value in row.items() if key not in used and not _empty(value)}
    return Item(
        id=as_text(row[id_column], "item", place),
        task="" if task is None or _empty(row[task]) else as_text(row[task], "task", place),
        # Whatever the column is called, it is the only score of the table.
        scores={UNNAMED: (row[score_column],)},
        place=place,
        digest=question_digest(row[question]) if question else None,
        strata={
            as_text(key, "column", place): as_text(value, key, place)
            for key, value in strata.items()
            if not isinstance(value, list | dict | bool)
        }
        | {key: str(value).lower() for key, value in strata.items() if isinstance(value, bool)},
        cluster=None
        if cluster is None or _empty(row[cluster])
        else as_text(row[cluster], "cluster", place),
    )


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip().lower()
