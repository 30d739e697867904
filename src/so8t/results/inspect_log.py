"""Read Inspect's logs: `.eval` (a zip) and `.json`.

Format: https://inspect.aisi.org.uk/eval-logs.html and inspect_ai/log/_log.py. A `.eval` holds
header.json, summaries.json (one entry a sample and epoch, with its scores), samples/*.json (the
same with all events) and reductions.json; a `.json` log is one object with "eval" and "samples".
Values as in inspect_ai/scorer/_metric.py: C is 1, P is 0.5, I and N (no answer) are 0, and NaN is
`Score.unscored()`, which is missing and not zero.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

from so8t.errors import DataError
from so8t.results.items import (
    Item,
    Note,
    Results,
    SourcePlace,
    as_text,
    last_user_text,
    question_digest,
    shown,
)
from so8t.results.zip_entries import check_sizes, read_list, read_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_WORDS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0, "yes": 1.0, "no": 0.0}
_LONGEST_STRATUM = 60
# summaries.json cuts longer inputs here (inspect_ai/log/_recorders, MAX_TEXT_LENGTH).
_INPUT_CUT_AT = 5120
# What zipfile is known to raise on damaged archives, besides its own error.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    OverflowError,
    IndexError,
)


def looks_like(document: dict[str, Any]) -> bool:
    """Tell a JSON log of Inspect from other JSON."""
    return isinstance(document.get("eval"), dict) and "version" in document


def read_eval(path: Path) -> Results:
    """Read a `.eval` archive.

    summaries.json is read where there is one; a log that was interrupted has none, and then each
    sample is read.

    Raises:
        DataError: a truncated or damaged archive, one without samples, or as `read_json`.

    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(path, archive)
    except NotImplementedError as error:
        raise DataError(
            f"the archive is compressed in a way that this Python cannot read: {error}",
            file=str(path),
            hint="inspect log convert --to json ... writes it as JSON",
        ) from error
    except _BROKEN as error:
        raise DataError(
            f"a damaged or truncated archive: {error}",
            file=str(path),
            hint="copy the file again, or run inspect log recover",
        ) from error


def _read_archive(path: Path, archive: zipfile.ZipFile) -> Results:
    names = set(archive.namelist())
    header_name = next((n for n in ("header.json", "_journal/start.json") if n in names), None)
    samples = sorted(n for n in names if n.startswith("samples/") and n.endswith(".json"))
    if header_name is None or not ("summaries.json" in names or samples):
        raise DataError(
            "a zip archive, but no log of Inspect: it lacks header.json or its samples",
            file=str(path),
        )
    read = ["summaries.json"] if "summaries.json" in names else samples
    check_sizes(archive, [header_name, *read], SourcePlace(path))
    place = SourcePlace(path, entry=header_name)
    header = _object(read_object(archive, header_name, place), place)

    def entries() -> Iterator[tuple[SourcePlace, Any]]:
        for name in read:
            place = SourcePlace(path, entry=name)
            if name == "summaries.json":
                yield from ((place, one) for one in read_list(archive, name, place))
            else:
                yield place, read_object(archive, name, place)

    return _results(path, header, entries())


def read_json(path: Path, document: dict[str, Any]) -> Results:
    """Read a JSON log that is already parsed.

    Raises:
        DataError: a sample without id or with broken scores, one sample and epoch twice, no sample.

    """
    samples = document.get("samples")
    place = SourcePlace(path)
    if not isinstance(samples, list):
        raise place.error(
            "a log of Inspect without samples",
            hint="was it written with --no-log-samples, or is it only the header?",
        )
    return _results(path, document, ((place, sample) for sample in samples))


