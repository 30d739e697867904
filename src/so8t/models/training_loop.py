"""The steps of a training, between which it can be saved, changed, paused and stopped.

Imports torch; import it late.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import time
from array import array
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch.nn import functional

from so8t.domain.canonical import digest_of
from so8t.domain.events import EventKind
from so8t.errors import TrainingDiverged
from so8t.models import packing, penalty, training_methods
from so8t.models import training_data as data
from so8t.models.checkpoints import CheckpointStore
from so8t.models.token_rows import thinking_ids
from so8t.models.training_model import device_of, load, use_gradient_checkpointing
from so8t.models.training_offload import ActivationOffload
from so8t.models.training_records import Stage, TrainingProgress
from so8t.models.training_setting import KEEPING
from so8t.system.memory import resident_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from so8t.config.schema import Finetune
    from so8t.models.checkpoints import Checkpoint
    from so8t.models.training_records import Surroundings
    from so8t.models.training_setting import TrainingSetting

_REPORT_SECONDS = 1.0
_PAUSE_REPORT_SECONDS = 60.0
_FINAL_RATE = 0.1
_GRADIENT_NORM = 1.0
# How much of `max_seconds` each measurement of the held-out loss may take.
_HELD_OUT_SHARE = 0.15
_COMPARED, _COMPARED_TOKENS = 8, 32
"""Held-out conversations over which logits are compared, and how many tokens of each."""
_OBSERVED_STEPS = 3
# These decide how a training gets to its weights, not to which: a checkpoint holds across them.
_OPERATIONAL = KEEPING | {
    "data",  # the encoded examples count, not where they were read
    "learning_rate",  # `rate` counts, given or by default
    "max_seconds",
    "micro_batch",
    "gradient_checkpointing",
    "activation_offloading",
    "precision",
    "device",
    "threads",
    "n_trials",
    "packing",
    "leaks",  # as for data
    "policy",
    "safety_data",
}


class RestartNeeded(Exception):
    """A setting was asked for that needs the base to be loaded again; a checkpoint is written."""

    def __init__(self, setting: TrainingSetting) -> None:
        super().__init__()
        self.setting = setting


class Stopped(Exception):
    """The training was asked to end; a checkpoint is written."""


@dataclass
class TrainingCourse:
    """What has been counted so far; it is in every checkpoint.

    Attributes:
        step: optimizer steps done, which is also how many batches were drawn.
        tokens: tokens read, padding aside.
        seconds: spent in the steps, pauses aside.
        losses: mean loss of each step's batch, in nats a token of an answer.
        held_out_before: held-out loss before the first step, None until it is measured.
        held_out_measured: which held-out conversations it is measured on: all, unless the time
            allows for fewer.
        elapsed: seconds of earlier processes in all: start, measuring, steps; pauses aside.
        resumed_from: the steps at which a new process went on from a checkpoint.

    """

    step: int
    tokens: int
    seconds: float
    losses: list[float]
    held_out_before: float | None
    resumed_from: list[int]
    held_out_measured: list[int] | None = None
    elapsed: float = 0.0


class Loop:
    """One training: the model, the data, and what has been counted so far."""

    def __init__(
        self, base: Path, base_digest: str, settings: Finetune, around: Surroundings
    ) -> None:
        """Load everything, and go on from the newest checkpoint that verifies."""
        self.started = time.monotonic() - around.spent
        self.settings = settings
        self._paused = 0.0
        self._held_out_seconds = 0.0
        self.setting = around.setting
        self._around = around
        self._reported = -math.inf
        self.course = TrainingCourse(0, 0, 0.0, [], None, [])
        self.say("loading")
        conversations = data.read_conversations(settings.data)
        training, held_out = data.split_held_out(conversations, settings.held_out)
        self.model, tokenizer = load(base, settings, self.setting)
        self._device = device_of(settings)
        self._pad_id = tokenizer.pad_token_id or 0
        self.training = [data.encode(one, tokenizer, settings.max_length) for one in training]
        self.held_out = [data.encode(one, tokenizer, settings.max_length) for one in held_out]
        if settings.packing:
            packing.check_window(self.model.config, settings.max_length)
        self.token_ids = thinking_ids(tokenizer, conversations)
        self.method = training_methods.attach(self.model, settings, self.token_ids)
        self.offload = ActivationOffload([*self.model.parameters(), *self.model.buffers()])
        if (possible := self._possible(self.setting)) != self.setting:
            self._set(possible, "no_card")
        parameters = list(self.method.parameters.values())
        # Weight decay would pull the training back to the base; the data decides that.
        self._optimizer = torch.optim.AdamW(parameters, lr=settings.rate, weight_decay=0.0)
        self._observing: dict[str, Any] | None = None
        self._step_seconds: list[float] = []
        self.saved_step = 0
        self._store: CheckpointStore | None = None
        if around.checkpoints is not None:
            identity = _identity(base_digest, settings, self.training, self.held_out)
            self._store = CheckpointStore(around.checkpoints, identity, settings.checkpoints_kept)
            self._resume(self._store)
        self._loading_seconds = time.monotonic() - self.started - around.spent

    def elapsed(self) -> float:
        """Return the seconds that the whole training has taken so far, pauses aside."""
        return self.course.elapsed + time.monotonic() - self.started - self._paused

    # --- what is told ----------------------------------------------------------------------------

    def say(self, stage: Stage) -> None:
        """Report a stage at once, and steps within one no more than once a second."""
        now = time.monotonic()
        if stage == "training" and now - self._reported < _REPORT_SECONDS:
            return
        self._reported = now
        course = self.course
        self._around.progress(
            TrainingProgress(
                stage,
                course.step,
                self.settings.steps,
                course.losses[-1] if course.losses else None,
                course.tokens,
                self.elapsed(),
                course.resumed_from[-1] if course.resumed_from else 0,
            )
        )

    # --- losses ----------------------------------------------------------------------------------

    def _forward(self, examples: Sequence[data.Example]) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """Return the summed loss over the answers' tokens, the segments, and the model's output."""
        batch: data.Batch | packing.PackedBatch
        if self.settings.packing:
            batch = packing.pack(examples, self.settings.max_length, self._pad_id)
            segments = torch.tensor(batch.segments, device=self._device)
            kept = {
                "attention_mask": packing.attention_mask(segments, self.model.dtype),
                "position_ids": torch.tensor(batch.positions, device=self._device),
            }
        else:
            batch = data.pad(examples, self._pad_id)
            segments = torch.tensor(batch.mask, device=self._device)
            kept = {"attention_mask": segments}
        # What the loss itself saves is wanted back at once, and stays.
        with self.offload if self.setting.activation_offloading else nullcontext():
            output = self.model(
                input_ids=torch.tensor(batch.ids, device=self._device),
                use_cache=False,
                output_hidden_states=self.settings.pet,
                **kept,
            )
        loss = functional.cross_entropy(
            output.logits[:, :-1].flatten(0, 1).float(),
            torch.tensor(batch.labels, device=self._device)[:, 1:].flatten(),
            ignore_index=data.IGNORED,
            reduction="sum",
        )
        return loss, segments, output

    def held_out_loss(self) -> float:
        """Mean loss in nats over the answers' tokens of the held-out conversations.

        Where `max_seconds` leaves no time for all, over as many as fit, the same ones each time.
        """
        self.say("held-out loss")
        began = time.monotonic()
        limit = (self.settings.max_seconds or math.inf) * _HELD_OUT_SHARE
        known = self.course.held_out_measured
        places = list(range(len(self.held_out))) if known is None else known
        lengths = [len(self.held_out[place].ids) for place in places]
        batches = data.batches_in_order(lengths, self.setting.micro_batch)
        # Any part of them shall be like the whole, which is sorted by length.
        random.Random(self.settings.seed).shuffle(batches)
        total, count = 0.0, 0
        measured: list[int] = []
        with torch.no_grad():
            self.method.prepare()
            for indices in batches:
                examples = [self.held_out[places[index]] for index in indices]
                total += self._forward(examples)[0].item()
                count += sum(example.answer_tokens for example in examples)
                measured += [places[index] for index in indices]
                if known is None and time.monotonic() - began > limit:
                    break
        self.course.held_out_measured = measured
        self._held_out_seconds = time.monotonic() - began
        return total / count

    def logits(self, *, merged: bool = False) -> torch.Tensor:
        """Logits at the last tokens of a few held-out conversations, also of a `merged` model."""
        found = []
        with torch.no_grad():
            if not merged:
                self.method.prepare()
            for example in self.held_out[:_COMPARED]:
                ids = torch.tensor([example.ids], device=self._device)
                logits = self.model(input_ids=ids, use_cache=False).logits[0, -_COMPARED_TOKENS:]
                found.append(logits.float().cpu())
        return torch.cat(found)

    # --- steps -----------------------------------------------------------------------------------

    def fit(self) -> Literal["steps", "max_seconds"]:
        """Take the steps that are left; the learning rate warms up, then falls by cosine.

        Raises TrainingDiverged, RestartNeeded, Stopped; a checkpoint is written before each.
        """
        settings, course = self.settings, self.course
        batches = self._batches()
        saved = mark = time.monotonic()
        stopped_by: Literal["steps", "max_seconds"] = "steps"
        self.method.train(mode=True)
        while course.step < settings.steps:
            paused = self._poll()
            self._paused += paused
            mark += paused
            if course.step and self._time_is_up():
                stopped_by = "max_seconds"
                break
            self.step([self.training[index] for index in next(batches)])
            now = time.monotonic()
            course.seconds += now - mark
            self._observe(now - mark)
            if now - saved >= settings.checkpoint_interval:
                self.save()
                saved = now = time.monotonic()
            mark = now
            self.say("training")
        self.method.train(mode=False)
        self.save()
        return stopped_by

    def _time_is_up(self) -> bool:
        """Whether another step would take the whole training beyond `max_seconds`.

        What comes after the steps is reckoned from what was like it before: measuring the held-out
        loss again, comparing logits, and writing, which takes about as long as loading.
        """
        if not self.settings.max_seconds:
            return False
        recent = self._step_seconds
        step = max(recent) if recent else 0.0
        measured = len(self.course.held_out_measured or self.held_out)
        compared = 3 * _COMPARED / max(1, measured)
        closing = self._held_out_seconds * (1 + compared) + self._loading_seconds
        return self.elapsed() + step + closing >= self.settings.max_seconds

    def _batches(self) -> Iterator[list[int]]:
        lengths = [len(example.ids) for example in self.training]
        batches = data.sample_batches(lengths, self.settings.batch_size, self.settings.seed)
        return itertools.islice(batches, self.course.step, None)

    def step(self, examples: Sequence[data.Example]) -> None:
        """Take one step; what a micro-batch adds is weighed by its tokens, so the sum is exact."""
        settings, course = self.settings, self.course
        parameters = list(self.method.parameters.values())
        for group in self._optimizer.param_groups:
            group["lr"] = settings.rate * learning_rate_share(course.step, settings)
        self._optimizer.zero_grad()
        self.offload.begin_step()
        self.method.prepare()
        tokens = sum(example.answer_tokens for example in examples)
        triples = max(1, sum(max(0, len(example.ids) - 2) for example in examples))
        mean = 0.0
        for start in range(0, len(examples), self.setting.micro_batch):
            loss, segments, output = self._forward(
                examples[start : start + self.setting.micro_batch]
            )
            loss = loss / tokens
            mean += loss.item()
            if settings.pet:
                jerk = penalty.second_differences(output.hidden_states[-1], segments) / triples
                loss = loss + penalty.weight_at(course.step, settings.steps) * jerk
            del output
            loss.backward()  # type: ignore[no-untyped-call]
        self.method.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, _GRADIENT_NORM).item()
        if not (math.isfinite(mean) and math.isfinite(norm)):
            raise self._diverged(f"The loss is {mean} and the gradient {norm}")
        self._optimizer.step()
        course.losses.append(mean)
        course.tokens += sum(len(example.ids) for example in examples)
        course.step += 1

    def _diverged(self, what: str) -> TrainingDiverged:
        course, settings = self.course, self.settings
        if self._finite():
            self.save()
        error = TrainingDiverged(
            f"{what} at step {course.step + 1} of {settings.steps}; nothing was written.",
            hint=f"lower `learning_rate` (now {settings.rate:g}) in the config, "
            "then run the same command again",
        )
        if self.saved_step:
            error.saved = f"The checkpoint of step {self.saved_step}, the last good one, is kept."
        return error

    def _finite(self) -> bool:
        return all(bool(torch.isfinite(one).all()) for one in self.method.parameters.values())

    # --- between steps ---------------------------------------------------------------------------

    def _poll(self) -> float:
        """Do what the parent asked for; returns the seconds that it took."""
        began = time.monotonic()
        box = self._around.mailbox
        waiting = True
        while waiting:
            if box.stopping:
                self.save()
                raise Stopped
            request = box.take()
            if request is not None:
                self._change(*request)
            waiting = self.setting.paused
            if waiting:
                box.wait(_PAUSE_REPORT_SECONDS)
                self._reported = -math.inf
                self.say("training")
        return time.monotonic() - began

    def _change(self, wanted: TrainingSetting, reason: str) -> None:
        before, wanted = self.setting, self._possible(wanted)
        if wanted == before:
            return
        if wanted.precision != before.precision or wanted.paused:
            self.save()
        self._set(wanted, reason)
        recent = self._step_seconds
        self._observing = {
            "seconds_before": sum(recent) / len(recent) if recent else None,
            "memory_before": resident_memory(),
        }
        self._step_seconds = []
        if wanted.precision != before.precision:
            raise RestartNeeded(wanted)
        if wanted.gradient_checkpointing != before.gradient_checkpointing:
            use_gradient_checkpointing(self.model, on=wanted.gradient_checkpointing)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _possible(self, wanted: TrainingSetting) -> TrainingSetting:
        """Return what of a setting this device can do: on the CPU there is nothing to offload."""
        if self._device.type == "cpu" and wanted.activation_offloading:
            return replace(wanted, activation_offloading=False)
        return wanted

    def _set(self, setting: TrainingSetting, reason: str) -> None:
        before, self.setting = self.setting, setting
        self._around.note(
            EventKind.TRAINING_SETTING,
            {
                "reason": reason,
                "before": before.asdict(),
                "after": setting.asdict(),
                "step": self.course.step,
            },
        )

    def _observe(self, seconds: float) -> None:
        """Tell what a change of setting did, once a few steps were taken under it."""
        self._step_seconds = [*self._step_seconds, seconds][-_OBSERVED_STEPS:]
        if self._observing is None or len(self._step_seconds) < _OBSERVED_STEPS:
            return
        after = {
            "seconds_after": sum(self._step_seconds) / _OBSERVED_STEPS,
            "memory_after": resident_memory(),
            "offloaded_bytes": self.offload.nbytes,
            "step": self.course.step,
        }
        self._around.note(EventKind.TRAINING_SETTING_OBSERVED, self._observing | after)
        self._observing = None

    # --- checkpoints -----------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint, unless this step has one; never one with a weight that is no number.

        Raises TrainingDiverged, PrerequisiteError (a full disk).
        """
        course = self.course
        if self._store is None or course.step == self.saved_step:
            return
        if not self._finite():
            raise self._diverged("A trained parameter is no number")
        tensors: dict[str, torch.Tensor] = {
            f"trained.{name}": one for name, one in self.method.parameters.items()
        }
        for name, one in self.method.parameters.items():
            for key, value in self._optimizer.state[one].items():
                tensors[f"optimizer.{key}.{name}"] = value
        tensors["random.torch"] = torch.get_rng_state()
        if self._device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self._device)
        numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - libraries draw from it
        numpy_state["state"]["key"] = numpy_state["state"]["key"].tolist()
        state = {
            "step": course.step,
            "tokens": course.tokens,
            "seconds": course.seconds,
            "losses": course.losses,
            "held_out_before": course.held_out_before,
            "held_out_measured": course.held_out_measured,
            "held_out_seconds": self._held_out_seconds,
            "elapsed": self.elapsed(),
            "resumed_from": course.resumed_from,
            "scheduler": {"step": course.step, "rate": self._optimizer.param_groups[0]["lr"]},
            "sampler": {"batches": course.step, "seed": self.settings.seed},
            "random": {"python": random.getstate(), "numpy": numpy_state},
            "setting": self.setting.asdict(),
            "torch": torch.__version__,
        }
        self._store.save(course.step, state, tensors)
        self.saved_step = course.step

    def _resume(self, store: CheckpointStore) -> None:
        def skipped(name: str, reason: str) -> None:
            self._around.note(EventKind.CHECKPOINT_SKIPPED, {"checkpoint": name, "reason": reason})

        found = store.newest(skipped)
        if found is None:
            if store.others():
                skipped("*", "made with another base, other data or another config")
            return
        self._restore(found)
        note = {"step": found.step, "steps": self.settings.steps}
        self._around.note(EventKind.TRAINING_RESUMED, note)

    def _restore(self, found: Checkpoint) -> None:
        state, tensors = found.state, found.tensors
        for name, one in self.method.parameters.items():
            one.data.copy_(tensors[f"trained.{name}"])
            self._optimizer.state[one] = {
                # The step count stays on the CPU, as the optimizer made it.
                key: _own(tensors[f"optimizer.{key}.{name}"], one if key != "step" else None)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        torch.set_rng_state(tensors["random.torch"].clone())
        if "random.cuda" in tensors and self._device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"].clone(), self._device)
        version, numbers, gauss = state["random"]["python"]
        random.setstate((version, tuple(numbers), gauss))
        numpy_state = state["random"]["numpy"]
        numpy_state["state"]["key"] = np.array(numpy_state["state"]["key"], dtype=np.uint32)
        np.random.set_state(numpy_state)  # noqa: NPY002 - as above
        self.course = TrainingCourse(
            step=found.step,
            tokens=state["tokens"],
            seconds=state["seconds"],
            losses=state["losses"],
            held_out_before=state["held_out_before"],
            resumed_from=[*state["resumed_from"], found.step],
            held_out_measured=state.get("held_out_measured"),
            elapsed=state.get("elapsed", state["seconds"]),
        )
        self._held_out_seconds = state.get("held_out_seconds", 0.0)
        self.saved_step = found.step


def learning_rate_share(step: int, settings: Finetune) -> float:
    """Learning rate at `step` (from 0), as a share of the largest."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    fall = 0.5 + 0.5 * math.cos(math.pi * step / settings.steps)
    return warm * (_FINAL_RATE + (1 - _FINAL_RATE) * fall)


def _own(tensor: torch.Tensor, like: torch.Tensor | None) -> torch.Tensor:
    """Copy out of the file's memory, whose alignment could change the last bits of a sum."""
    if like is None:
        return tensor.clone()
    return torch.empty_like(like, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def _identity(
    base_digest: str,
    settings: Finetune,
    training: Sequence[data.Example],
    held_out: Sequence[data.Example],
) -> str:
    """Digest of all that decides the weights."""
    return digest_of(
        {
            "base": base_digest,
            "settings": settings.model_dump(mode="json", exclude=_OPERATIONAL),
            "rate": settings.rate,
            "training": _examples_digest(training),
            "held_out": _examples_digest(held_out),
        }
    )


def _examples_digest(examples: Sequence[data.Example]) -> str:
    hasher = hashlib.sha256()
    for example in examples:
        for numbers in (example.ids, example.labels):
            hasher.update(array("q", [len(numbers), *numbers]).tobytes())
    return hasher.hexdigest()
