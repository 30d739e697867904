"""No benchmark item may leak into the training: checked before any work, and acted upon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from so8t.errors import DataError
from so8t.models.contamination import Item, LeakReport, find_leaks
from so8t.models.training_data import read_conversations, split_held_out
from so8t.system.files import file_digest, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from so8t.config.schema import Finetune
    from so8t.domain.sample import Sample

_SHOWN = 3


def check(settings: Finetune, samples: Iterable[Sample]) -> LeakReport:
    """Compare the training data with the questions of the run.

    Raises DataError, with file and line, when the config says that a leak is to stop the run, and
    when dropping the lines would leave nothing on one side of the split.
    """
    conversations = read_conversations(settings.data)
    report = find_leaks(conversations, map(_item, samples))
    if report.leaks and settings.leaks == "fail":
        first = report.leaks[0]
        listed = ", ".join(f"line {leak.line}: {leak.item}" for leak in report.leaks[:_SHOWN])
        raise DataError(
            f"{len(report.leaks)} training lines have a benchmark item in them ({listed}).",
            file=first.file,
            line=first.line,
            hint="remove them, or set b.finetune.leaks to drop",
        )
    if settings.leaks == "drop":
        leaking = {(leak.file, leak.line) for leak in report.leaks}
        rest = [one for one in conversations if (one.file, one.line) not in leaking]
        try:
            split_held_out(rest, settings.held_out)
        except DataError as error:
            raise DataError(
                f"{len(report.leaks)} of {len(conversations)} training lines have a benchmark item "
                f"in them and are dropped; the {len(rest)} that are left are too few to train on "
                "and to hold some out.",
                file=", ".join(map(str, settings.data)),
                hint="add training data, ask other questions, or set b.finetune.leaks to keep",
            ) from error
    return report


def without_leaks(settings: Finetune, report: LeakReport, directory: Path) -> Finetune:
    """Return settings whose data has no line that leaks; copies are written to `directory`.

    In a copy such a line is empty, so that later messages still give the right line.
    """
    if settings.leaks != "drop" or not report.leaks:
        return settings
    files = []
    for number, path in enumerate(settings.data):
        lines = {leak.line for leak in report.leaks if leak.file == str(path)}
        if not lines:
            files.append(path)
            continue
        kept = [
            b"" if line in lines else text
            for line, text in enumerate(path.read_bytes().split(b"\n"), start=1)
        ]
        files.append(directory / str(number) / path.name)
        write_atomic(files[-1], b"\n".join(kept))
    return settings.model_copy(update={"data": files})


def facts(settings: Finetune, report: LeakReport) -> dict[str, Any]:
    """Return what was found and done, as plain data for the journal and the report.

    `data_digests` are of the files as they were given; those of the copies are the training's.
    """
    return {
        **report.facts(),
        "found": len(report.leaks),
        "dropped": len(report.leaks) if settings.leaks == "drop" else 0,
        "data_digests": {str(path): file_digest(path) for path in settings.data},
    }


def _item(sample: Sample) -> Item:
    return Item(sample.id, tuple(m.content for m in sample.messages), sample.reference)
