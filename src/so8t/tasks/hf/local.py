"""Where the rows of a Hugging Face data set lie on this machine, and how they are read.

Each entry gives the columns and labels of the set on the hub, read from the files that its authors
publish, so that a task definition for the hub works on either. For any other set the files of its
splits are read as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.errors import PrerequisiteError
from so8t.system.textfile import read_text
from so8t.tasks.benchmarks.base import Row, json_file, jsonl_rows, table_rows
from so8t.tasks.hf import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Rows = Iterator[dict[str, Any]]
    Reader = Callable[[Path], Rows]

#: Other names under which people keep a split.
_OTHER_NAMES = {
    "train": ("training",),
    "validation": ("valid", "val", "dev"),
    "test": (),
    "validation_matched": ("dev_matched",),
    "dev": ("validation", "val"),
}
_GENERIC = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True, slots=True)
class LocalSet:
    """A set in its authors' files.

    Attributes:
        files: for each split the places below the data directory, the likeliest first; a pattern
            with * is every file that matches.
        read: turns a file into rows with the hub's columns.
        source: where a person gets the files.

    """

    files: Mapping[str, tuple[str, ...]]
    read: Reader
    source: str


def _in_folder(folder: str, **splits: str) -> dict[str, tuple[str, ...]]:
    """Places of a set that has a folder of its own, one below, or none."""
    return {
        split: (f"{folder}/{name}", f"{folder.lower()}/{name}", f"*/{folder}/{name}", name)
        for split, name in splits.items()
    }


_GLUE = "https://gluebenchmark.com/tasks"
_SUPER = "https://super.gluebenchmark.com/tasks"
_JGLUE = "https://github.com/yahoojapan/JGLUE (datasets/)"


def _glue(folder: str, read: Reader, dev: str = "dev") -> LocalSet:
    split = "validation_matched" if dev == "dev_matched" else "validation"
    files = _in_folder(folder, train="train.tsv", **{split: f"{dev}.tsv"})
    return LocalSet(files, read, _GLUE)


def _super(folder: str, read: Reader) -> LocalSet:
    files = _in_folder(folder, train="train.jsonl", validation="val.jsonl")
    if folder == "BoolQ":
        files["validation"] += ("dev.jsonl",)
    return LocalSet(files, read, _SUPER)


def _jglue(folder: str, read: Reader) -> LocalSet:
    old = (f"{folder}-v1.3/valid-v1.3.json",)
    files = _in_folder(folder, train="train-v1.3.json", validation="valid-v1.3.json")
    return LocalSet({**files, "validation": files["validation"] + old}, read, _JGLUE)


_SETS: dict[tuple[str, str | None], LocalSet] = {
    ("nyu-mll/glue", "cola"): _glue("CoLA", rows.cola),
    ("nyu-mll/glue", "sst2"): _glue("SST-2", rows.sst2),
    ("nyu-mll/glue", "mrpc"): LocalSet(
        {
            "train": ("MRPC/train.tsv", "MRPC/msr_paraphrase_train.txt"),
            "validation": ("MRPC/dev.tsv", "*/MRPC/dev.tsv"),
        },
        rows.mrpc,
        _GLUE,
    ),
    ("nyu-mll/glue", "qqp"): _glue("QQP", rows.qqp),
    ("nyu-mll/glue", "stsb"): LocalSet(
        {
            split: (f"STS-B/{name}", f"SST-B/{name}", f"*/STS-B/{name}", f"*/SST-B/{name}")
            for split, name in (("train", "train.tsv"), ("validation", "dev.tsv"))
        },
        rows.stsb,
        _GLUE,
    ),
    ("nyu-mll/glue", "mnli"): _glue("MNLI", rows.mnli, "dev_matched"),
    ("nyu-mll/glue", "qnli"): _glue("QNLI", rows.qnli),
    ("nyu-mll/glue", "rte"): _glue("RTE", rows.glue_rte),
    ("nyu-mll/glue", "wnli"): _glue("WNLI", rows.wnli),
    ("aps/super_glue", "boolq"): _super("BoolQ", rows.boolq),
    ("aps/super_glue", "cb"): _super("CB", rows.commitment_bank),
    ("aps/super_glue", "copa"): _super("COPA", rows.copa),
    ("aps/super_glue", "multirc"): _super("MultiRC", rows.multirc),
    ("aps/super_glue", "record"): _super("ReCoRD", rows.record),
    ("aps/super_glue", "rte"): _super("RTE", rows.super_rte),
    ("aps/super_glue", "wic"): _super("WiC", rows.wic),
    ("aps/super_glue", "wsc.fixed"): _super("WSC", rows.wsc),
    ("Rakuten/JGLUE", "JCommonsenseQA"): _jglue("jcommonsenseqa", rows.jcommonsenseqa),
    ("Rakuten/JGLUE", "JNLI"): _jglue("jnli", rows.jnli),
    ("Rakuten/JGLUE", "JSQuAD"): _jglue("jsquad", rows.jsquad),
    ("nlp-waseda/JMMLU", None): LocalSet(
        {"test": ("*.csv", "JMMLU/*.csv")}, rows.jmmlu, "https://github.com/nlp-waseda/JMMLU"
    ),
    ("zenless-lab/jsem", None): LocalSet(
        {"test": ("*.xml", "data/v1.0/*.xml")},
        rows.jsem,
        "https://github.com/DaisukeBekki/JSeM (data/v1.0/)",
    ),
    ("truthfulqa/truthful_qa", "multiple_choice"): LocalSet(
        {"validation": ("TruthfulQA.csv",)},
        rows.truthfulqa,
        "https://github.com/sylinrl/TruthfulQA",
    ),
    ("openai/gsm8k", "main"): LocalSet(
        {"train": ("train.jsonl",), "test": ("test.jsonl",)},
        rows.as_they_are("question", "answer"),
        "https://github.com/openai/grade-school-math (grade_school_math/data/)",
    ),
}
_SETS["gsm8k", "main"] = _SETS["openai/gsm8k", "main"]


def _known(path: str, name: str | None) -> LocalSet | None:
    """Return the set of a hub path and configuration, those with a file for each included."""
    if path == "juletxara/mgsm":
        return LocalSet(
            {"train": (f"mgsm_{name}_train.tsv",), "test": (f"mgsm_{name}.tsv",)},
            rows.mgsm,
            "https://github.com/google-research/url-nlp (mgsm/)",
        )
    if path == "cais/mmlu":
        return LocalSet(
            {
                split: (
                    f"hf_jsonl/{name}_{split}.jsonl",
                    f"{name}_{split}.jsonl",
                    f"hendrycks_csv/{split}/{name}_{split}.csv",
                    f"{split}/{name}_{split}.csv",
                )
                for split in ("dev", "validation", "test")
            },
            rows.mmlu,
            "https://github.com/hendrycks/test",
        )
    if path in {"SaylorTwift/bbh", "lukaemon/bbh"}:
        return LocalSet(
            {"test": (f"bbh/{name}.json", f"{name}.json")},
            rows.bbh,
            "https://github.com/suzgunmirac/BIG-Bench-Hard",
        )
    return _SETS.get((path, name)) or _SETS.get((path, None))


def read_splits(
    task: str, path: str, name: str | None, splits: Iterable[str], directory: Path
) -> dict[str, list[dict[str, Any]]]:
    """Read those splits of a set that are in `directory`, as rows with the hub's columns.

    Raises:
        PrerequisiteError: no split is there; the message names every place that was looked at.
        DataError: a file is not what it should be, with file and line.

    """
    known = _known(path, name)
    if not directory.exists():
        raise PrerequisiteError(
            f"task {task!r}: the data directory {directory} is not there.",
            hint="mend data_dir in the config",
        )
    found: dict[str, list[dict[str, Any]]] = {}
    looked: list[str] = []
    for split in splits:
        places = known.files.get(split, ()) if known else _generic_places(task, name, split)
        looked += places[:2]
        files = _first(directory, places)
        if files:
            read = known.read if known else _generic
            found[split] = [row for file in files for row in read(file)]
    if not found:
        where = known.source if known else f"https://huggingface.co/datasets/{path}"
        wanted = " or ".join(str(directory / place) for place in looked[:4])
        raise PrerequisiteError(
            f"task {task!r} has no data: there is no {wanted}.",
            hint=f"get it from {where}, and name its folder as data_dir",
        )
    return found


def expected_file(
    task: str, path: str, name: str | None, split: str, directory: Path | None
) -> str:
    """Name the file that a split would be read from."""
    known = _known(path, name)
    places = known.files.get(split, ()) if known else _generic_places(task, name, split)
    return str((directory or Path()) / places[0]) if places else f"split {split!r} of {path}"


def row_place(
    task: str, path: str, name: str | None, split: str, directory: Path, row: int
) -> tuple[str | None, int | None]:
    """Tell the file in which a row of a split stands (from 0), and its line where that is known."""
    known = _known(path, name)
    places = known.files.get(split, ()) if known else _generic_places(task, name, split)
    for file in _first(directory, places):
        lines = (
            [None for _ in known.read(file)]
            if known
            else [one.place[1] for one in _generic_rows(file)]
        )
        if row < len(lines):
            return str(file), lines[row]
        row -= len(lines)
    return None, None


def _first(directory: Path, places: Iterable[str]) -> list[Path]:
    for place in places:
        found = sorted(directory.glob(place)) if "*" in place else [directory / place]
        found = [file for file in found if file.is_file()]
        if found:
            return found
    return []


def _generic_places(task: str, name: str | None, split: str) -> tuple[str, ...]:
    names = (split, *_OTHER_NAMES.get(split, ()))
    folders = ("", f"{task}/", *([f"{name}/"] if name else []))
    return tuple(
        f"{folder}{one}{ending}" for one in names for ending in _GENERIC for folder in folders
    )


def _generic(path: Path) -> Rows:
    """Read rows as they stand."""
    return (row.values for row in _generic_rows(path))


def _generic_rows(path: Path) -> Iterator[Row]:
    """Read JSON lines, a JSON list, a table with a header, Parquet."""
    if path.suffix == ".parquet":
        from datasets import Dataset  # noqa: PLC0415 - of the extra `hf`, only for this format

        for number, value in enumerate(Dataset.from_parquet(str(path)), start=1):
            yield Row(value, path, number)
    elif path.suffix in {".csv", ".tsv"}:
        yield from table_rows(path, delimiter="," if path.suffix == ".csv" else "\t")
    elif path.suffix == ".json" and _is_list(path):
        for number, value in enumerate(json_file(path), start=1):
            if not isinstance(value, dict):
                Row({}, path, number).fail("a row is a JSON object")
            yield Row(value, path, number)
    else:
        yield from jsonl_rows(path)


def _is_list(path: Path) -> bool:
    return read_text(path, what="data", allow_bom=True).lstrip().startswith("[")