def _results(
    path: Path, header: dict[str, Any], samples: Iterable[tuple[SourcePlace, Any]]
) -> Results:
    about = header.get("eval")
    about = about if isinstance(about, dict) else {}
    task = _named(about.get("task"))
    epochs: dict[str, dict[str, dict[str, Any]]] = {}
    items: dict[str, Item] = {}
    for place, found in samples:
        sample = _object(found, place)
        if "id" not in sample:
            raise place.error("a sample without an id")
        name = as_text(sample["id"], "sample id", place)
        epoch = as_text(sample.get("epoch", 1), "epoch", place)
        if epoch in epochs.setdefault(name, {}):
            raise place.error(f"sample {shown(name)} occurs twice in epoch {shown(epoch)}")
        epochs[name][epoch] = _scores(sample, place)
        if name not in items:
            items[name] = Item(name, task, {}, place, _digest(sample), _strata(sample))
    for name, item in items.items():
        metrics = dict.fromkeys(key for scores in epochs[name].values() for key in scores)
        item.scores = {
            key: tuple(scores.get(key) for scores in epochs[name].values()) for key in metrics
        }
    return Results(
        path=str(path),
        format="inspect",
        label=_named(about.get("model")) or path.stem,
        items=[*items.values(), *_never_run(path, about, task, items)],
        notes=tuple(_notes(header, about, max((len(e) for e in epochs.values()), default=0))),
        guessed_strata=True,
    )


def _scores(sample: dict[str, Any], place: SourcePlace) -> dict[str, Any]:
    """Return metric to value; a dictionary of values gives one metric a key, `scorer/key`."""
    scores = sample.get("scores")
    if sample.get("error") is not None or scores is None:
        # It ended in an error or was never scored: missing, not wrong.
        return {}
    values: dict[str, Any] = {}
    for scorer, score in _object(scores, place).items():
        metric = as_text(scorer, "scorer", place)
        value = score.get("value") if isinstance(score, dict) else score
        if isinstance(value, dict):
            for key, part in value.items():
                values[f"{metric}/{as_text(key, 'score key', place)}"] = _value(part)
        else:
            values[metric] = _value(value)
    return values


def _value(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, str):
        return _WORDS.get(value, _WORDS.get(value.lower() if len(value) > 1 else value, value))
    return value


def _never_run(
    path: Path, about: dict[str, Any], task: str, items: dict[str, Item]
) -> Iterator[Item]:
    """Yield what the log planned but does not hold: an outage, so its scores are missing."""
    dataset = about.get("dataset")
    planned = dataset.get("sample_ids") if isinstance(dataset, dict) else None
    place = SourcePlace(path, entry="header.json")
    if not isinstance(planned, list):
        return
    for name in dict.fromkeys(as_text(value, "sample id", place) for value in planned):
        if name not in items:
            yield Item(name, task, {}, place)


def _notes(header: dict[str, Any], about: dict[str, Any], epochs: int) -> Iterator[Note]:
    status = header.get("status")
    if status != "success":
        yield Note("status", {"status": str(status or "unfinished")[:_LONGEST_STRATUM]})
    config = about.get("config")
    reducer = config.get("epochs_reducer") if isinstance(config, dict) else None
    if epochs > 1 and reducer not in (None, "mean", ["mean"]):
        yield Note("reducer", {"reducer": shown(reducer), "epochs": epochs})


def _digest(sample: dict[str, Any]) -> str | None:
    found = sample.get("input")
    text = found if isinstance(found, str) else last_user_text(found)
    if text is None or len(text) > _INPUT_CUT_AT:
        # Whole in one log and cut in the other, it would look like another question.
        return None
    return question_digest(text)


def _strata(sample: dict[str, Any]) -> dict[str, str]:
    metadata = sample.get("metadata")
    if not isinstance(metadata, dict):
        return {}
    return {
        key: value
        for key, value in metadata.items()
        if isinstance(value, str)
        and 0 < len(value) <= _LONGEST_STRATUM
        and f"{key}{value}".isprintable()
    }


def _named(value: Any) -> str:
    return value if isinstance(value, str) and value.isprintable() else ""


def _object(value: Any, place: SourcePlace) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise place.error(f"{shown(value)} where an object was expected")
    return value
