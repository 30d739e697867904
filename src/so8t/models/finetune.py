"""Phase 2: B is A with trained SO(8) rotations in its weights.

`finetune` runs in this process, `finetune_in_child` in one of its own, so that the out-of-memory
killer or a crash of native code ends one attempt and not the run. This module stays light: torch
is imported when training starts.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import psutil

from so8t import errors
from so8t.system.child import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from so8t.config.schema import Finetune

WORKER = "so8t.models.finetune_worker"
# Longer than any step or load that is worth waiting for; a worker says something each second.
_SILENCE_SECONDS = 3600.0


@dataclass(frozen=True)
class Progress:
    """Where the training stands.

    Attributes:
        stage: what happens now; steps are counted in "training" only.
        step, steps: optimizer steps done and asked for.
        loss: mean loss of the last batch in nats a token, None before the first.
        tokens: tokens read in training so far, padding aside.
        seconds: since the start.

    """

    stage: Literal["loading", "held-out loss", "training", "merging", "writing"]
    step: int
    steps: int
    loss: float | None
    tokens: int
    seconds: float


@dataclass(frozen=True)
class FinetuneResult:
    """What the training did, as plain data for the journal.

    Attributes:
        steps_done: optimizer steps; fewer than asked for when stopped_by is "max_seconds".
        stopped_by: what ended the training.
        seconds: wall time in all; training_seconds: of the steps alone.
        tokens: tokens read in training, padding aside; a second reading counts again.
        train_loss_first, train_loss_last: mean loss of the first and of the last batch, in nats
            a token of an answer; None without steps.
        held_out_loss_before, held_out_loss_after: the same over the held-out conversations.
        conversations, held_out_conversations: the sizes of the two sides of the split.
        trainable_parameters, blocks: 28 parameters for each 8 x 8 block.
        orthogonality_error: largest entry of |R R^T - I|, for R as trained in float32.
        determinant_min, determinant_max: over all blocks.
        largest_angle_degrees: the largest angle by which any block turns any plane.
        merge_error: largest difference of a logit between rotations beside the weights and
            rotations in the weights, both float32, over held-out conversations.
        rounding_error: the same between the merged weights in float32 and in the dtype of the
            base, which is what is written.
        dtype: the dtype of the rotated weights in the base and in B.
        base_digest: digest of the base's directory.
        data_digests: digest of each training file.
        threads, torch_version: equal results are only promised for equal values of these.

    """

    steps_done: int
    stopped_by: Literal["steps", "max_seconds"]
    seconds: float
    training_seconds: float
    tokens: int
    train_loss_first: float | None
    train_loss_last: float | None
    held_out_loss_before: float
    held_out_loss_after: float
    conversations: int
    held_out_conversations: int
    trainable_parameters: int
    blocks: int
    orthogonality_error: float
    determinant_min: float
    determinant_max: float
    largest_angle_degrees: float
    merge_error: float
    rounding_error: float
    dtype: str
    base_digest: str
    data_digests: dict[str, str]
    threads: int
    torch_version: str

    def asdict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def finetune(
    base: Path, out: Path, settings: Finetune, *, progress: Callable[[Progress], None]
) -> FinetuneResult:
    """Fine-tune the Hugging Face directory `base` and write B to the directory `out`.

    `out` appears whole or not at all. The same inputs, thread count and torch give the same
    weights bit for bit on the CPU; with `settings.steps == 0` they are those of the base. Raises
    DataError, ModelError or TrainingError.
    """
    from so8t.models.training import train  # noqa: PLC0415 - torch takes seconds to import

    return train(base, out, settings, progress=progress)


def finetune_in_child(
    base: Path, out: Path, settings: Finetune, *, progress: Callable[[Progress], None]
) -> FinetuneResult:
    """Do what `finetune` does in a child process of lower priority, with the same errors.

    A child that dies raises TrainingError, which says that a retry can help.
    """
    threads = thread_count(settings)
    environment = {
        "OMP_NUM_THREADS": str(threads),
        # Threads that spin while they wait made a step on a busy machine 30 times slower.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "HF_HUB_OFFLINE": "1",
    }
    request = {
        "op": "finetune",
        "base": str(base),
        "out": str(out),
        "settings": settings.model_dump(mode="json"),
    }
    with Child(WORKER, environment=environment, below_normal=True) as child:
        try:
            child.send(request)
            while (message := child.receive(timeout=_SILENCE_SECONDS))["event"] == "progress":
                progress(Progress(**message["progress"]))
        except errors.EngineCrashed as error:
            raise errors.TrainingError(
                f"The training process did not finish: {error.message}",
                hint="run the same command again; if it ran out of memory, lower `batch_size`",
                retryable=True,
            ) from error
    if message["event"] == "error":
        raise _rebuilt(message)
    return FinetuneResult(**message["result"])


def thread_count(settings: Finetune) -> int:
    """Return how many threads the training uses: as set, or the physical cores."""
    return settings.threads or psutil.cpu_count(logical=False) or os.cpu_count() or 1


def _rebuilt(message: Mapping[str, Any]) -> errors.SO8TError:
    """Make the worker's error again, of its own class where that is one of ours."""
    kind = getattr(errors, message["kind"], errors.TrainingError)
    error: errors.SO8TError = kind(message["message"], hint=message["hint"])
    error.retryable = bool(message["retryable"])
    return error
