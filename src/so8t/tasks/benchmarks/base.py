"""What every named benchmark is: where its files are, how a row becomes a question."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from so8t.domain.exchange import Message
from so8t.domain.sample import Origin, Sample
from so8t.errors import DataError, PrerequisiteError, UsageError
from so8t.system.textfile import read_text
from so8t.tasks.graders import validate_grader
from so8t.tasks.graders.text import normalize

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class BenchmarkItem:
    """One row of a benchmark: a question, how it is graded, and a model answer for few-shot use.

    `group` is what few-shot examples must share with the question (a subject), `place` is where
    the row stands, for messages. An item with a `flaw` cannot be asked: the flaw says why.
    """

    key: str
    question: str
    grader: dict[str, Any]
    reference: str | None
    answer: str = ""
    group: str = ""
    cluster: str | None = None
    place: tuple[str, int] = ("", 0)
    flaw: str | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An item of a published set that cannot be asked: where it stands, and why."""

    benchmark: str
    file: str
    line: int
    why: str

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.benchmark}: {self.file}:{self.line} is left out: {self.why}"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A named benchmark.

    Attributes:
        name: what a config writes, and the `task` of its samples.
        description: one line for a person.
        licence: licence of the data, with what it forbids.
        source: where the files come from.
        metric: what the mean score is.
        language: ISO 639-1 code.
        category: what it is reported under.
        files: where the questions may stand below the data directory, the likeliest first; a
            pattern with * is every file that matches.
        read: reads one file of questions.
        shots: name of the few-shot file for a file of questions, None where there is none.
        read_shots: reads the few-shot file; `read` where left out.
        max_tokens: token budget of an answer, None for the run's default.

    """

    name: str
    description: str
    licence: str
    source: str
    metric: str
    language: str
    category: str
    files: tuple[str, ...]
    read: Callable[[Path], Iterator[BenchmarkItem]]
    shots: Callable[[Path], Path] | None = None
    read_shots: Callable[[Path], Iterator[BenchmarkItem]] | None = None
    max_tokens: int | None = None
    aliases: tuple[str, ...] = field(default=())


def find_files(benchmark: Benchmark, data: Path) -> list[Path]:
    """Find the files of questions: `data` itself, or the first place below it that has them.

    Raises:
        PrerequisiteError: naming every place that was looked at.

    """
    if data.is_file():
        return [data]
    for place in benchmark.files:
        found = sorted(data.glob(place)) if "*" in place else [data / place]
        found = [path for path in found if path.is_file()]
        if found:
            return found
    wanted = " or ".join(str(data / place) for place in benchmark.files[:2])
    raise PrerequisiteError(
        f"benchmark {benchmark.name!r} has no data: there is no {wanted}",
        hint=f"get it from {benchmark.source}, and name its folder as the benchmark's data",
    )


def load(
    benchmark: Benchmark,
    data: Path,
    *,
    limit: int | None,
    few_shot: int,
    seed: int,
    max_tokens: int | None,
    strict: bool = False,
    left_out: list[LeftOut] | None = None,
) -> list[Sample]:
    """Read, choose and turn into samples; see `load_benchmark`."""
    items: list[BenchmarkItem] = []
    shots: list[BenchmarkItem] = []
    for path in find_files(benchmark, data):
        items.extend(_checked(item) for item in benchmark.read(path))
        if few_shot:
            shots.extend(_shot_pool(benchmark, path))
    _check_unique(items)
    items = _without_flaws(benchmark, items, strict=strict, left_out=left_out)
    if limit is not None and limit < len(items):
        chosen = {item.key for item in _ranked(items, seed, benchmark.name)[:limit]}
        items = [item for item in items if item.key in chosen]
    by_group: dict[str, tuple[Message, ...]] = {}
    samples = []
    for item in items:
        if few_shot and item.group not in by_group:
            by_group[item.group] = _turns(benchmark, shots, item.group, few_shot, seed)
        samples.append(_sample(benchmark, item, by_group.get(item.group, ()), max_tokens))
    return samples


def _checked(item: BenchmarkItem) -> BenchmarkItem:
    """Mark an item that no grader can grade."""
    if item.flaw is None:
        try:
            validate_grader(item.grader, item.reference)
        except DataError as error:
            return replace(item, flaw=error.message)
    return item


def _without_flaws(
    benchmark: Benchmark,
    items: list[BenchmarkItem],
    *,
    strict: bool,
    left_out: list[LeftOut] | None,
) -> list[BenchmarkItem]:
    """Leave out what cannot be asked, and tell of it; refuse it all where nothing else is left."""
    flawed = [
        LeftOut(benchmark.name, *item.place, item.flaw) for item in items if item.flaw is not None
    ]
    whole = [item for item in items if item.flaw is None]
    if flawed and (strict or not whole):
        first = flawed[0]
        others = f", and {len(flawed) - 1} more" if len(flawed) > 1 else ""
        hint = "without `strict: true` such items are left out and named" if strict else None
        raise DataError(f"{first.why}{others}", file=first.file, line=first.line, hint=hint)
    if left_out is not None:
        left_out.extend(flawed)
    return whole


def _sample(
    benchmark: Benchmark, item: BenchmarkItem, turns: tuple[Message, ...], max_tokens: int | None
) -> Sample:
    grader = validate_grader(item.grader, item.reference)
    return Sample(
        id=f"{benchmark.name}/{item.key}",
        task=benchmark.name,
        origin=Origin.HF,
        category=benchmark.category,
        language=benchmark.language,
        messages=(*turns, Message("user", item.question)),
        grader=grader,
        reference=item.reference,
        max_tokens=benchmark.max_tokens if max_tokens is None else max_tokens,
        cluster=item.cluster,
    )


def _shot_pool(benchmark: Benchmark, path: Path) -> Iterator[BenchmarkItem]:
    """Read the few-shot examples that belong to a file of questions."""
    if benchmark.shots is None:
        raise UsageError(
            f"benchmark {benchmark.name!r} has no few-shot examples", hint="set few_shot to 0"
        )
    source = benchmark.shots(path)
    if not source.is_file():
        raise PrerequisiteError(
            f"benchmark {benchmark.name!r} takes its few-shot examples from {source}, "
            "which is not there",
            hint=f"get it from {benchmark.source}, or set few_shot to 0",
        )
    yield from (benchmark.read_shots or benchmark.read)(source)


def _turns(
    benchmark: Benchmark, pool: Sequence[BenchmarkItem], group: str, count: int, seed: int
) -> tuple[Message, ...]:
    """Give the same examples to every question of a group, so that they share a prefix."""
    fitting = [item for item in pool if item.group == group]
    if len(fitting) < count:
        raise UsageError(
            f"benchmark {benchmark.name!r} has {len(fitting)} few-shot examples"
            + (f" for {group}" if group else ""),
            hint=f"set few_shot to {len(fitting)} or less",
        )
    return tuple(
        message
        for item in _ranked(fitting, seed, benchmark.name)[:count]
        for message in (Message("user", item.question), Message("assistant", item.answer))
    )


def _ranked(items: Iterable[BenchmarkItem], seed: int, salt: str) -> list[BenchmarkItem]:
    """Put items in a seeded random order that no platform or Python version changes."""
    return sorted(
        items, key=lambda item: hashlib.sha256(f"{seed}\0{salt}\0{item.key}".encode()).digest()
    )


def _check_unique(items: Sequence[BenchmarkItem]) -> None:
    counts = Counter(item.key for item in items)
    for item in items:
        if counts[item.key] > 1:
            file, line = item.place
            raise DataError(f"the id {item.key!r} stands twice", file=file, line=line)


# Reading rows ---------------------------------------------------------------------------------


def each(rows: Iterable[Row], make: Callable[[int, Row], BenchmarkItem]) -> Iterator[BenchmarkItem]:
    """Make an item of each row, numbered from 1; a row that none can be made of is marked."""
    for number, row in enumerate(rows, start=1):
        try:
            yield make(number, row)
        except DataError as error:
            key = f"{Path(row.place[0]).stem}-row-{number:06d}"
            yield flawed_item(key, row.place, error.message)


def flawed_item(key: str, place: tuple[str, int], why: str) -> BenchmarkItem:
    """Return an item that only says why it cannot be asked."""
    return BenchmarkItem(key=key, question="", grader={}, reference=None, place=place, flaw=why)


class Row:
    """A row of a data file: named columns, read with a message that says where one is missing."""

    def __init__(self, values: dict[str, Any], path: Path, line: int) -> None:
        self.values = values
        self.place = (str(path), line)

    def text(self, column: str) -> str:
        """Return a column that must hold text.

        Raises:
            DataError: it is missing, empty, or something else.

        """
        value = self.values.get(column)
        if not isinstance(value, str) or not value.strip():
            self.fail(f"column {column!r} holds no text: {value!r}")
        return value

    def number(self, column: str, below: int) -> int:
        """Return a column that must hold a whole number from 0 up to below a bound.

        Raises:
            DataError: it is missing, outside, or something else.

        """
        value = self.values.get(column)
        if isinstance(value, str) and value.strip().isdecimal():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < below:
            self.fail(f"column {column!r} is to be a number from 0 to {below - 1}: {value!r}")
        return value

    def one_of(self, column: str, names: Iterable[str]) -> str:
        """Return a column that must hold one of a few labels.

        Raises:
            DataError: it holds another.

        """
        value = self.text(column)
        known = list(names)
        if value not in known:
            self.fail(f"column {column!r} is to be one of {', '.join(known)}: {value!r}")
        return value

    def fail(self, message: str) -> NoReturn:
        """Raise a DataError for this row."""
        file, line = self.place
        raise DataError(message, file=file, line=line)


def jsonl_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSON-lines file.

    Raises:
        DataError: a line is no JSON object.

    """
    text = read_text(path, what="data", allow_bom=True)
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(f"no JSON: {error}", file=str(path), line=line) from error
        if not isinstance(value, dict):
            raise DataError("a row is a JSON object", file=str(path), line=line)
        yield Row(value, path, line)


