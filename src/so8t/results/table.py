"""Read plain tables: CSV (also ; or tab), JSONL, or a JSON list of objects, with item and score.

Columns: `item` (or item_id, id), `score` (or the one that --metric names), and, where they are
there, `task` (part of the id), `cluster` (items that share a passage), `question` (for matching by
content). Any other column is a stratum. An empty score is missing, never zero. CSV as in RFC 4180;
a byte order mark and CRLF, as Excel writes them, are read as well.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from so8t.errors import DataError
from so8t.results.items import UNNAMED, Item, Results, SourcePlace, as_text, question_digest, shown
from so8t.results.lines import json_objects, text_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

ID_COLUMNS = ("item", "item_id", "id")
QUESTION_COLUMNS = ("question", "input", "prompt")
_DELIMITERS = ",;\t"


def looks_like(first: Mapping[str, Any], metric: str | None) -> bool:
    """Whether an object, or a header as one, has the columns of a table."""
    names = {_plain(name) for name in first}
    return bool(names & set(ID_COLUMNS)) and bool(names & {UNNAMED, _plain(metric or UNNAMED)})


def read_csv(path: Path, metric: str | None = None) -> Results | None:
    """Read a CSV file; None where its first line is no header with item and score.

    Raises:
        DataError: a row of another length than the header, one item twice, a column twice.

    """
    lines = text_lines(path)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        return None
    delimiter = _delimiter(first[1], metric)
    if delimiter is None:
        return None
    return _results(path, _csv_rows(path, first, lines, delimiter), metric)


def read_jsonl(path: Path, metric: str | None = None) -> Results:
    """Read a JSONL file.

    Raises:
        DataError: a line that is no object or lacks item or score, or one item twice.

    """
    return _results(path, json_objects(path), metric)


def read_list(path: Path, rows: list[Any], metric: str | None = None) -> Results:
    """Read a JSON list that is already parsed; errors as `read_jsonl`, with the row's number."""

    def objects() -> Iterator[tuple[SourcePlace, dict[str, Any]]]:
        for number, row in enumerate(rows, start=1):
            place = SourcePlace(path, entry=f"row {number}")
            if not isinstance(row, dict):
                raise place.error(f"{shown(row)} where an object was expected")
            yield place, row

    return _results(path, objects(), metric)


def _delimiter(header: str, metric: str | None) -> str | None:
    for delimiter in _DELIMITERS:
        if looks_like(dict.fromkeys(_split(header, delimiter)), metric):
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
    path: Path, rows: Iterable[tuple[SourcePlace, Mapping[str, Any]]], metric: str | None
) -> Results:
    items: dict[tuple[str, str], Item] = {}
    for place, row in rows:
        item = _item(place, {_plain(key): value for key, value in row.items()}, metric)
        earlier = items.get((item.task, item.id))
        if earlier is not None:
            where = earlier.place
            first = where.entry or f"line {where.line}"
            raise place.error(
                f"the item {shown(item.id)} occurs twice (first in {first})",
                hint="average repeated answers of one item first, or give each a task column",
            )
        items[item.task, item.id] = item
    return Results(str(path), "table", path.stem, list(items.values()))


def _item(place: SourcePlace, row: dict[str, Any], metric: str | None) -> Item:
    id_column = next((name for name in ID_COLUMNS if name in row), None)
    wanted = _plain(metric or UNNAMED)
    score_column = wanted if wanted in row else UNNAMED
    if id_column is None or score_column not in row:
        lacks = "item" if id_column is None else "score"
        raise place.error(f"no {lacks}", hint="each row needs an item and a score")
    question = next((name for name in QUESTION_COLUMNS if name in row), None)
    used = {id_column, score_column, UNNAMED, "task", "cluster", question}
    strata = {key: value for key, value in row.items() if key not in used and not _empty(value)}
    return Item(
        id=as_text(row[id_column], "item", place),
        task="" if _empty(row.get("task")) else as_text(row["task"], "task", place),
        scores={score_column: (row[score_column],)},
        place=place,
        digest=question_digest(row[question]) if question else None,
        strata={
            as_text(key, "column", place): as_text(value, key, place)
            for key, value in strata.items()
            if not isinstance(value, list | dict | bool)
        }
        | {key: str(value).lower() for key, value in strata.items() if isinstance(value, bool)},
        cluster=None if _empty(row.get("cluster")) else as_text(row["cluster"], "cluster", place),
    )


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _plain(name: str) -> str:
    return name.strip().lower()
