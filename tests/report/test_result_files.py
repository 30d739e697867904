"""The result files: stable fields, held to their documents, the same numbers as the report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import jsonschema
import pytest
from build import Shape, build

from so8t.journal.store import Journal
from so8t.report.query import load_view, summary
from so8t.report.result_files import _GROUP_COLUMNS, _ITEM_COLUMNS, write_results

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMA = json.loads((DOCS / "results.schema.json").read_text(encoding="utf-8"))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "shape",
    [Shape(), Shape(answered=70), Shape(graded=True, margin=0.1), Shape(samples=12, trouble=False)],
    ids=["whole", "partial", "graded", "small"],
)
def test_every_run_keeps_the_schema(tmp_path, shape):
    """Whole, partial and graded runs give documents that the JSON Schema accepts."""
    directory = build(tmp_path / "run", shape)
    folder = write_results(directory)
    document = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert len(document["items"]) == shape.samples


def test_files_and_report_say_the_same(tmp_path):
    """The tables hold the numbers of the JSON, and that those of the verdict."""
    directory = build(tmp_path / "run", Shape())
    folder = write_results(directory)
    text = (folder / "results.json").read_text(encoding="utf-8")
    document = json.loads(text)
    assert text == json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    with Journal(directory, readonly=True) as journal:
        shown = summary(load_view(journal))
    assert document["overall"]["verdict"] == shown["verdict"]
    known = [item["difference"] for item in document["items"] if item["difference"] is not None]
    assert sum(known) / len(known) == pytest.approx(shown["verdict"]["difference"])
    items, groups = table(folder / "items.csv"), table(folder / "groups.csv")
    assert [row["item"] for row in items] == [item["item"] for item in document["items"]]
    assert [row["score_b"] for row in items] == [
        "" if item["b"]["score"] is None else str(item["b"]["score"]) for item in document["items"]
    ]
    assert groups[0]["kind"] == "overall"
    assert float(groups[0]["difference"]) == shown["verdict"]["difference"]
    assert len(groups) == 1 + len(document["tasks"]) + len(document["categories"])


def test_what_is_open_or_missing_is_empty_and_never_zero(tmp_path):
    """A question that was not asked, and one that failed, have no score in any file."""
    folder = write_results(build(tmp_path / "run", Shape(answered=70)))
    rows = table(folder / "items.csv")
    assert {row["score_a"] for row in rows if row["status_a"] in ("open", "failed")} == {""}
    assert rows[-1]["status_a"] == rows[-1]["status_b"] == "open"
    assert rows[-1]["difference"] == ""


def test_every_field_is_documented():
    """docs/results.md names every field of the schema and every column."""
    text = (DOCS / "results.md").read_text(encoding="utf-8")

    def names(node):
        if isinstance(node, dict):
            yield from node.get("properties", {})
            for inner in node.values():
                yield from names(inner)

    unexplained = {"b_only", "a_only", "both_right", "both_wrong"}
    for name in {*names(SCHEMA), *_ITEM_COLUMNS, *_GROUP_COLUMNS} - unexplained:
        assert f"`{name}`" in text, name
