"""What goes into the journal and what comes out, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from so8t.domain.exchange import Arm, EngineReply
from so8t.domain.plan import Phase
from so8t.domain.sample import Score


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The run itself. `config` is what was asked for, as plain data."""

    run_id: str
    name: str
    created: str
    version: str
    config: dict[str, Any]
    config_digest: str


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """One step of a phase's attempt: started, done (with its result) or failed (with why)."""

    phase: Phase
    attempt: int
    state: str
    at: datetime
    inputs: str
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Something that happened beside the answers: an interruption, an adjustment, a choice."""

    seq: int
    at: datetime
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class GradedReply:
    """An engine's reply to one sample, with its grade (None for a failed reply)."""

    arm: Arm
    position: int
    repeat: int
    reply: EngineReply
    settings: str
    score: Score | None
    grader: str | None


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """An answer as it stands: the newest for its arm, position and repeat, with its score."""

    seq: int
    at: datetime
    arm: Arm
    position: int
    repeat: int
    reply: EngineReply
    settings: str
    score: Score | None
    grader: str | None
    attempts: int
