"""Makes real journals for the report's tests: the same rows every time, nothing patched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from so8t.config.schema import RunConfig
from so8t.domain.exchange import Arm, EngineReply, Message, Status
from so8t.domain.plan import Phase, permute
from so8t.domain.sample import CUT_OFF, Origin, Sample, Score
from so8t.journal.evidence import freeze
from so8t.journal.rows import GradedReply
from so8t.journal.store import Journal, request_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CATEGORIES = ("mathematics", "logic", "safety", "japanese")
START = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)

TRAINING = {
    "method": "so8",
    "resumed_from": [120, 260],
    "setting": {
        "micro_batch": 8,
        "gradient_checkpointing": False,
        "activation_offloading": False,
        "precision": "float32",
        "paused": False,
    },
    "steps_done": 300,
    "stopped_by": "steps",
    "seconds": 71.5,
    "training_seconds": 66.2,
    "tokens": 412_000,
    "train_loss_first": 2.31,
    "train_loss_last": 0.41,
    "held_out_loss_before": 2.28,
    "held_out_loss_after": 0.47,
    "conversations": 5200,
    "held_out_conversations": 260,
    "trainable_parameters": 53_760,
    "blocks": 1920,
    "orthogonality_error": 4.8e-7,
    "determinant_min": 0.9999998,
    "determinant_max": 1.0000002,
    "largest_angle_degrees": 41.3,
    "merge_error": 2.1e-5,
    "rounding_error": 8.4e-3,
    "dtype": "bfloat16",
    "base_digest": "sha256:" + "ab" * 32,
    "data_digests": {"train.jsonl": "sha256:" + "cd" * 32},
    "threads": 2,
    "torch_version": "2.13.0",
}


@dataclass(frozen=True)
class Shape:
    """What the made-up run looks like."""

    samples: int = 240
    answered: int | None = None  # None: all; else the run stopped here
    win_every: int = 5  # every so manieth item only B has right; 0: never
    lose_every: int = 23
    trouble: bool = True
    margin: float | None = None
    scope: str = "population"
    graded: bool = False
    look_every: int = 12
    reused: bool = False  # A's answers come from an earlier run
    phases_only: bool = False
    label_a: str = "A"
    label_b: str = "B"


def clock() -> Callable[[], datetime]:
    """Return a clock that moves on by 1.5 s at each look."""
    ticks: Iterator[int] = iter(range(10**9))
    return lambda: START + timedelta(seconds=1.5 * next(ticks))


def config(shape: Shape) -> dict[str, Any]:
    """Return the config of the run as the journal keeps it."""
    asked = RunConfig.model_validate(
        {
            "name": "nightly",
            "a": {"label": shape.label_a, "source": {"hf": "models/base"}},
            "b": {"label": shape.label_b, "finetune": {"data": ["train.jsonl"]}},
            "benchmark": {"suites": ["suite.jsonl"]},
            "verdict": {"margin": shape.margin, "scope": shape.scope},
        }
    )
    plain: dict[str, Any] = asked.model_dump(mode="json")
    return {key: value for key, value in plain.items() if key not in ("language", "output")}


def samples(shape: Shape) -> list[Sample]:
    """Return the questions in the order of the run."""
    made = []
    for number in range(shape.samples):
        category = CATEGORIES[number % len(CATEGORIES)]
        japanese = category == "japanese"
        question = (
            f"りんごが{number}個あります。3個食べると、残りは何個ですか。"
            if japanese
            else f"What is {number} minus 3?"
        )
        made.append(
            Sample(
                id=f"quickstart/{category}-{number:04}",
                task="quickstart" if number % 3 else "extra",
                origin=Origin.SUITE,
                category=category,
                language="ja" if japanese else "en",
                messages=(Message("user", question),),
                grader={"type": "number"},
                reference=str(number - 3),
            )
        )
    return permute(made, seed=1)


def build(
    directory: Path, shape: Shape | None = None, hostile: dict[int, str] | None = None
) -> Path:
    """Write a run's journal below `directory`; return the directory.

    `hostile` puts texts in place of B's answers at these positions.
    """
    shape = shape or Shape()
    with Journal(directory, now=clock()) as journal:
        journal.create_run("nightly", config(shape), "0.1.0")
        journal.event("session_started", pid=1, host="workstation", version="0.1.0")
        questions = samples(shape)
        journal.freeze(questions)
        _prepare(journal)
        if shape.phases_only:
            return directory
        freeze(journal, binary=not shape.graded, look_every=shape.look_every)
        _benchmark(journal, shape, hostile or {})
    return directory


def _prepare(journal: Journal) -> None:
    for phase, arm in ((Phase.PREPARE_A, Arm.A), (Phase.PREPARE_B, Arm.B)):
        journal.phase_step(phase, 1, "started", "sha256:in", {})
        journal.phase_step(
            phase,
            1,
            "done",
            "sha256:in",
            {
                "arm": arm.value,
                "kind": "gguf",
                "location": f"/runs/nightly/artifacts/{arm.value}/model-q8_0.gguf",
                "digest": "sha256:" + ("a1" if arm is Arm.A else "b2") * 32,
                "size": 4_812_345,
                "quantization": "q8_0",
                "source": {"kind": "hf", "location": "models/base", "commit": "1f" * 20},
                "conversion": {"tensors": 39},
                "training": TRAINING if arm is Arm.B else None,
                "phase_seconds": 3.2 if arm is Arm.A else 78.9,
            },
        )
    journal.phase_step(Phase.REGISTER, 1, "started", "sha256:in", {})
    journal.phase_step(Phase.REGISTER, 1, "done", "sha256:in", _registration())


def _registration() -> dict[str, Any]:
    def arm(letter: str) -> dict[str, Any]:
        digest = "sha256:" + ("a1" if letter == "a" else "b2") * 32
        return {
            "model": {"arm": letter, "location": "model.gguf", "digest": digest},
            "load": {
                "seconds": 0.4,
                "context": 512,
                "slots": 4,
                "memory": 31_000_000,
                "gpu_memory": None,
                "template_digest": "sha256:" + "77" * 32,
            },
            "facts": {"architecture": "llama", "parameters": 3_400_000, "file_type": "Q8_0"},
            "first_answer": "5",
            "first_answer_seconds": 0.1,
        }

    return {
        "engine": {"name": "embedded", "version": "llama.cpp b7000", "detail": "CPU"},
        "profile": {"slots": 4, "context": 512, "threads": 2, "gpu_layers": -1},
        "arms": {"a": arm("a"), "b": arm("b")},
        "calibration": {
            "threads": 2,
            "slots": 4,
            "measurements": [
                {
                    "threads": 2,
                    "slots": slots,
                    "tokens_per_second": rate,
                    "answers": 16,
                    "seconds": 2.0,
                    "failure": None,
                }
                for slots, rate in ((1, 210.0), (2, 340.0), (4, 505.5))
            ],
            "skipped": [{"threads": 2, "slots": 8}],
            "seconds": 9.5,
        },
        "phase_seconds": 12.7,
    }


def _benchmark(journal: Journal, shape: Shape, hostile: dict[int, str]) -> None:
    questions = list(journal.samples())
    stop = shape.samples if shape.answered is None else shape.answered
    settings = {
        arm: journal.settings({"arm": arm.value, "engine": "embedded", "seed": 1}) for arm in Arm
    }
    journal.phase_step(Phase.BENCHMARK, 1, "started", "sha256:in", {})
    again = [
        _graded(shape, questions, arm, position, settings[arm], hostile, repeat=1)
        for position in range(min(16, stop))
        for arm in Arm
    ]
    journal.record([one for one in again if one.reply.status is Status.COMPLETED])
    for start in range(0, stop, 20):
        # Many to a commit, as at many slots: each commit waits for the disk.
        journal.record(
            [
                _graded(shape, questions, arm, position, settings[arm], hostile)
                for position in range(start, min(start + 20, stop))
                for arm in Arm
            ]
        )
        if start == 20 and shape.trouble:
            journal.event("engine_crashed", arm="b", message="exit code -11", in_a_row=1)
            journal.event("interruption", last_written=START.isoformat(), away_seconds=7_520.0)
            journal.event("session_started", pid=2, host="workstation", version="0.1.0")
    if stop == shape.samples:
        journal.phase_step(
            Phase.BENCHMARK, 1, "done", "sha256:in", {"samples": stop, "phase_seconds": 93.0}
        )
        journal.event("session_ended", how="finished")


def _graded(
    shape: Shape,
    questions: list[Sample],
    arm: Arm,
    position: int,
    settings: str,
    hostile: dict[int, str],
    repeat: int = 0,
) -> GradedReply:
    question = questions[position]
    right = position % 3 == 0
    if shape.win_every and position % shape.win_every == 1:
        right = arm is Arm.B
    elif shape.lose_every and position % shape.lose_every == 2:
        right = arm is Arm.A
    value = 1.0 if right else 0.0
    if shape.graded:
        value = 0.75 if right else 0.25
    said = question.reference if right else f"{position} is my answer"
    text = f"<think>secret plan {position}</think>{said}"
    if repeat and position % 8 == 3:
        text, value = f"{text}!", 1.0 - value
    status, reason = Status.COMPLETED, None
    score: Score | None = Score.number(value, "recognised as a number")
    if shape.trouble and position % 40 == 7 and arm is Arm.A:
        status, text = Status.TRUNCATED, "One, two, three, four, "
        score = Score.invalid(CUT_OFF)
    if shape.trouble and position % 60 == 11 and arm is Arm.B:
        status, text, score, reason = Status.FAILED, "", None, "engine crashed 5 times"
    if shape.trouble and position % 90 == 17 and arm is Arm.A:
        score = Score.unscored("two different numbers were given")
    if position in hostile and arm is Arm.B:
        text = hostile[position]
    reply = EngineReply(
        key=request_key(arm, position, repeat),
        status=status,
        text=text,
        reason=reason,
        prompt_tokens=20,
        completion_tokens=None if status is Status.FAILED else 8 + position % 5,
        seconds=None if status is Status.FAILED else 0.2 + (position % 10) / 50,
    )
    grader = None if score is None else "sha256:grader"
    earlier = "0" * 32 if shape.reused and arm is Arm.A and not repeat else None
    return GradedReply(arm, position, repeat, reply, settings, score, grader, earlier)