def table_rows(
    path: Path, columns: Sequence[str] | None = None, delimiter: str = ","
) -> Iterator[Row]:
    """Yield the rows of a CSV file (TSV: without quoting), named by its header or by `columns`.

    Raises:
        DataError: a row has more or fewer cells than there are names.

    """
    text = read_text(path, what="data", allow_bom=True)
    reader = (
        csv.reader(StringIO(text), strict=True)
        if delimiter == ","
        else csv.reader(StringIO(text), delimiter=delimiter, quoting=csv.QUOTE_NONE)
    )
    names = list(columns or ())
    line = 1
    try:
        for cells in reader:
            if not names:
                names = cells
            elif cells and len(cells) != len(names):
                raise DataError(
                    f"{len(cells)} cells where {len(names)} are expected ({', '.join(names)})",
                    file=str(path),
                    line=line,
                )
            elif cells:
                yield Row(dict(zip(names, cells, strict=True)), path, line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"no CSV: {error}", file=str(path), line=line) from error


def json_file(path: Path) -> Any:
    """Read a file that is one JSON value.

    Raises:
        DataError: it is not.

    """
    try:
        return json.loads(read_text(path, what="data", allow_bom=True))
    except json.JSONDecodeError as error:
        raise DataError(f"no JSON: {error.msg}", file=str(path), line=error.lineno) from error
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, brackets nested without end.
        raise DataError(f"no JSON that can be read: {error}", file=str(path)) from error


# Prompts --------------------------------------------------------------------------------------

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ANSWER_WITH_LETTER = {
    "en": "Answer with the letter of the right choice only.",
    "ja": "正しい選択肢の記号だけを答えてください。",
}


def lettered(question: str, options: Sequence[str], language: str) -> str:
    """Ask a multiple-choice question: the question, one lettered option a line, the instruction."""
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    return "\n".join((question.strip(), *lines, "", ANSWER_WITH_LETTER[language]))


def choice_item(
    row: Row,
    key: str,
    question: str,
    options: Sequence[str],
    right: int,
    language: str,
    *,
    group: str = "",
) -> BenchmarkItem:
    """Make a multiple-choice item. Published sets have equal options here and there."""
    options = [option.strip() for option in options]
    equal = len({normalize(option) for option in options}) < len(options)
    return BenchmarkItem(
        key=key,
        question=lettered(question, options, language),
        grader={"type": "choice", "options": options, **({"equal": True} if equal else {})},
        reference=LETTERS[right],
        answer=LETTERS[right],
        group=group,
        place=row.place,
    )
