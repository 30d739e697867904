"""A run's results as files that other programs read: results.json, items.csv, groups.csv.

Fields and their meaning are documented in docs/results.md; docs/results.schema.json is their JSON
Schema. Names are stable and never translated. What models answered is not in them.
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from so8t.domain.exchange import Arm
from so8t.journal.evidence import FROZEN, repeats_of
from so8t.journal.items import by_item, every_answer, leave_out_unequal
from so8t.journal.store import Journal
from so8t.report.query import load_view, summary
from so8t.system.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from so8t.journal.rows import ItemStanding

#: The number changes when a field changes its meaning or goes; new fields leave it.
FORMAT = "so8t-results/1"
#: Where the files lie in a run's directory.
FOLDER = "artifacts"
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

    None, and nothing written, before a plan is frozen. Files of an earlier call are replaced, each
    as a whole.
    """
    with Journal(directory, readonly=True) as journal:
        if not journal.events(FROZEN):
            return None
        document = results(journal)
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    write_atomic(folder / "results.json", json.dumps(document, ensure_ascii=False, indent=1) + "\n")
    write_atomic(folder / "items.csv", _csv(_ITEM_COLUMNS, map(_item_row, document["items"])))
    write_atomic(folder / "groups.csv", _csv(_GROUP_COLUMNS, _group_rows(document)))
    return folder


def results(journal: Journal) -> dict[str, Any]:
    """Return the whole of results.json; equal journals give equal documents."""
    found = summary(load_view(journal, embed=0))
    return {
        "format": FORMAT,
        "run": found["run"],
        "state": found["state"],
        "labels": found["labels"],
        "average": found["average"],
        "repeats": found["repeats"],
        "unequal": found["unequal"],
        "overall": {"mean": found["mean"], "verdict": found["verdict"]},
        "tasks": found["tasks"],
        "categories": found["categories"],
        "coverage": found["coverage"],
        "noise_floor": found["noise_floor"],
        "sensitivity": found["sensitivity"],
        "items": list(_items(journal)),
    }


def _items(journal: Journal) -> Iterator[dict[str, Any]]:
    repeated = repeats_of(journal)
    standings = {arm: by_item(every_answer(journal, arm, repeated)) for arm in Arm}
    leave_out_unequal(journal, standings)
    for position, sample in enumerate(journal.samples()):
        a, b = (standings[arm].get(position) for arm in Arm)
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


def _group_rows(document: dict[str, Any]) -> Iterator[list[Any]]:
    overall = document["overall"]
    whole = {
        "name": "overall",
        "verdict": overall["verdict"],
        "claim": overall["verdict"]["outcome"],
        "mean": overall["mean"],
        "pairs": overall["verdict"]["items_used"],
        "missing": overall["verdict"]["items_missing"],
    }
    groups = [("overall", whole)]
    groups += [("task", group) for group in document["tasks"]]
    groups += [("category", group) for group in document["categories"]]
    for kind, group in groups:
        verdict, mean = group["verdict"], group["mean"]
        yield [
            kind, group["name"], group["pairs"], group["missing"], mean["a"], mean["b"],
            verdict["difference"], *(verdict["interval"] or (None, None)), verdict["level"],
            verdict["outcome"], group["claim"], verdict["ending"], verdict["p_value"],
        ]  # fmt: skip


def _csv(columns: tuple[str, ...], rows: Iterator[list[Any]]) -> str:
    """Write RFC 4180 with \\n; an unknown value is an empty field, never a zero."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if cell is None else _cell(cell) for cell in row])
    return out.getvalue()


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
