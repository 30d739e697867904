"""Items of published sets that cannot be asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from so8t.errors import DataError
from so8t.tasks.benchmarks import LeftOut, load_benchmark

if TYPE_CHECKING:
    from pathlib import Path

SNARKS = "Which statement is sarcastic?\nOptions:\n(A) {0}\n(B) {1}"


def snarks(folder: Path, *, bad: str = "same") -> Path:
    """A subset with three examples, of which the second cannot be asked."""
    second = {
        "same": {"input": SNARKS.format("How nice", "How nice"), "target": "(A)"},
        "empty": {"input": SNARKS.format("How nice", "How bad"), "target": ""},
    }[bad]
    examples = [
        {"input": SNARKS.format("How nice", "How bad"), "target": "(A)"},
        second,
        {"input": SNARKS.format("Great weather", "Bad weather"), "target": "(B)"},
    ]
    path = folder / "snarks.json"
    path.write_text(json.dumps({"examples": examples}, indent=2), encoding="utf-8")
    return path


@pytest.mark.parametrize(("bad", "why"), [("same", "twice"), ("empty", "lacks")])
def test_a_bad_item_is_left_out_counted_and_named(tmp_path: Path, bad: str, why: str) -> None:
    """The others are asked under the ids that they have in the published set."""
    path = snarks(tmp_path, bad=bad)
    left_out: list[LeftOut] = []
    samples = load_benchmark("bbh", path, left_out=left_out)
    assert [sample.id for sample in samples] == ["bbh/snarks-0001", "bbh/snarks-0003"]
    assert [(one.benchmark, one.file) for one in left_out] == [("bbh", str(path))]
    assert why in left_out[0].why
    lines = path.read_text(encoding="utf-8").splitlines()
    assert '"input"' in lines[left_out[0].line - 1]


def test_strict_refuses_with_file_line_and_reason(tmp_path: Path) -> None:
    """Who wants the whole set or none says so."""
    path = snarks(tmp_path)
    with pytest.raises(DataError, match="twice") as caught:
        load_benchmark("bbh", path, strict=True)
    assert caught.value.file == str(path)


def test_a_set_of_nothing_but_bad_items_is_refused(tmp_path: Path) -> None:
    """A file of another kind is no set with a few mistakes."""
    path = tmp_path / "boolq.jsonl"
    path.write_text('{"question": "a"}\n{"question": "b"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="1 more"):
        load_benchmark("boolq", path)


def test_a_bad_row_of_a_table_leaves_the_others_their_ids(tmp_path: Path) -> None:
    """Rows keep the numbers that they have in the file."""
    path = tmp_path / "anatomy_test.csv"
    path.write_text("q1,a,b,c,d,A\nq2,a,b,c,d,X\nq3,a,b,c,d,B\n", encoding="utf-8")
    left_out: list[LeftOut] = []
    samples = load_benchmark("mmlu", path, left_out=left_out)
    assert [s.id for s in samples] == ["mmlu/anatomy_test-0001", "mmlu/anatomy_test-0003"]
    assert left_out[0].line == 2
