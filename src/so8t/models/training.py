"""What is behind `so8t.models.finetune`: train, check, merge, write.

Imports torch; import it late.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from so8t.errors import TrainingDiverged
from so8t.models import penalty, training_methods
from so8t.models.training_loop import Loop, RestartNeeded
from so8t.models.training_model import (
    load_weights,
    memory_errors,
    stored_dtype,
    write_merged,
)
from so8t.models.training_records import FinetuneResult, thread_count
from so8t.system.files import file_digest, tree_digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from so8t.config.schema import Finetune
    from so8t.models.training_records import Surroundings

_CURVE_POINTS = 200


def train(base: Path, out: Path, settings: Finetune, around: Surroundings) -> FinetuneResult:
    """Do what `so8t.models.finetune.finetune` promises."""
    started = time.monotonic()
    while True:
        try:
            return _train(base, out, settings, around, started)
        except RestartNeeded as again:
            around = replace(around, setting=again.setting, spent=0.0)


def trial(base: Path, settings: Finetune, around: Surroundings) -> float:
    """Train and return the held-out loss; nothing is written but checkpoints."""
    while True:
        try:
            with _repeatable(settings), _measured(settings, around, base) as (loop, _):
                loop.fit()
                return _held_out(loop)
        except RestartNeeded as again:
            around = replace(around, setting=again.setting, spent=0.0)


def _train(
    base: Path, out: Path, settings: Finetune, around: Surroundings, started: float
) -> FinetuneResult:
    with _repeatable(settings), _measured(settings, around, base) as (loop, base_digest):
        stopped_by = loop.fit()
        course = loop.course
        before = course.held_out_before
        assert before is not None  # noqa: S101 - measured before the first step
        after = _held_out(loop) if course.step else before
        loop.say("merging")
        facts = loop.method.facts()
        changed = [name for name in loop.method.layers if loop.method.changed(name)]
        if settings.method == "qlora":
            _unquantized(loop, base)
        beside = loop.logits()
        method = loop.method
        method.merge(loop.model)
        merged = loop.logits(merged=True)
        loop.say("writing")
        dtype = stored_dtype(base, f"{method.layers[0]}.weight")
        for name in method.layers:
            linear = loop.model.get_submodule(name)
            linear.weight.data = linear.weight.data.to(dtype).to(linear.weight.dtype)
        rounded = loop.logits(merged=True)
        write_merged(base, out, changed, method.merged)
        return FinetuneResult(
            method=settings.method,
            steps_done=course.step,
            stopped_by=stopped_by,
            seconds=time.monotonic() - started,
            training_seconds=course.seconds,
            tokens=course.tokens,
            train_loss_first=course.losses[0] if course.losses else None,
            train_loss_last=course.losses[-1] if course.losses else None,
            loss_curve=_thinned(course.losses),
            held_out_loss_before=before,
            held_out_loss_after=after,
            conversations=len(loop.training),
            held_out_conversations=len(loop.held_out),
            held_out_measured=len(course.held_out_measured or loop.held_out),
            merge_error=(beside - merged).abs().max().item(),
            rounding_error=(merged - rounded).abs().max().item(),
            dtype=str(dtype).removeprefix("torch."),
            setting=loop.setting.asdict(),
            resumed_from=course.resumed_from,
            base_digest=base_digest,
            data_digests={str(path): file_digest(path) for path in settings.data},
            threads=thread_count(settings),
            torch_version=torch.__version__,
            packing=settings.packing,
            pet=penalty.weights(course.step, settings.steps) if settings.pet else None,
            **facts,
        )


@contextmanager
def _measured(settings: Finetune, around: Surroundings, base: Path) -> Iterator[tuple[Loop, str]]:
    """Yield a loop that knows the held-out loss before its first step, and the base's digest."""
    loop: Loop | None = None
    with memory_errors(settings, lambda: loop.setting if loop else around.setting):
        digest = tree_digest(base)
        loop = Loop(base, digest, settings, around)
        if loop.course.held_out_before is None:
            loss = loop.held_out_loss()
            if not math.isfinite(loss):
                raise TrainingDiverged(
                    f"The held-out loss of the base is {loss} before any step; nothing was "
                    "written.",
                    hint="the base's weights are damaged; fetch them again",
                )
            loop.course.held_out_before = loss
        yield loop, digest


def _held_out(loop: Loop) -> float:
    loss = loop.held_out_loss()
    if not math.isfinite(loss):
        raise TrainingDiverged(
            f"The held-out loss is {loss} after training; nothing was written.",
            hint=f"lower `learning_rate` (now {loop.settings.rate:g}) in the config, "
            "then run the same command again",
        )
    return loss


def _unquantized(loop: Loop, base: Path) -> None:
    """Move what was trained from the base in 4 bits to the base as it is, to merge it there."""
    trained = {name: one.detach().clone() for name, one in loop.method.parameters.items()}
    del loop.model
    loop.model = load_weights(base, loop.settings, loop.setting, quantized=False)
    loop.method = training_methods.attach(loop.model, loop.settings, loop.token_ids)
    for name, one in loop.method.parameters.items():
        one.data.copy_(trained[name])


def _thinned(losses: list[float]) -> list[list[float]]:
    """Return at most 200 of the losses with their steps (from 1), the last one among them."""
    stride = max(1, -(-len(losses) // _CURVE_POINTS))
    return [[step, losses[step - 1]] for step in range(len(losses), 0, -stride)][::-1]


@contextmanager
def _repeatable(settings: Finetune) -> Iterator[None]:
    """Fix what decides the order of floating-point sums, and put it back afterwards."""
    before = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(thread_count(settings))
    # On a GPU some kernels have no deterministic form; bit-for-bit is promised for the CPU.
    torch.use_deterministic_algorithms(mode=True, warn_only=torch.cuda.is_available())
    torch.manual_seed(settings.seed)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=deterministic, warn_only=warn_only)
        torch.set_num_threads(before)
