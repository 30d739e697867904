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
from so8t.results.items import (
    NO_STRATA,
    UNNAMED,
    Item,
    Results,
    SourcePlace,
    as_text,
    plain_number,
    question_digest,
    shown,
)
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
_KEPT_ONCE = 10_000


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


def read_csv(path: Path, columns: Columns | None = None) -> Results | None:
    """Read a CSV file; None where its first line is no header with an id and a score.

    Raises:
        DataError: a row of another length than the header, one item twice, a column twice.

    """
    columns = columns or Columns()
    lines = text_lines(path)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        return None
    delimiter = _delimiter(first[1], columns)
    if delimiter is None:
        return None
    header = _split(first[1], delimiter)
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise DataError(f"the column {shown(twice[0])} occurs twice", file=str(path), line=first[0])
    layout = _layout([_plain(name) for name in header], columns)
    items = _Items(path, columns)
    for line, row in _csv_rows(path, first[0], len(header), lines, delimiter):
        items.add(line, None, layout, row)
    return items.results()


def read_jsonl(path: Path, columns: Columns | None = None) -> Results:
    """Read a JSONL file.

    Raises:
        DataError: a line that is no object or lacks an id or a score, or one item twice.

    """
    return _of_objects(path, json_objects(path), columns or Columns())


def read_list(path: Path, rows: list[Any], columns: Columns | None = None) -> Results:
    """Read a JSON list that is already parsed; errors as `read_jsonl`, with the row's number."""

    def objects() -> Iterator[tuple[SourcePlace, dict[str, Any]]]:
        for number, row in enumerate(rows, start=1):
            place = SourcePlace(path, entry=f"row {number}")
            if not isinstance(row, dict):
                raise place.error(f"{shown(row)} where an object was expected")
            yield place, row

    return _of_objects(path, objects(), columns or Columns())


def _of_objects(
    path: Path, rows: Iterable[tuple[SourcePlace, dict[str, Any]]], columns: Columns
) -> Results:
    items = _Items(path, columns)
    layouts: dict[tuple[str, ...], _Layout] = {}
    for place, row in rows:
        names = tuple(row)
        layout = layouts.get(names)
        if layout is None:
            layout = layouts[names] = _layout([_plain(name) for name in names], columns)
        items.add(place.line or 0, place, layout, list(row.values()))
    return items.results()


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
    path: Path, before: int, width: int, lines: Iterator[tuple[int, str]], delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, cells) of each row below the header, which stands in line `before`."""
    reader = csv.reader((line for _, line in lines), delimiter=delimiter, strict=True)
    begin = before + 1
    try:
        for row in reader:
            line, begin = begin, before + 1 + reader.line_num
            if not row:
                continue
            if len(row) != width:
                raise SourcePlace(path, line).error(
                    f"{len(row)} columns, but the header has {width}",
                    hint="put text that holds the separator into quotes",
                )
            yield line, row
    except csv.Error as error:
        raise DataError(f"no CSV: {error}", file=str(path), line=begin) from error


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where in a row each column stands; None where it is not there."""

    item: int | None
    score: int | None
    task: int | None
    cluster: int | None
    question: int | None
    strata: tuple[tuple[int, str], ...]


def _layout(names: list[str], columns: Columns) -> _Layout:
    def at(name: str | None) -> int | None:
        return None if name is None else names.index(name)

    found = [
        at(_pick(names, columns.item, ID_COLUMNS)),
        at(_score_of(names, columns)),
        at(_pick(names, None, TASK_COLUMNS)),
        at(_pick(names, None, CLUSTER_COLUMNS)),
        at(_pick(names, None, QUESTION_COLUMNS)),
    ]
    strata = tuple(
        (place, name) for place, name in enumerate(names) if place not in found and name != UNNAMED
    )
    item, score, task, cluster, question = found
    return _Layout(item, score, task, cluster, question, strata)


class _Items:
    """Collects the rows of one table."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self._path, self._columns = path, columns
        self._items: list[Item] = []
        self._seen: dict[str, dict[str, Item]] = {}  # by task and id, without a tuple for each
        # Tasks, strata and most scores are few texts in many rows: each is kept once.
        self._texts: dict[str, str] = {}
        self._scores: dict[str, Any] = {}

    def add(self, line: int, place: SourcePlace | None, layout: _Layout, row: list[Any]) -> None:
        """Read a row; `place` is where it stands, None is `line` of the file."""
        if layout.item is None or layout.score is None:
            lacks = "item" if layout.item is None else "score"
            raise self._place(line, place).error(
                f"no {lacks}", hint="each row needs an item and a score"
            )
        name = row[layout.item]
        if type(name) is not str or not name.isascii() or not name.strip() or name[0] <= " ":
            name = as_text(name, "item", self._place(line, place))
        name = name.rstrip() if name[-1] <= " " else name
        task = "" if layout.task is None else self._text(row[layout.task], "task", line, place)
        score = row[layout.score]
        item = Item(
            name,
            task or "",
            self._score(score),
            place or (self._path, line),
            question_digest(row[layout.question]) if layout.question is not None else None,
            self._strata(layout, row, line, place) if layout.strata else NO_STRATA,
            None
            if layout.cluster is None
            else self._text(row[layout.cluster], "cluster", line, place) or None,
        )
        earlier = self._seen.setdefault(item.task, {}).setdefault(name, item)
        if earlier is item:
            self._items.append(item)
        else:
            self._again(earlier, item)

    def _score(self, raw: Any) -> Any:
        """Return a score as it is kept: a plain number as such, all else as it stands."""
        found = self._scores.get(raw) if type(raw) is str else None
        if found is None:
            number = plain_number(raw)
            found = _raw(raw) if number is None else number
            if type(raw) is str and len(self._scores) < _KEPT_ONCE:
                self._scores[raw] = found
        return found

    def results(self) -> Results:
        """Return what was collected."""
        return Results(str(self._path), "table", self._path.stem, self._items)

    def _place(self, line: int, place: SourcePlace | None) -> SourcePlace:
        return place or SourcePlace(self._path, line)

    def _text(self, value: Any, what: str, line: int, place: SourcePlace | None) -> str:
        """Return a cell as text that is kept once; empty where it is."""
        if type(value) is str and value in self._texts:
            value = self._texts[value]
        if _empty(value):
            return ""
        text = as_text(value, what, self._place(line, place))
        return str(self._texts.setdefault(text, text))

    def _strata(
        self, layout: _Layout, row: list[Any], line: int, place: SourcePlace | None
    ) -> dict[str, str]:
        found = {}
        for at, name in layout.strata:
            value = row[at]
            if isinstance(value, list | dict) or _empty(value):
                continue
            if isinstance(value, bool):
                found[name] = str(value).lower()
            else:
                column = as_text(name, "column", self._place(line, place))
                found[column] = self._text(value, name, line, place)
        return found

    def _again(self, earlier: Item, item: Item) -> None:
        """Take a second row of an item as a person asked for it."""
        if self._columns.duplicates == "mean":
            both = (*earlier.scores[UNNAMED], *item.scores[UNNAMED])
            earlier.scores = {UNNAMED: both}
        elif self._columns.duplicates == "refuse":
            where = earlier.place
            first = where.entry or f"line {where.line}"
            raise item.place.error(
                f"the item {shown(item.id)} occurs twice (first in {first})",
                hint="--duplicates mean averages them, --duplicates first keeps the first; or give "
                "each a task column",
            )


def _raw(score: Any) -> Any:
    """Keep a dictionary, which is no score, from being taken for several."""
    return {UNNAMED: (score,)} if isinstance(score, dict) else score


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip().lower()
