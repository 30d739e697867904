"""A run's results as files that other programs read: results.json, items.csv, groups.csv.

Fields and their meaning are documented in docs/results.md; docs/results.schema.json is their JSON
Schema. Names are stable and never translated. What models answered is not in them.
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, TextIO

import so8t
from so8t.domain.exchange import Arm
from so8t.domain.plain_text import cell
from so8t.journal.store import Journal
from so8t.report.query import load_view, summary
from so8t.system.files import atomic_text, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from so8t.journal.items import Items
    from so8t.journal.rows import ItemStanding
    from so8t.report.view import View

#: The number changes when a field changes its meaning or goes; new fields leave it.
FORMAT = "so8t-results/1"
#: Where the files lie in a run's directory.
FOLDER = "artifacts"
NAMES = ("results.json", "items.csv", "groups.csv")
_ENCODE = json.JSONEncoder(ensure_ascii=False).encode
_ITEM_COLUMNS = (
    "position", "item", "task", "category", "language", "cluster",
    "status_a", "status_b", "score_a", "score_b", "difference",
    "truncated_a", "truncated_b", "well_formed_a", "well_formed_b", "comparable",
)  # fmt: skip
_GROUP_COLUMNS = (
    "kind", "name", "pairs", "missing", "mean_a", "mean_b", "difference",
    "interval_low", "interval_high", "level", "outcome", "claim", "ending", "p_value",
)  # fmt: skip


def write_results(directory: Path) -> Path | None:
    """Write the result files of the run in `directory`; return the folder they are in.

    As `write_result_files`.
    """
    with Journal(directory, readonly=True) as journal, journal.one_moment():
        return write_result_files(journal, load_view(journal, embed=0))


def write_result_files(journal: Journal, view: View) -> Path | None:
    """Write the result files of a journal, of which `view` was read at the same moment.

    None, and nothing written, before a plan is frozen. Files of an earlier call are replaced, each
    as a whole; equal journals give equal files. Questions are written as they are read.
    """
    return write_result_files_to(journal.directory / FOLDER, journal, view)


def write_result_files_to(folder: Path, journal: Journal, view: View) -> Path | None:
    """Write them into any folder."""
    if view.evidence is None:
        return None
    found = summary(view)
    folder.mkdir(exist_ok=True)
    with (
        atomic_text(folder / NAMES[0]) as document,
        atomic_text(folder / NAMES[1]) as table,
    ):
        _write_items(
            document, table, _head(found, view), item_records(journal, view.evidence.items)
        )
    rows = io.StringIO()
    _csv(rows, _GROUP_COLUMNS).writerows(map(_cells, _group_rows(found)))
    write_atomic(folder / NAMES[2], rows.getvalue())
    return folder


def _head(found: dict[str, Any], view: View) -> dict[str, Any]:
    """Return results.json without its items, which are its last field."""
    return {
        "format": FORMAT,
        "run": found["run"],
        "journal": {"rows": view.head.seq, "chain": view.head.chain, "version": so8t.__version__},
        "state": found["state"],
        "standing": found["standing"],
        "labels": found["labels"],
        "average": found["average"],
        "repeats": found["repeats"],
        "unequal": found["unequal"],
        "answers": found["answers"],
        "overall": {"mean": found["mean"], "verdict": found["verdict"]},
        "tasks": found["tasks"],
        "categories": found["categories"],
        "coverage": found["coverage"],
        "noise_floor": found["noise_floor"],
        "sensitivity": found["sensitivity"],
        "censoring": found["censoring"],
    }


def _write_items(
    document: TextIO, table: TextIO, head: dict[str, Any], items: Iterator[dict[str, Any]]
) -> None:
    """Write results.json as `json.dumps` with an indent of 1 would, and items.csv beside it."""
    document.write(json.dumps(head, ensure_ascii=False, indent=1).removesuffix("\n}"))
    document.write(',\n "items": [')
    rows = _csv(table, _ITEM_COLUMNS)
    separator = "\n  "
    for item in items:
        document.write(separator + _indented(item, "\n   "))
        rows.writerow(_cells(_item_row(item)))
        separator = ",\n  "
    document.write("]\n}\n" if separator == "\n  " else "\n ]\n}\n")


def _indented(fields: dict[str, Any], line: str) -> str:
    inner = ",".join(
        f'{line}"{name}": '
        + (_indented(value, line + " ") if isinstance(value, dict) else _ENCODE(value))
        for name, value in fields.items()
    )
    return f"{{{inner}{line[:-1]}}}"


def item_records(journal: Journal, items: Items) -> Iterator[dict[str, Any]]:
    """Yield every question as both arms stand with it; a missing score is None."""
    for position, sample in enumerate(journal.sample_heads()):
        a, b = (items[arm].get(position) for arm in Arm)
        known = a is not None and b is not None and a.score is not None and b.score is not None
        yield {
            "position": position,
            "item": sample.id,
            "task": sample.task,
            "category": sample.category,
            "language": sample.language,
            "cluster": sample.cluster,
            "a": _answer(a),
            "b": _answer(b),
            "difference": b.score - a.score if known else None,  # type: ignore[union-attr,operator]
            "comparable": a is None or b is None or a.comparable,
        }


def _answer(item: ItemStanding | None) -> dict[str, Any]:
    if item is None:
        return {"status": "open", "score": None, "truncated": None, "well_formed": None}
    return {
        "status": item.status.value,
        "score": item.score,
        "truncated": item.cut,
        "well_formed": item.valid,
    }


def _item_row(item: dict[str, Any]) -> list[Any]:
    a, b = item["a"], item["b"]
    return [
        *(item[name] for name in _ITEM_COLUMNS[:6]),
        *(arm[name] for name in ("status", "score") for arm in (a, b)),
        item["difference"],
        *(arm[name] for name in ("truncated", "well_formed") for arm in (a, b)),
        item["comparable"],
    ]


def _group_rows(found: dict[str, Any]) -> Iterator[list[Any]]:
    overall = found["verdict"]
    whole = {
        "name": "overall",
        "verdict": overall,
        "claim": overall["outcome"],
        "mean": found["mean"],
        "pairs": overall["items_used"],
        "missing": overall["items_missing"],
    }
    groups = [("overall", whole)]
    groups += [("task", group) for group in found["tasks"]]
    groups += [("category", group) for group in found["categories"]]
    for kind, group in groups:
        verdict, mean = group["verdict"], group["mean"]
        yield [
            kind, group["name"], group["pairs"], group["missing"], mean["a"], mean["b"],
            verdict["difference"], *(verdict["interval"] or (None, None)), verdict["level"],
            verdict["outcome"], group["claim"], verdict["ending"], verdict["p_value"],
        ]  # fmt: skip


def _csv(file: TextIO, columns: tuple[str, ...]) -> Any:
    """Begin a table as RFC 4180 has it, with \\n."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    return writer


def _cells(row: list[Any]) -> list[Any]:
    """Return what is written of a row; an unknown value is an empty field, never a zero."""
    return ["" if value is None else _cell(value) for value in row]


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return cell(value)
    return str(value).lower() if isinstance(value, bool) else value
