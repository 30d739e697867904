"""Runs with many or long answers: what is held of them while a report is written."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest
from build import Shape, build

from so8t.journal.store import Journal
from so8t.report.query import load_view
from so8t.report.result_files import write_result_files

if TYPE_CHECKING:
    from pathlib import Path

_COUNT = 100
_LONG = "word " * 12_000


@pytest.mark.slow
def test_texts_are_not_held_but_those_that_are_shown(tmp_path: Path) -> None:
    """A report that shows ten questions of a run holds no more than some of its answers at once."""
    shape = Shape(samples=_COUNT, trouble=False)
    directory = build(tmp_path / "run", shape, hostile=dict.fromkeys(range(_COUNT), _LONG))
    with Journal(directory, readonly=True) as journal:
        load_view(journal, embed=0)  # what is loaded and compiled once
        tracemalloc.start()
        try:
            view = load_view(journal, embed=10)
            write_result_files(journal, view)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(view.side_by_side.shown) == 10
    assert view.side_by_side.left_out == _COUNT - 10
    assert peak < _COUNT * len(_LONG) / 2


def test_a_live_run_is_read_at_one_moment(tmp_path: Path) -> None:
    """What another process writes while a report is read is in none of its parts."""
    directory = build(tmp_path / "run", Shape(samples=40, answered=20))
    with Journal(directory, readonly=True) as reader, Journal(directory) as writer:
        with reader.one_moment():
            before = load_view(reader)
            writer.event("note")
            again = load_view(reader)
        assert again.head == before.head
        assert load_view(reader).head != before.head
