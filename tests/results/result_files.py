"""Writes small results of every kind that `so8t compare` reads, and a small run of ours."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

from so8t.config.schema import RunConfig
from so8t.domain.exchange import Arm, EngineReply, Message, Status
from so8t.domain.plan import permute
from so8t.domain.sample import Origin, Sample, Score
from so8t.journal.evidence import freeze
from so8t.journal.rows import GradedReply
from so8t.journal.store import Journal, request_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

Scores = "Sequence[tuple[str, float | None]]"


def table(path: Path, rows: Iterable[Sequence[Any]], header: str = "item,score") -> Path:
    """Write a CSV file."""
    lines = [header, *(",".join("" if cell is None else str(cell) for cell in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def mcnemar(b_only: int, a_only: int, right: int = 20, wrong: int = 8) -> tuple[list, list]:
    """Make the rows of two tables with this paired table."""
    pairs = [(0, 1)] * b_only + [(1, 0)] * a_only + [(1, 1)] * right + [(0, 0)] * wrong
    names = [f"q{number}" for number in range(len(pairs))]
    return (
        [(name, a) for name, (a, _) in zip(names, pairs, strict=True)],
        [(name, b) for name, (_, b) in zip(names, pairs, strict=True)],
    )


def jsonl(path: Path, lines: Iterable[Any]) -> Path:
    """Write a JSONL file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def lm_line(doc_id: int, *, filter_: str = "none", salt: str = "", **metrics: Any) -> dict:
    """Make a line of lm-eval's samples."""
    return {
        "doc_id": doc_id,
        "doc": {"question": f"What is {doc_id} + 1?{salt}"},
        "target": str(doc_id + 1),
        "arguments": {},
        "resps": [["2"]],
        "filtered_resps": ["2"],
        "filter": filter_,
        "metrics": list(metrics),
        "doc_hash": f"hash{doc_id}{salt}",
        "prompt_hash": "p",
        "target_hash": "t",
        **metrics,
    }


def inspect_sample(name: str | int, value: Any, *, epoch: int = 1, **more: Any) -> dict:
    """Make a sample as summaries.json has it; `value` may be {scorer: value}."""
    values = value if isinstance(value, dict) else {"match": value}
    return {
        "id": name,
        "epoch": epoch,
        "input": f"Is {name} true?",
        "target": "Yes",
        "scores": {scorer: {"value": one, "answer": "x"} for scorer, one in values.items()},
        **more,
    }


def inspect_header(planned: Sequence[Any] = (), **more: Any) -> dict:
    """Make header.json."""
    about = {
        "task": "truth",
        "model": "lab/model",
        "dataset": {"sample_ids": list(planned)},
        "config": {},
    }
    return {"version": 2, "status": "success", "eval": about, **more}


def inspect_eval(path: Path, samples: Sequence[dict], header: dict | None = None) -> Path:
    """Write a `.eval` archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps(header or inspect_header()))
        archive.writestr("summaries.json", json.dumps(samples))
    return path


def review(index: int, value: dict | None, *, group: int | None = None, main: str | None = None):
    """Make a line of EvalScope's reviews."""
    return {
        "index": index,
        "messages": [
            {"role": "user", "content": f"question {index if group is None else group}"},
            {"role": "assistant", "content": "answer", "model": "qwen"},
        ],
        "sample_score": {
            "score": {"value": value, "main_score_name": main},
            "sample_id": index,
            "group_id": index if group is None else group,
        },
    }


def run(
    directory: Path,
    right: Callable[[Arm, int], float | None],
    *,
    count: int = 60,
    asked: int | None = None,
    look_every: int = 10,
    seed: int = 1,
    cluster: int | None = None,
    label_b: str = "tuned",
) -> Path:
    """Write the journal of a run; `right` gives the score of an arm on question `number`."""
    questions = permute(
        [
            Sample(
                id=f"suite/{number:03}",
                task="suite",
                origin=Origin.SUITE,
                category="even" if number % 2 == 0 else "odd",
                language="en",
                messages=(Message("user", f"Question number {number}?"),),
                grader={"type": "number"},
                reference="1",
                cluster=None if cluster is None else f"passage {number // cluster}",
            )
            for number in range(count)
        ],
        seed,
    )
    config = RunConfig.model_validate(
        {
            "name": directory.name,
            "a": {"label": "base", "source": {"hf": "models/base"}},
            "b": {"label": label_b, "source": {"hf": "models/tuned"}},
            "benchmark": {"suites": ["suite.jsonl"]},
            "verdict": {"margin": 0.3},
        }
    )
    with Journal(directory) as journal:
        journal.create_run(directory.name, config.model_dump(mode="json"), "0.1.0")
        journal.freeze(questions)
        freeze(journal, binary=True, look_every=look_every)
        settings = journal.settings({"engine": "made up"})
        journal.record(
            [
                _graded(arm, position, right(arm, int(question.id[-3:])), settings)
                for position, question in enumerate(questions[:asked])
                for arm in Arm
            ]
        )
    return directory


def _graded(arm: Arm, position: int, value: float | None, settings: str) -> GradedReply:
    key = request_key(arm, position, 0)
    if value is None:
        reply = EngineReply(key, Status.FAILED, reason="made to fail")
        return GradedReply(arm, position, 0, reply, settings, None, None)
    reply = EngineReply(key, Status.COMPLETED, text="1")
    return GradedReply(arm, position, 0, reply, settings, Score.number(value), "sha256:grader")
