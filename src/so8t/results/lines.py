"""Read text of unknown origin line by line, and name the line where it stops making sense."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from so8t.errors import PrerequisiteError
from so8t.results.items import SourcePlace, shown
from so8t.system.textfile import decode_line, refuse_nul

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yield (number, line with its \n) of a UTF-8 file; a byte order mark is dropped.

    The file is streamed: a log of gigabytes costs the memory of its longest line.

    Raises:
        DataError: another encoding, NUL bytes; with the line.
        PrerequisiteError: the file cannot be read.

    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                yield number, _decode(raw, path, number)
    except OSError as error:
        raise PrerequisiteError(f"{path} cannot be read: {error.strerror}") from error


def _decode(raw: bytes, path: Path, number: int) -> str:
    text = decode_line(raw, path, number)
    refuse_nul(raw, path, number)
    return text


def json_objects(path: Path) -> Iterator[tuple[SourcePlace, dict[str, Any]]]:
    """Yield (place, object) of each line of a JSONL file; empty lines are skipped.

    Raises:
        DataError: a line is no JSON, or JSON but no object.
        PrerequisiteError: the file cannot be read.

    """
    for number, line in text_lines(path):
        if not line.strip():
            continue
        place = SourcePlace(path, number)
        value = parse_json(line, place)
        if not isinstance(value, dict):
            raise place.error(
                f"a JSON {type(value).__name__}, not an object: {shown(value)}",
                hint="each line of a JSONL file is one {...}",
            )
        yield place, value


def parse_json(text: str | bytes, place: SourcePlace) -> Any:
    """Read JSON from anyone. Raises DataError where it is none, with what is wrong."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = place.line if place.line is not None else error.lineno
        raise SourcePlace(place.file, line, place.entry).error(
            f"no JSON: {error.msg} at character {error.colno}",
            hint="is the file complete? a line that was cut off has to go",
        ) from error
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, brackets nested without end, bytes that are no text.
        raise place.error(f"no JSON that can be read: {error}") from error
