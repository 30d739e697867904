"""English knowledge and reading: MMLU, TruthfulQA, BoolQ."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from so8t.tasks.benchmarks.base import (
    Benchmark,
    BenchmarkItem,
    Row,
    choice_item,
    each,
    jsonl_rows,
    table_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_mmlu(path: Path) -> Iterator[BenchmarkItem]:
    """Four choices of a subject, from the original CSV or the hub's JSON lines."""
    subject = path.stem.removesuffix("_test").removesuffix("_dev").removesuffix("_val")
    about = f"({subject.replace('_', ' ')}) "
    if path.suffix == ".csv":
        columns = ["question", "A", "B", "C", "D", "answer"]
        rows = table_rows(path, columns)
    else:
        rows = jsonl_rows(path)

    def item(number: int, row: Row) -> BenchmarkItem:
        if path.suffix == ".csv":
            right = "ABCD".index(row.one_of("answer", "ABCD"))
            options = [row.text(letter) for letter in "ABCD"]
        else:
            options = [str(option) for option in row.values.get("choices") or ()]
            right = row.number("answer", len(options))
        question = about + row.text("question").strip()
        key = f"{path.stem}-{number:04d}"
        return choice_item(row, key, question, options, right, "en", group=subject)

    yield from each(rows, item)


def _mmlu_dev(path: Path) -> Path:
    """The five examples of the same subject: dev/ beside test/, or a file beside the file."""
    name = path.name.replace("_test.", "_dev.")
    return path.parent.parent / "dev" / name if path.parent.name == "test" else path.with_name(name)


def read_truthfulqa(path: Path) -> Iterator[BenchmarkItem]:
    """One true answer among the false ones (mc1), in an order drawn from the question's text."""

    def item(number: int, row: Row) -> BenchmarkItem:
        question, best = row.text("Question"), row.text("Best Answer").strip()
        false = [text.strip() for text in row.text("Incorrect Answers").split(";")]
        options = sorted(
            dict.fromkeys([best, *(text for text in false if text)]),
            key=lambda text: hashlib.sha256(f"{question}\0{text}".encode()).digest(),
        )
        return choice_item(row, f"{number:04d}", question, options, options.index(best), "en")

    yield from each(table_rows(path), item)


def read_boolq(path: Path) -> Iterator[BenchmarkItem]:
    """A yes-or-no question on a passage; questions on one passage are a cluster."""

    def item(number: int, row: Row) -> BenchmarkItem:
        if not isinstance(row.values.get("answer"), bool):
            row.fail(f"column 'answer' is to be true or false: {row.values.get('answer')!r}")
        passage = row.text("passage")
        answer = "Yes" if row.values["answer"] else "No"
        question = row.text("question").strip().rstrip("?")
        return BenchmarkItem(
            key=f"{number:04d}",
            question=(
                f"{row.values.get('title') or ''}\n{passage}\n\n"
                f"Question: {question}?\n\nAnswer with Yes or No only."
            ).lstrip(),
            grader={"type": "choice", "options": ["Yes", "No"]},
            reference=answer,
            answer=answer,
            cluster=hashlib.sha256(passage.encode()).hexdigest()[:12],
            place=row.place,
        )

    yield from each(jsonl_rows(path), item)


def benchmarks() -> list[Benchmark]:
    """Describe this module's benchmarks."""
    return [
        Benchmark(
            name="mmlu",
            description="57 school and university subjects in English, four choices",
            licence="MIT",
            source="https://github.com/hendrycks/test (or cais/mmlu on the hub)",
            metric="accuracy",
            language="en",
            category="knowledge",
            files=("hendrycks_csv/test/*_test.csv", "test/*_test.csv", "hf_jsonl/*_test.jsonl"),
            read=read_mmlu,
            shots=_mmlu_dev,
        ),
        Benchmark(
            name="truthfulqa_mc1",
            description="Questions that many people answer wrongly: one true choice (mc1)",
            licence="Apache-2.0",
            source="https://github.com/sylinrl/TruthfulQA (TruthfulQA.csv)",
            metric="accuracy",
            language="en",
            category="knowledge",
            files=("TruthfulQA.csv",),
            read=read_truthfulqa,
            aliases=("truthfulqa",),
        ),
        Benchmark(
            name="boolq",
            description="Yes-or-no questions on a passage",
            licence="CC BY-SA 3.0",
            source="https://github.com/google-research-datasets/boolean-questions",
            metric="accuracy",
            language="en",
            category="reading",
            files=("dev.jsonl",),
            read=read_boolq,
            shots=lambda path: path.with_name("train.jsonl"),
        ),
    ]
