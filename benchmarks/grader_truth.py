"""What the graders say of real replies, against the people who read them.

    python benchmarks/grader_truth.py [DATA]

DATA is the folder of the public sets. Printed are Markdown tables: the refusal grader against the
human labels of XSTest's completions (with the question and from the reply alone), against the
replies that are kept for measuring, and on texts that help; the number grader on published
solutions and on answers that another tool scored; the choice grader on every form of stating an
answer under every kind of labels. docs/suite-format.md quotes them.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.tasks.graders.number import NumberGrader
from so8t.tasks.graders.refusal import Stance, stance_of
from so8t.tasks.graders.text import answer_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = ROOT.parent / "shared" / "data"
ARMS = {
    "plain": "completions_mistralinstruct.csv",
    "with a safety prompt": "completions_mistralguard.csv",
}
LABELS = {"1": "complied", "2": "refused", "3": "refused in part"}


def main() -> None:
    """Print every table for which there is data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=DEFAULT)
    data = parser.parse_args().data
    labelled = data / "log_xstest_labelled"
    if not labelled.exists():
        sys.exit(f"{labelled} is not there: give the folder of the public sets")
    for question in (True, False):
        refusals(labelled, question=question)
    kept_replies()
    helpful(data)
    numbers(data)


@dataclass(frozen=True)
class Agreement:
    """How a grader's two classes (complied, or not) agree with people's."""

    people: list[bool]
    grader: list[bool]

    @property
    def share(self) -> float:
        """Share of replies with the same class."""
        return sum(a == b for a, b in zip(self.people, self.grader, strict=True)) / len(self.people)

    @property
    def macro(self) -> float:
        """Mean over people's two classes of the share that the grader finds."""
        pairs = list(zip(self.people, self.grader, strict=True))
        shares = [
            sum(b is kind for a, b in pairs if a is kind) / self.people.count(kind)
            for kind in (True, False)
        ]
        return sum(shares) / len(shares)


def completions(path: Path) -> list[dict[str, str]]:
    """Rows of one file of labelled completions."""
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def agreement(rows: list[dict[str, str]], *, question: bool) -> Agreement:
    """Compare the two classes on labelled completions, with or without the question."""
    told = [stance_of(r["completion"], r["prompt"] if question else "") for r in rows]
    return Agreement(
        [r["final_label"].startswith("1") for r in rows], [one is Stance.COMPLIES for one in told]
    )


def refusals(folder: Path, *, question: bool) -> None:
    """Print the confusion of stances and labels for both models, and their difference."""
    print(f"\n## refusal, XSTest's labels, {'with the question' if question else 'reply alone'}\n")
    complied = []
    for arm, name in ARMS.items():
        rows = completions(folder / name)
        seen = Counter(
            (r["final_label"][0], stance_of(r["completion"], r["prompt"] if question else ""))
            for r in rows
        )
        found = agreement(rows, question=question)
        print(
            f"{arm}: {len(rows)} completions, agreement {found.share:.3f}, macro "
            f"{found.macro:.3f}, "
            f"complied {sum(found.people)} by people and {sum(found.grader)} by the grader\n"
        )
        matrix(LABELS, list(Stance), seen)
        complied.append((sum(found.people) / len(rows), sum(found.grader) / len(rows)))
    (plain, plain_said), (guarded, guarded_said) = complied
    print(
        f"difference between the models: {100 * (plain - guarded):.1f} points by people, "
        f"{100 * (plain_said - guarded_said):.1f} by the grader"
    )


def matrix(rows: dict[str, str], columns: list[Any], seen: Counter[Any]) -> None:
    """Print a confusion table as Markdown."""
    print(f"| people | {' | '.join(str(c).split(':')[0] for c in columns)} |")
    print(f"|---|{'---|' * len(columns)}")
    for key, name in rows.items():
        print(f"| {name} | {' | '.join(str(seen[key, c]) for c in columns)} |")
    print()


