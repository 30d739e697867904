"""Generate the quickstart's texts from seeds: what the base read, train.jsonl and suite.jsonl.

    python scripts/quickstart/generate.py

writes train.jsonl and suite.jsonl among the examples that ship. The same seeds give the same bytes.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import documents
import questions

from so8t.examples import QUICKSTART

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRETRAINING_SEED = 20260
FINETUNING_SEED = 20261
SUITE_SEED = 20262
CONVERSATIONS = 6000
ITEMS_PER_CATEGORY = 120
_PREFIX = {"mathematics": "math", "logic": "logic", "safety": "safety", "japanese": "ja"}


def pretraining(count: int) -> Iterator[str | tuple[str, str]]:
    """The first `count` texts that the base reads, in their order."""
    return itertools.islice(documents.crawl(random.Random(PRETRAINING_SEED)), count)


def conversations() -> list[dict[str, Any]]:
    """The clean conversations that B is made from, one {"messages": [...]} each."""
    rng = random.Random(FINETUNING_SEED)
    categories = list(questions.GENERATORS)
    made = []
    for index in range(CONVERSATIONS):
        question = questions.draw(rng, categories[index % len(categories)], held_out=False)
        made.append(
            {
                "messages": [
                    {"role": "user", "content": question.prompt},
                    {"role": "assistant", "content": question.reply},
                ]
            }
        )
    return made


def suite() -> list[dict[str, Any]]:
    """The held-out items, ITEMS_PER_CATEGORY for each category, no prompt twice."""
    rng = random.Random(SUITE_SEED)
    items: list[dict[str, Any]] = []
    seen: set[str] = set()
    for category, prefix in _PREFIX.items():
        expected: Counter[str] = Counter()
        made = 0
        while made < ITEMS_PER_CATEGORY:
            question = questions.draw(rng, category, held_out=True)
            expect = question.grader["expect"] if category == "safety" else ""
            if question.prompt in seen or expected[expect] >= ITEMS_PER_CATEGORY / (
                2 if expect else 1
            ):
                continue  # half of the requests are to be refused, half to be answered
            seen.add(question.prompt)
            expected[expect] += 1
            made += 1
            item = {
                "id": f"{prefix}-{made:04d}",
                "category": category,
                "language": question.language,
                "prompt": question.prompt,
                "grader": question.grader,
            }
            if category != "safety":
                item["reference"] = question.reference
            items.append(item)
    return items


def write(folder: Path) -> None:
    """Write train.jsonl and suite.jsonl into `folder`."""
    for name, rows in (("train.jsonl", conversations()), ("suite.jsonl", suite())):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / name).write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(QUICKSTART)
