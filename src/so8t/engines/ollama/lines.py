r"""Lines of a stream, split at the newline byte and nowhere else.

Python's own line splitting also breaks at U+0085, U+2028 and others, which occur inside answers;
the wire's line end is `\n` alone. A chunk boundary is no promise: it may lie inside a character.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from so8t.engines.ollama.faults import Fault, OllamaError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the non-empty lines of `chunks`, without their newline; the last needs none."""
    # Parts of an unfinished line are kept apart and joined once: adding bytes to bytes would take
    # time in the square of a line that comes in small pieces.
    parts: list[bytes] = []
    for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        parts.append(first)
        for piece in rest:
            line = b"".join(parts)
            parts = [piece]
            if line.strip():
                yield line
    line = b"".join(parts)
    if line.strip():
        yield line


def parse_object(line: bytes) -> dict[str, Any]:
    """Return the JSON object of one line. Raises OllamaError(MALFORMED) for anything else."""
    try:
        value = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        shown = line[:80].decode("utf-8", "replace")
        raise OllamaError(Fault.MALFORMED, f"not JSON ({error}): {shown!r}") from None
    if not isinstance(value, dict):
        raise OllamaError(Fault.MALFORMED, f"JSON, but no object: {line[:80].decode()!r}")
    return value


def objects(chunks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a stream of JSON lines.

    Raises OllamaError(MALFORMED) for a line that is none. A connection that breaks inside a line
    raises its own error first, so a torn line is never taken for a malformed one.
    """
    for line in split_lines(chunks):
        yield parse_object(line)
