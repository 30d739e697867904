"""Are a run's result files what its journal gives? Made again and compared, byte by byte.

lm-eval's files are compared by the digests that the journal recorded when they were written.
"""

from __future__ import annotations

import filecmp
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import so8t
from so8t.domain.events import EventKind
from so8t.domain.plan import Phase
from so8t.journal.chain import chain_at
from so8t.report.findings import Finding, counted
from so8t.report.query import load_view
from so8t.report.result_files import FOLDER, NAMES, write_result_files_to
from so8t.system.files import file_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.journal.store import Journal

_AGAIN = "so8t report writes them anew"


def check_results(journal: Journal) -> Iterator[Finding]:
    """Compare results.json and the tables with what the journal gives."""
    folder = journal.directory / FOLDER
    there = [name for name in NAMES if (folder / name).exists()]
    if len(there) < len(NAMES):
        yield _absent(journal, there)
    if not there:
        return
    with tempfile.TemporaryDirectory(prefix="so8t-verify-") as place:
        again = Path(place)
        with journal.one_moment():
            written = write_result_files_to(again, journal, load_view(journal, embed=0))
        if written is None:
            yield Finding("results", "fail", f"{there} are there, and no plan is frozen")
            return
        differing = [
            name for name in there if not filecmp.cmp(folder / name, again / name, shallow=False)
        ]
        if not differing:
            yield Finding("results", "pass", f"{', '.join(there)}: what the journal gives")
            return
        yield _differing(journal, folder, again, differing)


def _absent(journal: Journal, there: list[str]) -> Finding:
    benchmark = journal.phase(Phase.BENCHMARK)
    if not there and (benchmark is None or benchmark.state != "done"):
        return Finding("results", "pass", "none were written yet")
    missing = ", ".join(name for name in NAMES if name not in there)
    return Finding("results", "warn", f"{missing}: not there ({_AGAIN})")


def _differing(journal: Journal, folder: Path, again: Path, differing: list[str]) -> Finding:
    """Tell a file that was changed from one that is older, or written by another version."""
    names = ", ".join(differing)
    document, now = (_read(place / NAMES[0]) for place in (folder, again))
    if document is None or now is None:
        return Finding("results", "fail", f"{names}: not what the journal gives ({_AGAIN})")
    head = document["journal"]
    if chain_at(journal.connection, head["rows"]) != head["chain"]:
        return Finding("results", "fail", f"{names}: written from another journal")
    if head["rows"] != now["journal"]["rows"]:
        if any(document.get(key) != now[key] for key in ("overall", "coverage", "tasks")):
            return Finding("results", "fail", f"{names}: the journal has another result since")
        return Finding("results", "warn", f"{names}: not with the newest rows ({_AGAIN})")
    if head["version"] != so8t.__version__:
        return Finding("results", "warn", f"{names}: written by version {head['version']}")
    return Finding("results", "fail", f"{names}: not what the journal gives ({_AGAIN})")


def _read(path: Path) -> dict[str, Any] | None:
    """Read results.json; None where it is not there or does not say from which rows it is."""
    try:
        found = json.loads(path.read_text("utf-8"))
        return found if {"rows", "chain", "version"} <= found["journal"].keys() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def check_lm_eval(journal: Journal) -> Iterator[Finding]:
    """Compare lm-eval's files with the digests that were recorded when they were written."""
    recorded = journal.events(EventKind.HF_RESULTS)
    if not recorded:
        return
    files: dict[str, str] | None = recorded[-1].data.get("files")
    if files is None:
        yield Finding("lm-eval files", "warn", "an earlier version recorded no digests of them")
        return
    folder = journal.directory / FOLDER
    gone = [name for name in files if not (folder / name).is_file()]
    wrong = [
        name
        for name, digest in files.items()
        if name not in gone and file_digest(folder / name) != digest
    ]
    yield counted(
        "lm-eval files", wrong, len(files) - len(gone), "have the recorded digest",
        "are not what was written",
    )  # fmt: skip
    if gone:
        yield Finding("lm-eval files", "warn", f"{len(gone)} are not there any more: {gone[0]}")
