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
        files: for each split its names in the set's folder, the likeliest first and in the same
            order for all splits; a pattern with * is every file that matches.
        read: turns a file into rows with the hub's columns.
        source: where a person gets the files.
        folders: names that the set's folder usually has.
        depth: so many folders below the data directory may lie between it and the set's.

    """

    files: Mapping[str, tuple[str, ...]]
    read: Reader
    source: str
    folders: tuple[str, ...]
    depth: int = 2

    def homes(self, directory: Path) -> Iterator[Path]:
        """Yield the folders in which the set may lie, those with its name first, the nearest."""
        for depth in range(self.depth + 1):
            for folder in self.folders:
                if depth:
                    yield from sorted(directory.glob(f"{'*/' * depth}{folder}"))
                else:
                    yield directory / folder
        yield directory

    def find(self, directory: Path, splits: Iterable[str]) -> dict[str, list[Path]]:
        """Find the files of splits; those beside the first one that is there come first."""
        found: dict[str, list[Path]] = {}
        beside: list[Path] = []
        for split in splits:
            homes = [*beside, *self.homes(directory)]
            if beside and beside[0] != directory:
                # A file with a common name, outside of the set's folder, is another set's.
                homes.remove(directory)
            for home in homes:
                if files := _first(home, self.files.get(split, ())):
                    found[split] = files
                    beside = beside or [home]
                    break
        return found

    def expected(self, directory: Path, split: str, siblings: Iterable[str]) -> str | None:
        """Name the file of a split beside the first of its siblings; None for an unknown split."""
        names = self.files.get(split)
        if not names:
            return None
        there = self.find(directory, siblings)
        for sibling, files in there.items():
            others = self.files[sibling]
            for home in self.homes(directory):
                for place, other in enumerate(others):
                    if _first(home, (other,)) == files:
                        alike = [one for one in names if Path(one).suffix == Path(other).suffix]
                        paired = len(names) == len(others)
                        return str(home / (names[place] if paired else (alike or names)[0]))
        return str(directory / self.folders[0] / names[0])


_GLUE = "https://gluebenchmark.com/tasks"
_SUPER = "https://super.gluebenchmark.com/tasks"
_JGLUE = "https://github.com/yahoojapan/JGLUE (datasets/)"


def _glue(read: Reader, *folders: str, dev: str = "dev") -> LocalSet:
    split = "validation_matched" if dev == "dev_matched" else "validation"
    files = {"train": ("train.tsv",), split: (f"{dev}.tsv",)}
    return LocalSet(files, read, _GLUE, _cased(*folders))


def _super(read: Reader, folder: str, *other: str) -> LocalSet:
    files = {"train": ("train.jsonl",), "validation": ("val.jsonl", *other)}
    return LocalSet(files, read, _SUPER, _cased(folder))


def _jglue(read: Reader, folder: str) -> LocalSet:
    files = {"train": ("train-v1.3.json",), "validation": ("valid-v1.3.json",)}
    return LocalSet(files, read, _JGLUE, (folder, f"{folder}-v1.3"))


def _cased(*folders: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*folders, *map(str.lower, folders)]))


_SETS: dict[tuple[str, str | None], LocalSet] = {
    ("nyu-mll/glue", "cola"): _glue(rows.cola, "CoLA"),
    ("nyu-mll/glue", "sst2"): _glue(rows.sst2, "SST-2"),
    ("nyu-mll/glue", "mrpc"): LocalSet(
        {"train": ("train.tsv", "msr_paraphrase_train.txt"), "validation": ("dev.tsv",)},
        rows.mrpc,
        _GLUE,
        _cased("MRPC"),
    ),
    ("nyu-mll/glue", "qqp"): _glue(rows.qqp, "QQP"),
    ("nyu-mll/glue", "stsb"): _glue(rows.stsb, "STS-B", "SST-B"),
    ("nyu-mll/glue", "mnli"): _glue(rows.mnli, "MNLI", dev="dev_matched"),
    ("nyu-mll/glue", "qnli"): _glue(rows.qnli, "QNLI"),
    ("nyu-mll/glue", "rte"): _glue(rows.glue_rte, "RTE"),
    ("nyu-mll/glue", "wnli"): _glue(rows.wnli, "WNLI"),
    ("aps/super_glue", "boolq"): _super(rows.boolq, "BoolQ", "dev.jsonl"),
    ("aps/super_glue", "cb"): _super(rows.commitment_bank, "CB"),
    ("aps/super_glue", "copa"): _super(rows.copa, "COPA"),
    ("aps/super_glue", "multirc"): _super(rows.multirc, "MultiRC"),
    ("aps/super_glue", "record"): _super(rows.record, "ReCoRD"),
    ("aps/super_glue", "rte"): _super(rows.super_rte, "RTE"),
    ("aps/super_glue", "wic"): _super(rows.wic, "WiC"),
    ("aps/super_glue", "wsc.fixed"): _super(rows.wsc, "WSC"),
    ("Rakuten/JGLUE", "JCommonsenseQA"): _jglue(rows.jcommonsenseqa, "jcommonsenseqa"),
    ("Rakuten/JGLUE", "JNLI"): _jglue(rows.jnli, "jnli"),
    ("Rakuten/JGLUE", "JSQuAD"): _jglue(rows.jsquad, "jsquad"),
    ("nlp-waseda/JMMLU", None): LocalSet(
        {"test": ("*.csv", "JMMLU/*.csv")},
        rows.jmmlu,
        "https://github.com/nlp-waseda/JMMLU",
        _cased("JMMLU"),
    ),
    ("zenless-lab/jsem", None): LocalSet(
        {"test": ("*.xml", "data/v1.0/*.xml")},
        rows.jsem,
        "https://github.com/DaisukeBekki/JSeM (data/v1.0/)",
        _cased("JSeM"),
    ),
    ("truthfulqa/truthful_qa", "multiple_choice"): LocalSet(
        {"validation": ("TruthfulQA.csv",)},
        rows.truthfulqa,
        "https://github.com/sylinrl/TruthfulQA",
        _cased("TruthfulQA"),
    ),
    ("openai/gsm8k", "main"): LocalSet(
        {"train": ("train.jsonl",), "test": ("test.jsonl",)},
        rows.as_they_are("question", "answer"),
        "https://github.com/openai/grade-school-math (grade_school_math/data/)",
        ("gsm8k", "grade_school_math/data"),
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
            ("mgsm",),
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
            ("mmlu", "MMLU"),
        )
    if path in {"SaylorTwift/bbh", "lukaemon/bbh"}:
        return LocalSet(
            {"test": (f"bbh/{name}.json", f"{name}.json")},
            rows.bbh,
            "https://github.com/suzgunmirac/BIG-Bench-Hard",
            ("bbh", "BIG-Bench-Hard"),
        )
    return _SETS.get((path, name)) or _SETS.get((path, None))


def _set(task: str, path: str, name: str | None, splits: Iterable[str]) -> LocalSet:
    """Return a set that is known here, or any other as the files of these splits."""
    known = _known(path, name)
    if known is not None:
        return known
    files = {
        split: tuple(
            f"{one}{ending}" for one in (split, *_OTHER_NAMES.get(split, ())) for ending in _GENERIC
        )
        for split in splits
    }
    folders = (task, *([name] if name else []))
    return LocalSet(files, _generic, f"https://huggingface.co/datasets/{path}", folders, depth=0)


def read_splits(
    task: str, path: str, name: str | None, splits: Iterable[str], directory: Path
) -> dict[str, list[dict[str, Any]]]:
    """Read those splits of a set that are in `directory`, as rows with the hub's columns.

    Args:
        task: its name in lm-eval, for messages and as a folder's name.
        path: the set's name on the hub.
        name: the set's configuration on the hub.
        splits: the one that is evaluated comes first.
        directory: where the set's folder or its files lie.

    Raises:
        PrerequisiteError: no split is there; the message names the places of the first.
        DataError: a file is not what it should be, with file and line.

    """
    splits = list(splits)
    known = _set(task, path, name, splits)
    if not directory.exists():
        raise PrerequisiteError(
            f"task {task!r}: the data directory {directory} is not there.",
            hint="fix data_dir in the config",
        )
    found = known.find(directory, splits)
    if not found:
        names = known.files.get(splits[0]) or (f"file of the split {splits[0]!r}",)
        wanted = " or ".join(
            str(home / names[0]) for home in (directory / known.folders[0], directory)
        )
        raise PrerequisiteError(
            f"task {task!r} has no data: there is no {wanted}.",
            hint=f"get it from {known.source}, and name its folder, or the one that holds it, as "
            "data_dir",
        )
    return {
        split: [row for file in files for row in known.read(file)] for split, files in found.items()
    }


def expected_file(
    task: str, path: str, name: str | None, split: str, directory: Path, siblings: Iterable[str]
) -> str:
    """Name the file that a split would be read from, beside the splits that are there."""
    siblings = list(siblings)
    known = _set(task, path, name, [split, *siblings])
    return known.expected(directory, split, siblings) or f"split {split!r} of {path}"


def row_place(
    task: str, path: str, name: str | None, split: str, directory: Path, row: int
) -> tuple[str | None, int | None]:
    """Tell the file in which a row of a split stands (from 0), and its line where that is known."""
    known = _set(task, path, name, [split])
    for file in known.find(directory, [split]).get(split, ()):
        lines = (
            [one.place[1] for one in _generic_rows(file)]
            if known.read is _generic
            else [None for _ in known.read(file)]
        )
        if row < len(lines):
            return str(file), lines[row]
        row -= len(lines)
    return None, None


def _first(home: Path, names: Iterable[str]) -> list[Path]:
    """Return the files of the first name that is there."""
    for name in names:
        found = sorted(home.glob(name)) if "*" in name else [home / name]
        found = [file for file in found if file.is_file()]
        if found:
            return found
    return []


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
