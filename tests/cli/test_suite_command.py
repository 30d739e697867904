"""`so8t suite`: what it prints and how it ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from so8t.cli import invoke as run

if TYPE_CHECKING:
    from pathlib import Path

ITEM = {"id": "a", "category": "logic", "prompt": "Yes?", "grader": "exact", "reference": "yes"}


def write(path: Path, *items: object) -> str:
    lines = [item if isinstance(item, str) else json.dumps(item) for item in items]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_counts_of_a_valid_suite(tmp_path, capsys):
    """A valid suite ends with 0 and its counts by category, language and grader."""
    assert run(["suite", "validate", write(tmp_path / "s.jsonl", ITEM), "default", "--json"]) == 0
    mine, shipped = json.loads(capsys.readouterr().out)["suites"]
    assert (mine["valid"], mine["items"], mine["grader"]) == (True, 1, {"exact": 1})
    assert shipped["category"] == dict.fromkeys(("japanese", "logic", "mathematics", "safety"), 64)


def test_every_problem_has_its_place(tmp_path, capsys):
    """All problems of all files are told with file and line, and the exit code is 2."""
    bad = write(
        tmp_path / "bad.jsonl",
        ITEM,
        {**ITEM, "reference": ""},
        {**ITEM, "grader": {"type": "choice", "options": ["x", "y"]}, "reference": "C"},
        ITEM,
        "{",
    )
    marked = tmp_path / "bom.jsonl"
    marked.write_bytes(b"\xef\xbb\xbf" + json.dumps(ITEM).encode())
    japanese = tmp_path / "sjis.jsonl"
    japanese.write_bytes(
        json.dumps({**ITEM, "prompt": "はい？"}, ensure_ascii=False).encode("cp932")
    )
    empty = write(tmp_path / "empty.jsonl", "")
    assert run(["suite", "validate", bad, str(marked), str(japanese), empty]) == 2
    told = capsys.readouterr().out
    for place in (f"{bad}:2:", f"{bad}:3:", f"{bad}:4:", f"{bad}:5:", f"{marked}:1:"):
        assert place in told
    assert f"{japanese}:1:" in told
    assert "Shift_JIS" in told
    assert f"{empty}:1:" in told


def test_a_directory_is_one_suite(tmp_path, capsys):
    """Files of a directory share their ids; one without a suite file is refused."""
    write(tmp_path / "one.jsonl", ITEM)
    write(tmp_path / "two.jsonl", {**ITEM, "prompt": "No?"})
    assert run(["suite", "validate", str(tmp_path)]) == 2
    assert f"stands in {tmp_path / 'one.jsonl'}:1 already" in capsys.readouterr().out
    (tmp_path / "none").mkdir()
    assert run(["suite", "validate", str(tmp_path / "none")]) == 3


def test_the_same_question_is_reported(tmp_path, capsys):
    """Two items that ask the same are named with their lines; that is no mistake."""
    path = write(tmp_path / "s.jsonl", ITEM, {**ITEM, "id": "b"})
    assert run(["suite", "validate", path]) == 0
    assert f"{path}:1, {path}:2" in capsys.readouterr().out


@pytest.mark.parametrize(("ids", "code"), [((), 0), (("a",), 0), (("z",), 2)])
def test_show_prints_items(tmp_path, capsys, ids, code):
    """`show` prints all items or those that are named, and refuses a name that is none."""
    path = write(tmp_path / "s.jsonl", ITEM)
    assert run(["suite", "show", path, *ids]) == code
    assert ("Yes?" in capsys.readouterr().out) == (code == 0)
