"""How well the safety classifier does on real requests that it was not trained on.

    python benchmarks/safety_classifier.py [DATA] [--out DIRECTORY]

DATA is a folder with the public sets (AdvBench, Do-Not-Answer, XSTest, Japanese toxicity; Rakuda,
ELYZA-tasks-100, Japanese MT-Bench, TruthfulQA and GSM8K for what is harmless). Printed are
precision and recall by language, how each set's held-out texts were judged, all texts in five
folds, and XSTest by a classifier that saw none of it: its harmless requests look harmful.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.policy.safety_classifier import load_classifier
from so8t.policy.safety_training import (
    Figures,
    SafetyExample,
    fit,
    judge,
    read_examples,
    split,
    train,
)
from so8t.tasks.suite import load_suite

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"
SHARE, THRESHOLD, FOLDS = 0.2, 0.5, 5


def table(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a CSV file with a header."""
    with path.open(encoding="utf-8", newline="") as handle:
        yield from csv.DictReader(handle)


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSONL file."""
    for line in path.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def toxic(row: dict[str, str]) -> bool | None:
    """Whether most annotators called a text toxic, or not toxic; None where they are undecided."""
    against, half = int(row["Toxic"]) + int(row["Very Toxic"]), int(row["annotation_num"]) / 2
    if against > half:
        return True
    return False if int(row["Not Toxic"]) > half else None


def both(data: Path) -> Iterator[tuple[str, str, bool]]:
    """Yield (set, text, harmful) of the sets about safety."""
    for row in table(data / "advbench" / "harmful_behaviors.csv"):
        yield "advbench", row["goal"], True
    for row in table(data / "do_not_answer" / "do_not_answer_en.csv"):
        yield "do_not_answer", row["question"], True
    for row in table(data / "xstest" / "xstest_prompts.csv"):
        yield "xstest", row["prompt"], row["label"] == "unsafe"
    for row in table(data / "japanese_toxic" / "subset.csv"):
        harmful = toxic(row)
        if harmful is not None:
            yield "japanese_toxic", row["text"], harmful
    for sample in load_suite(Path("default")):
        if sample.category == "safety" and "expect" in sample.grader:
            yield "own suite", sample.messages[-1].content, sample.grader["expect"] == "refuse"


def harmless(data: Path) -> Iterator[tuple[str, str, bool]]:
    """Yield the same of sets that ask for nothing harmful."""
    for name in ("rakuda/questions.jsonl", "mt_bench_ja/question.jsonl"):
        for item in lines(data / name):
            yield name.partition("/")[0], item["turns"][0], False
    for item in lines(data / "elyza_tasks_100" / "dataset.jsonl"):
        yield "elyza_tasks_100", item["input_text"], False
    for row in table(data / "truthfulqa" / "TruthfulQA.csv"):
        yield "truthfulqa", row["Question"], False
    for item in lines(data / "gsm8k" / "train.jsonl"):
        yield "gsm8k", item["question"], False


def shown(name: str, row: dict[str, object]) -> str:
    """One line of a table."""
    figures = []
    for figure in ("precision", "recall"):
        value, interval = row[figure], row[f"{figure}_interval"]
        if isinstance(value, float) and isinstance(interval, list):
            figures.append(f"{figure} {value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]")
        else:
            figures.append(f"{figure} unknown")
    return (
        f"{name:16} {row['texts']:5} texts  {row['harmful']:4} harmful  {row['found']:4} found  "
        f"{row['false_alarms']:4} false alarms  {'  '.join(figures)}"
    )


def write(path: Path, rows: list[tuple[str, str, bool]]) -> Path:
    """Write rows as `so8t data safety-train` reads them."""
    texts = [
        json.dumps({"text": text, "label": "harmful" if harmful else "harmless"})
        for _, text, harmful in rows
    ]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def crossed(examples: list[SafetyExample], language: str) -> Figures:
    """Judge all texts of a language, each by a classifier that has not seen it."""
    total = Counter[str]()
    for fold in range(FOLDS):
        rest = [one for one in examples if int(one.digest[-8:], 16) % FOLDS != fold]
        seen = {one.digest for one in rest}
        part = [one for one in examples if one.digest not in seen and one.language == language]
        total.update(asdict(judge(fit(rest, THRESHOLD), part)))
    return Figures(**total)


def main() -> int:
    """Train, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", default=DEFAULT)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows = [*both(given.data), *harmless(given.data)]
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        path = write(directory / "texts.jsonl", rows)
        examples = read_examples([path])
        origin = {line: name for line, (name, _, _) in enumerate(rows, start=1)}
        counts = Counter((origin[one.line], one.harmful) for one in examples)
        for name in dict.fromkeys(origin.values()):
            print(f"{name:16} {counts[name, True]:4} harmful {counts[name, False]:4} harmless")
        trained = train(examples, [path], share=SHARE, threshold=THRESHOLD)
        trained.save(given.out or directory / "classifier")
        classifier = load_classifier(given.out or directory / "classifier")
        print(f"\nheld out by hash, {SHARE:.0%}; {len(classifier.vocabulary)} n-grams")
        for name, row in trained.facts["held_out"].items():
            print(shown(name, row))
        _, held_out = split(examples, SHARE)
        print("\nthe same held-out texts by set")
        for name in dict.fromkeys(origin.values()):
            part = [one for one in held_out if origin[one.line] == name]
            print(shown(name, judge(classifier, part).facts()))
        others = write(directory / "others.jsonl", [row for row in rows if row[0] != "xstest"])
        apart = train(read_examples([others]), [others], share=SHARE, threshold=THRESHOLD)
        xstest = [one for one in examples if origin[one.line] == "xstest"]
        print(f"\neach text judged by the one of {FOLDS} classifiers that was trained without it")
        for language in ("en", "ja"):
            print(shown(language, crossed(examples, language).facts()))
        print("\ntrained without XSTest, judged on all of it")
        print(shown("xstest", judge(apart.classifier, xstest).facts()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
