"""JSONL that people or their programs made: one JSON value a line; what is none has its line named.

Lenient where other programs differ and nothing is lost by it: a byte order mark, empty lines, and
of a key that stands twice the last. A suite is read more strictly (`tasks.suite`), results of
other tools as a stream (`results.lines`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from so8t.errors import DataError
from so8t.system.textfile import decode_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def raw_lines(path: Path, *, hint: str | None = None) -> Iterator[tuple[int, bytes]]:
    r"""Yield (number from 1, bytes without \n) of every line, empty ones too.

    Only \n ends a line. Raises DataError with `hint` when the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"The file cannot be read: {error.strerror}.", file=str(path), hint=hint
        ) from error
    yield from enumerate(data.split(b"\n"), start=1)


def json_line(raw: bytes, path: Path, line: int, *, hint: str) -> Any:
    """Read one line. Raises DataError with the line: no UTF-8, or no JSON, then with `hint`."""
    text = decode_line(raw, path, line)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"The line is no JSON: {error}.", file=str(path), line=line, hint=hint
        ) from error


def json_lines(path: Path, *, shape: str, missing: str | None = None) -> Iterator[tuple[int, Any]]:
    """Yield (number, value) of each line that is not empty.

    `shape` says in a hint what the objects look like, `missing` what to do about a file that
    cannot be read. Raises DataError as `raw_lines` and `json_line`.
    """
    for line, raw in raw_lines(path, hint=missing):
        if raw.strip():
            yield line, json_line(raw, path, line, hint=f"one JSON object a line: {shape}")
