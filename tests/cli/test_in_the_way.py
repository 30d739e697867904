"""Whatever stands where a run needs a file or a directory: one line that names it, no traceback."""

from __future__ import annotations

import shutil

import pytest
from commands import so8t, write_suite

from so8t.journal.chained import SUSPECT_NAME
from tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of four questions."""
    directory = tmp_path_factory.mktemp("finished")
    for seed, name in enumerate(("a.gguf", "b.gguf"), start=1):
        write_tiny_gguf(directory / name, seed=seed)
    write_suite(directory, 4)
    (directory / "so8t.yaml").write_text(
        "name: r\na: {source: {gguf: a.gguf}}\nb: {source: {gguf: b.gguf}}\n"
        "engine: {slots: 1, threads: 1, context: 256}\ngeneration: {max_tokens: 4}\n"
        "benchmark: {suites: [suite.jsonl], noise_floor: 0}\n"
    )
    from so8t.cli import invoke  # noqa: PLC0415 - capsys has no module scope

    assert invoke(["run", str(directory / "so8t.yaml"), "--output", str(directory / "runs")]) == 0
    return directory


@pytest.fixture
def copy(finished, tmp_path):
    shutil.copytree(finished / "runs", tmp_path / "runs")
    return tmp_path / "runs"


def again(capsys, finished, output):
    return so8t(capsys, "run", str(finished / "so8t.yaml"), "--output", str(output))


@pytest.mark.parametrize("deep", ["", "below", "far/below"])
def test_an_output_that_is_a_file_is_named(capsys, finished, tmp_path, deep):
    """`output:` is a file, or lies below one: exit 3 with the file's name; nothing is written."""
    file = tmp_path / "file"
    file.write_text("mine")
    code, _, errors = again(capsys, finished, file / deep)
    assert code == 3
    assert f"{file} is no directory" in errors.replace("\n", " ")
    assert "Traceback" not in errors
    assert file.read_text() == "mine"


FILES = ["run.lock", "run.holder.json", "journal.sqlite", "journal.witness", "report.html"]


@pytest.mark.parametrize("name", [*FILES, SUSPECT_NAME])
def test_a_directory_in_a_files_place_is_named(capsys, finished, copy, name):
    """No traceback, the name; when it is moved away the run is what it was."""
    place, kept = copy / "r" / name, copy / "kept"
    if place.exists():
        place.rename(kept)
    place.mkdir()
    code, _, errors = again(capsys, finished, copy)
    assert code in {1, 3, 11}  # 1: what stands there is no journal that could be read
    assert name in errors
    assert "Traceback" not in errors
    place.rmdir()
    if kept.exists():
        kept.rename(place)
    assert again(capsys, finished, copy)[0] == 0


PLAN = (
    '{"reason": "x", "restored": {"reason": "x", "backup": null, "rows": 1, "rows_lost": null, '
    '"answers_lost": null, "phases_lost": null, "set_aside": "%s"}}'
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "3", "[[[[", "{}", '{"restored": 3}', '{"reason": 3}', "\0\0\0", "\u00ff",
     '{"reason": "x", "restored": {"a": 1}}', '{"reason": "x", "restored": [1]}',
     PLAN % "../../elsewhere", PLAN % "/elsewhere", PLAN % "artifacts"],
)  # fmt: skip
def test_a_note_of_suspicion_that_is_not_ours_only_makes_suspicious(
    capsys, finished, copy, content
):
    """The journal is looked at closely, found whole, and kept; nothing is moved anywhere."""
    before = sorted(path.name for path in (copy / "r").iterdir())
    (copy / "r" / SUSPECT_NAME).write_bytes(content.encode("latin-1"))
    code, _, errors = again(capsys, finished, copy)
    assert code == 0, errors
    assert sorted(path.name for path in (copy / "r").iterdir()) == before
    assert so8t(capsys, "verify", str(copy / "r"))[0] == 0
