"""What a training tells: where it stands, what it did, and what surrounds it. Light: no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil

from so8t.models.training_setting import Mailbox, TrainingSetting
from so8t.system.attempt import reading

if TYPE_CHECKING:
    from so8t.config.schema import Finetune

Note = Callable[[str, Mapping[str, Any]], None]
Stage = Literal["loading", "held-out loss", "training", "merging", "writing"]


@dataclass(frozen=True)
class TrainingProgress:
    """Where the training stands.

    Attributes:
        stage: what happens now; steps are counted in "training" only.
        step, steps: optimizer steps done and asked for.
        loss: mean loss of the last batch in nats a token, None before the first.
        tokens: tokens read in training so far, padding aside.
        seconds: since the start.
        resumed: the step at which this process went on from a checkpoint, 0 without one.

    """

    stage: Stage
    step: int
    steps: int
    loss: float | None
    tokens: int
    seconds: float
    resumed: int = 0


@dataclass(frozen=True)
class FinetuneResult:
    """What the training did, as plain data for the journal.

    Attributes:
        method: so8, lora or qlora.
        steps_done: optimizer steps; fewer than asked for when stopped_by is "max_seconds".
        stopped_by: what ended the training.
        seconds: wall time in all; training_seconds: of the steps alone.
        tokens: tokens read in training, padding aside; a second reading counts again.
        train_loss_first, train_loss_last: mean loss of the first and of the last batch, in nats
            a token of an answer; None without steps.
        loss_curve: [step, loss], at most 200 of them.
        held_out_loss_before, held_out_loss_after: the same over the held-out conversations.
        conversations, held_out_conversations: the sizes of the two sides of the split.
        held_out_measured: of how many held-out conversations the losses are; fewer than all where
            `max_seconds` left no time for them.
        merge_error: largest difference of a logit between training beside the weights and
            in the weights, both in the precision of the training, over held-out conversations.
        rounding_error: the same between the merged weights in that precision and in the dtype of
            the base, which is what is written.
        dtype: the dtype of the trained weights in the base and in B.
        setting: the TrainingSetting at the end.
        resumed_from: the steps at which a new process went on from a checkpoint.
        base_digest: digest of the base's directory.
        data_digests: digest of each training file.
        threads, torch_version: equal results are only promised for equal values of these.
        trainable_parameters: so8 has 28 for each 8 x 8 block.
        blocks, orthogonality_error, determinant_min, determinant_max, largest_angle_degrees: so8
            only, see `so8t.models.so8.RotationCheck`.
        rank, largest_update: lora and qlora only; the largest Frobenius norm of an update.
        search: what the search found, see `so8t.models.search.Found`; None without one.
        packing: whether several conversations were laid into one row.
        pet: the weights that the penalty PET had, in the order of the steps; None without it.

    """

    method: str

    steps_done: int
    stopped_by: Literal["steps", "max_seconds"]
    seconds: float
    training_seconds: float
    tokens: int
    train_loss_first: float | None
    train_loss_last: float | None
    loss_curve: list[list[float]]
    held_out_loss_before: float
    held_out_loss_after: float
    conversations: int
    held_out_conversations: int
    merge_error: float
    rounding_error: float
    dtype: str
    setting: dict[str, Any]
    resumed_from: list[int]
    base_digest: str
    data_digests: dict[str, str]
    threads: int
    torch_version: str
    trainable_parameters: int
    blocks: int | None = None
    orthogonality_error: float | None = None
    determinant_min: float | None = None
    determinant_max: float | None = None
    largest_angle_degrees: float | None = None
    rank: int | None = None
    largest_update: float | None = None
    search: dict[str, Any] | None = None
    packing: bool = False
    pet: list[float] | None = None
    held_out_measured: int | None = None

    def asdict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Surroundings:
    """What a training needs besides its inputs; none of it decides the weights.

    Attributes:
        progress: hears where the training stands, at most once a second.
        note: hears of events (kind, plain data) that belong in the journal.
        setting: what to begin with.
        mailbox: where requests arrive between steps.
        checkpoints: the directory for checkpoints, None for none.
        spent: seconds that this process took before, for starting and for its libraries.

    """

    progress: Callable[[TrainingProgress], None]
    note: Note
    setting: TrainingSetting
    mailbox: Mailbox = field(default_factory=Mailbox)
    checkpoints: Path | None = None
    spent: float = 0.0


def ignore(_kind: str, _data: Mapping[str, Any]) -> None:
    """Take no notice of an event."""


def thread_count(settings: Finetune) -> int:
    """Return how many threads the training uses: as set, or the physical cores."""
    return (
        settings.threads or reading(lambda: psutil.cpu_count(logical=False)) or os.cpu_count() or 1
    )
