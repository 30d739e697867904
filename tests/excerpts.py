"""Parts of the quickstart's data, for tests that need real questions and conversations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from so8t.examples import DEMO

if TYPE_CHECKING:
    from pathlib import Path


def excerpt(directory: Path, name: str, count: int) -> Path:
    """Write the first `count` lines of suite.jsonl or train.jsonl into `directory`."""
    lines = (DEMO.parent / name).read_text(encoding="utf-8").splitlines(keepends=True)
    path = directory / name
    path.write_text("".join(lines[:count]), encoding="utf-8")
    return path
