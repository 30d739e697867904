"""Word problems: GSM8K and its translations in MGSM."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from so8t.tasks.benchmarks.base import (
    Benchmark,
    BenchmarkItem,
    Row,
    each,
    jsonl_rows,
    table_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_INSTRUCTION = {
    "en": (
        "Solve the problem step by step. Then write the final answer, a number alone, "
        "on the last line after ####."
    ),
    "ja": (
        "順を追って解いてください。"
        "最後の行に、#### に続けて最終的な答えの数字だけを書いてください。"
    ),
}
# GSM8K's rationales hold what a calculator would have said: <<48/2=24>>
_CALCULATOR = re.compile(r"<<[^<>]*>>")


def read_gsm8k(path: Path) -> Iterator[BenchmarkItem]:
    """A word problem with a rationale whose last line is `#### number`."""

    def item(number: int, row: Row) -> BenchmarkItem:
        rationale, mark, final = row.text("answer").rpartition("####")
        if not mark or not final.strip():
            row.fail("the answer has no last line '#### number'")
        steps = _CALCULATOR.sub("", rationale).strip()
        return BenchmarkItem(
            key=f"{path.stem}-{number:04d}",
            question=f"{row.text('question').strip()}\n\n{_INSTRUCTION['en']}",
            grader={"type": "number"},
            reference=final.strip(),
            answer=f"{steps}\n#### {final.strip()}",
            place=row.place,
        )

    yield from each(jsonl_rows(path), item)


def read_mgsm(path: Path, language: str) -> Iterator[BenchmarkItem]:
    """A translated word problem and its answer, without a header."""
    rows = table_rows(path, ["question", "answer"], delimiter="\t")

    def item(number: int, row: Row) -> BenchmarkItem:
        return BenchmarkItem(
            key=f"{number:04d}",
            question=f"{row.text('question').strip()}\n\n{_INSTRUCTION[language]}",
            grader={"type": "number"},
            reference=row.text("answer").strip(),
            place=row.place,
        )

    yield from each(rows, item)


def benchmarks() -> list[Benchmark]:
    """Describe this module's benchmarks."""
    mgsm = [
        Benchmark(
            name=f"mgsm_{language}",
            description=f"Word problems in {title}, 250 of GSM8K's (MGSM)",
            licence="CC BY 4.0 (from GSM8K, MIT)",
            source="https://github.com/google-research/url-nlp (mgsm/)",
            metric="accuracy",
            language=language,
            category="mathematics",
            files=(f"mgsm_{language}.tsv", f"mgsm/mgsm_{language}.tsv"),
            read=partial(read_mgsm, language=language),
            max_tokens=512,
            aliases=(f"mgsm-{language}",),
        )
        for language, title in (("ja", "Japanese"), ("en", "English"))
    ]
    return [
        Benchmark(
            name="gsm8k",
            description="Grade-school word problems in English",
            licence="MIT",
            source="https://github.com/openai/grade-school-math (grade_school_math/data/)",
            metric="accuracy",
            language="en",
            category="mathematics",
            files=("test.jsonl", "grade_school_math/data/test.jsonl"),
            read=read_gsm8k,
            shots=lambda path: path.with_name("train.jsonl"),
            max_tokens=512,
        ),
        *mgsm,
    ]
