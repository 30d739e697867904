"""What a person can ask for, as pydantic models. The JSON Schema for editors is made from these.

Every field has a default that is right for most people, or none where only the person can know.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Strict(BaseModel):
    """Unknown keys are refused, values are not coerced between kinds, nothing changes later."""

    model_config = ConfigDict(extra="forbid", strict=False, frozen=True)


class Finetune(_Strict):
    """Phase 2: how B is made from A."""

    method: Literal["so8"] = Field(
        default="so8", description="so8: block-diagonal SO(8) rotations, merged into the weights"
    )
    data: list[Path] = Field(
        min_length=1, description="chat JSONL files, one {messages: [...]} a line"
    )
    steps: int = Field(default=300, ge=0, description="optimizer steps; 0 leaves B equal to A")
    max_seconds: float | None = Field(
        default=None, gt=0, description="stop after this time even when steps are left"
    )
    batch_size: int = Field(default=32, ge=1, description="conversations a step")
    learning_rate: float = Field(default=0.01, gt=0)
    warmup_steps: int = Field(default=20, ge=0)
    max_length: int = Field(default=512, ge=8, description="tokens; longer examples are refused")
    targets: list[str] = Field(
        default=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        min_length=1,
        description="linear layers that get a rotation on their input side",
    )
    held_out: float = Field(
        default=0.05, gt=0, lt=0.5, description="share of the data held out, by content hash"
    )
    seed: int = 1
    threads: int | None = Field(default=None, ge=1, description="default: the physical cores")