def kept_replies() -> None:
    """Print precision and recall on the replies that were written to measure with."""
    print("\n## refusal, replies written for measuring\n")
    path = ROOT / "tests" / "tasks" / "refusal_replies.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    print("| replies | precision | recall |\n|---|---|---|")
    for language, name in (("en", "English"), ("ja", "Japanese")):
        seen = Counter(
            (r["stance"], stance_of(r["reply"])) for r in rows if r["language"] == language
        )
        for stance in (Stance.REFUSES, Stance.COMPLIES, Stance.PARTIAL):
            right = seen[stance.value, stance]
            said = sum(n for (_, heard), n in seen.items() if heard is stance)
            there = sum(n for (kind, _), n in seen.items() if kind == stance.value)
            print(f"| {name}, {stance} | {right} of {said} | {right} of {there} |")


def helpful(data: Path) -> None:
    """Count what is called no compliance among texts of others that help."""
    print("\n## refusal, texts that help\n")
    print("| texts | called compliance | what the others are called |\n|---|---|---|")
    for name, texts in helpful_texts(data):
        told = Counter(stance_of(text) for text in texts)
        others = ", ".join(
            f"{k.name.lower()} {n}" for k, n in told.items() if k is not Stance.COMPLIES
        )
        print(f"| {name} | {told[Stance.COMPLIES]} of {len(texts)} | {others} |")


def helpful_texts(data: Path) -> Iterator[tuple[str, list[str]]]:
    """Reference answers and passages of the sets that are there."""
    for name, path, text in (
        ("ELYZA-tasks-100", "elyza_tasks_100/dataset.jsonl", lambda r: [r["output_text"]]),
        (
            "Japanese MT-Bench",
            "mt_bench_ja/reference_answer.jsonl",
            lambda r: r["choices"][0]["turns"],
        ),
        ("GSM8K, solutions", "gsm8k/test.jsonl", lambda r: [r["answer"]]),
        ("HumanEval", "humaneval/HumanEval.jsonl", lambda r: [r["canonical_solution"]]),
        ("BoolQ, passages", "boolq/dev.jsonl", lambda r: [r["passage"]]),
    ):
        if (data / path).exists():
            yield name, [t for r in lines(data / path) for t in text(r) if t.strip()]
    for name, path, column in (
        ("TruthfulQA, best answers", "truthfulqa/TruthfulQA.csv", "Best Answer"),
        ("AdvBench, openings", "advbench/harmful_behaviors.csv", "target"),
    ):
        if (data / path).exists():
            yield name, [r[column] for r in completions(data / path)]


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSON Lines file."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield json.loads(line)


def numbers(data: Path) -> None:
    """Print the number grader's agreement on published solutions and another tool's scores."""
    print("\n## number\n\n| replies | the same verdict |\n|---|---|")
    solutions = [r for p in sorted((data / "gsm8k").glob("*.jsonl")) for r in lines(p)]
    if solutions:
        right = sum(
            _number(r["answer"], r["answer"].rsplit("####", 1)[1].strip()) for r in solutions
        )
        print(f"| GSM8K, published solutions | {right} of {len(solutions)} |")
    reviews = sorted((data / "log_evalscope_qwen_gsm8k").glob("*/reviews/*.jsonl"))
    scored = [r["sample_score"] for p in reviews for r in lines(p)]
    if scored:
        same = sum(
            _number(s["score"]["prediction"], str(t)) == bool(s["score"]["value"]["acc"])
            for s, t in zip(scored, [r["target"] for p in reviews for r in lines(p)], strict=True)
        )
        print(f"| Qwen on GSM8K, scored by EvalScope | {same} of {len(scored)} |")


def _number(reply: str, reference: str) -> bool:
    return NumberGrader().score(reference.replace(",", ""), answer_of(reply)).value == 1.0


if __name__ == "__main__":
    main()
