"""BIG-Bench Hard: logic and arithmetic puzzles, each subset a file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from so8t.errors import DataError
from so8t.system.textfile import read_text
from so8t.tasks.benchmarks.base import LETTERS, Benchmark, BenchmarkItem, flawed_item, json_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The words of the published chain-of-thought prompts, whose examples end "So the answer is ...".
_INSTRUCTION = "Let's think step by step, and end with: So the answer is ..."
_OPTION = re.compile(r"^\(([A-Z])\)\s*(.+?)\s*$", re.MULTILINE)
_WORDS: dict[str, list[str]] = {
    "boolean_expressions": ["True", "False"],
    "causal_judgement": ["Yes", "No"],
    "formal_fallacies": ["valid", "invalid"],
    "navigate": ["Yes", "No"],
    "sports_understanding": ["yes", "no"],
    "web_of_lies": ["Yes", "No"],
}
_NUMBERS = ("multistep_arithmetic_two", "object_counting")


def read_bbh(path: Path) -> Iterator[BenchmarkItem]:
    """Read the examples of one subset; its name is the file's."""
    document = json_file(path)
    if not isinstance(document, dict) or not isinstance(document.get("examples"), list):
        raise DataError("no subset of BIG-Bench Hard: no list 'examples'", file=str(path), line=1)
    lines = _lines(path)
    for number, example in enumerate(document["examples"], start=1):
        question, target = (
            str(example.get(key, "") if isinstance(example, dict) else "").strip()
            for key in ("input", "target")
        )
        key, place = f"{path.stem}-{number:04d}", (str(path), lines.get(number, 1))
        if not question or not target:
            yield flawed_item(key, place, f"example {number} lacks its input or target")
            continue
        grader, reference = _grading(path.stem, question, target)
        yield BenchmarkItem(
            key=key,
            question=f"{question}\n\n{_INSTRUCTION}",
            grader=grader,
            reference=reference,
            group=path.stem,
            place=place,
        )


def _lines(path: Path) -> dict[int, int]:
    """The line on which each example begins, where a line tells: each has one `"input":`."""
    text = read_text(path, what="data", allow_bom=True)
    found = re.finditer(r'^[ \t]*(?:\{[ \t]*)?"input"[ \t]*:', text, re.MULTILINE)
    return {n: text.count("\n", 0, match.start()) + 1 for n, match in enumerate(found, start=1)}


def _grading(subset: str, question: str, target: str) -> tuple[dict[str, Any], str]:
    """Choose the grader by the kind of answer that a subset has."""
    letter = re.fullmatch(r"\(([A-Z])\)", target)
    options = _OPTION.findall(question)
    if letter and options and [name for name, _ in options] == list(LETTERS[: len(options)]):
        return {"type": "choice", "options": [text for _, text in options]}, letter[1]
    if subset in _WORDS:
        return {"type": "choice", "options": _WORDS[subset]}, target
    if subset in _NUMBERS:
        return {"type": "number"}, target
    return {"type": "exact", "labelled": True}, target


def _prompts(path: Path) -> Path:
    return path.parent.parent / "cot-prompts" / f"{path.stem}.txt"


def read_prompts(path: Path) -> Iterator[BenchmarkItem]:
    """Read the published chain-of-thought examples of a subset."""
    text = read_text(path, what="data", allow_bom=True)
    parts = re.split(r"\n\s*\nQ: ", text)
    for number, part in enumerate(parts[1:], start=1):
        question, mark, answer = part.partition("\nA: Let's think step by step.")
        if not mark:
            raise DataError(f"example {number} has no answer", file=str(path), line=1)
        yield BenchmarkItem(
            key=f"{path.stem}-shot-{number}",
            question=f"{question.strip()}\n\n{_INSTRUCTION}",
            grader={},
            reference=None,
            answer=answer.strip(),
            group=path.stem,
        )


def benchmarks() -> list[Benchmark]:
    """Describe this module's benchmark."""
    return [
        Benchmark(
            name="bbh",
            description="BIG-Bench Hard: puzzles of logic, counting and arithmetic",
            licence="MIT",
            source="https://github.com/suzgunmirac/BIG-Bench-Hard (bbh/)",
            metric="accuracy",
            language="en",
            category="logic",
            files=("bbh/*.json", "*.json"),
            read=read_bbh,
            shots=_prompts,
            read_shots=read_prompts,
            max_tokens=512,
        )
    ]
