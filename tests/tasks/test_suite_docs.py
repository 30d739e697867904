"""docs/suite-format.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from so8t.tasks import BENCHMARKS, GRADERS, load_suite
from so8t.tasks.benchmarks.base import ANSWER_WITH_LETTER
from so8t.tasks.suite import SuiteItem

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "suite-format.md").read_text("utf-8")


@pytest.mark.parametrize(("kind", "suffix"), [("jsonl", ".jsonl"), ("yaml", ".yaml")])
def test_the_examples_are_valid(tmp_path: Path, kind: str, suffix: str) -> None:
    """Every example suite in the text loads."""
    blocks = re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)
    assert blocks
    for block in blocks:
        path = tmp_path / f"example{suffix}"
        path.write_text(block, encoding="utf-8")
        assert load_suite(path)


def test_every_key_grader_and_option_is_described() -> None:
    """Nothing that a suite may say is missing from the text."""
    for key in SuiteItem.model_fields:
        assert f"`{key}`" in TEXT, key
    for name, grader in GRADERS.items():
        section = next(part for part in TEXT.split("\n### ") if f"`{name}`" in part.split("\n")[0])
        for field, info in grader.model_fields.items():
            if field != "type":
                assert (info.alias or field) in section, (name, field)


def test_every_benchmark_is_described_with_its_licence() -> None:
    """The table is that of the registry."""
    for benchmark in BENCHMARKS.values():
        row = next(line for line in TEXT.split("\n") if line.startswith(f"| `{benchmark.name}` |"))
        assert benchmark.description in row
        assert benchmark.metric in row
        assert benchmark.licence in row
        assert all(f"`{place}`" in row for place in benchmark.files)
    assert all(instruction in TEXT for instruction in ANSWER_WITH_LETTER.values())
