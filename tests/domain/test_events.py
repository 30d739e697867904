"""Every event has one name, in one place."""

from __future__ import annotations

import ast
import json
from pathlib import Path

from so8t.domain.events import BOOK_KEEPING, EventKind

SOURCES = Path(__file__).resolve().parents[2] / "src" / "so8t"
WORDS = SOURCES / "report" / "text"
#: The kind of note of a comparison of files happens to be called as an event is.
OTHERS = {"results/comparison.py"}


def test_no_module_spells_an_events_name():
    """Who writes an event and who reads it name the same member of EventKind."""
    names = {kind.value for kind in EventKind}
    spelled = []
    for path in SOURCES.rglob("*.py"):
        where = path.relative_to(SOURCES).as_posix()
        if where == "domain/events.py" or where in OTHERS:
            continue
        spelled += [
            f"{where}:{node.lineno}: {node.value}"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and node.value in names
        ]
    assert spelled == []


def test_what_the_report_tells_has_words():
    """An event that is no book-keeping has a sentence in both languages."""
    for language in ("en", "ja"):
        words = json.loads((WORDS / f"{language}.json").read_text(encoding="utf-8"))
        told = {key.split(".")[1] for key in words if key.startswith("event.")}
        assert {kind.value for kind in EventKind if kind not in BOOK_KEEPING} <= told, language
