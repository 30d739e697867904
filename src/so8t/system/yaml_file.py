"""Read YAML that people made, with a bound on what it can grow to.

An alias costs a few bytes and stands for all that its anchor holds, anchors in it included: 449
bytes can stand for a billion values. The events of a file are read first, without building
anything, and what its aliases would add is counted; so is how deep it is nested, since building
it recurses.
"""

from __future__ import annotations

from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

#: Values that all aliases of a file together may add, and levels of nesting.
MOST_REPEATED = 10_000
DEEPEST = 50


class YamlProblemError(Exception):
    """What is wrong with a text that should be YAML; `line` and `column` count from 1."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


def load_yaml(text: str) -> Any:
    """Return what a YAML text holds; its mappings and lists know their lines (`.lc`).

    Raises YamlProblemError: no YAML, a value that is none (2024-99-99), nesting deeper than
    DEEPEST, aliases that add more than MOST_REPEATED values, or one that holds itself.
    """
    try:
        _check_size(text)
        return YAML(typ="rt", pure=True).load(StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = str(error.problem or error.context)
        raise (_at(said, mark) if mark is not None else YamlProblemError(said)) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlProblemError(str(error.reason), line) from error
    except (YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise YamlProblemError(str(error)) from error


def _check_size(text: str) -> None:
    """Count the values that aliases repeat, and the levels. Raises YamlProblemError."""
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []  # its anchor, and the values before it
    values = repeated = 0
    for event in YAML(typ="rt", pure=True).parse(StringIO(text)):
        if isinstance(event, AliasEvent):
            size = _size(event, sizes, open_nodes)
            values, repeated = values + size, repeated + size
            if repeated > MOST_REPEATED:
                raise _at(f"aliases stand for more than {MOST_REPEATED:,} values", event.start_mark)
        elif isinstance(event, NodeEvent):
            sizes[event.anchor or ""] = 1  # right for a scalar; a collection says it at its end
            if isinstance(event, SequenceStartEvent | MappingStartEvent):
                open_nodes.append((event.anchor, values))
            values += 1
            if len(open_nodes) > DEEPEST:
                raise _at(f"nested more than {DEEPEST} levels deep", event.start_mark)
        elif isinstance(event, SequenceEndEvent | MappingEndEvent):
            anchor, before = open_nodes.pop()
            sizes[anchor or ""] = values - before


def _size(
    event: AliasEvent, sizes: dict[str, int], open_nodes: list[tuple[str | None, int]]
) -> int:
    """Return how many values an alias stands for; an unknown one is told when it is built."""
    if any(anchor == event.anchor for anchor, _ in open_nodes):
        raise _at("an alias that holds itself", event.start_mark)
    return sizes.get(event.anchor, 1)


def _at(message: str, mark: Any) -> YamlProblemError:
    return YamlProblemError(message, mark.line + 1, mark.column + 1)
