"""The training loop behind `so8t.models.finetune`: load, train, check, merge, write.

Imports torch; import it late.
"""

from __future__ import annotations

import math
import re
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn import functional

from so8t.errors import ModelError, TrainingError
from so8t.models import so8
from so8t.models import training_data as data
from so8t.models.finetune import FinetuneResult, Progress, thread_count
from so8t.system.files import atomic_directory, file_digest, tree_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from so8t.config.schema import Finetune

    Report = Callable[[Progress], None]

_COPIED = (".json", ".txt", ".model", ".jinja")
_REPORT_SECONDS = 1.0
_FINAL_RATE = 0.1
_GRADIENT_NORM = 1.0
_OUT_OF_MEMORY = re.compile(r"allocate memory|out of memory")
_COMPARED = 8
"""Held-out conversations over which logits are compared before and after the merge."""


class _Run:
    """One training: the model, the data, and what has been counted so far."""

    def __init__(self, base: Path, settings: Finetune, progress: Report) -> None:
        self.started = time.monotonic()
        self.settings = settings
        self._progress = progress
        self._reported = -math.inf
        self.steps_done = 0
        self.tokens = 0
        self.first_loss: float | None = None
        self.loss: float | None = None
        self.say("loading")
        conversations = data.read_conversations(settings.data)
        training, held_out = data.split_held_out(conversations, settings.held_out)
        self.model, tokenizer = _load(base)
        self.pad_id = tokenizer.pad_token_id or 0
        self.training = [data.encode(one, tokenizer, settings.max_length) for one in training]
        self.held_out = [data.encode(one, tokenizer, settings.max_length) for one in held_out]
        self.rotated = so8.attach(self.model, settings.targets)

    def say(
        self, stage: Literal["loading", "held-out loss", "training", "merging", "writing"]
    ) -> None:
        """Report a stage at once, and steps within one no more than once a second."""
        now = time.monotonic()
        if stage == "training" and now - self._reported < _REPORT_SECONDS:
            return
        self._reported = now
        self._progress(
            Progress(
                stage,
                self.steps_done,
                self.settings.steps,
                self.loss,
                self.tokens,
                now - self.started,
            )
        )

    def batch_loss(self, examples: Sequence[data.Example]) -> torch.Tensor:
        """Mean loss in nats over the answers' tokens of one batch."""
        batch = data.pad(examples, self.pad_id)
        logits = self.model(
            input_ids=torch.tensor(batch.ids), attention_mask=torch.tensor(batch.mask)
        ).logits
        labels = torch.tensor(batch.labels)[:, 1:]
        return functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), labels.flatten(), ignore_index=data.IGNORED
        )

    def held_out_loss(self) -> float:
        """Mean loss in nats over the answers' tokens of the held-out conversations."""
        self.say("held-out loss")
        total, count = 0.0, 0
        lengths = [len(example.ids) for example in self.held_out]
        with torch.no_grad():
            for indices in data.batches_in_order(lengths, self.settings.batch_size):
                examples = [self.held_out[index] for index in indices]
                tokens = sum(example.answer_tokens for example in examples)
                total += self.batch_loss(examples).item() * tokens
                count += tokens
        return total / count

    def train(self) -> Literal["steps", "max_seconds"]:
        """Take the optimizer steps; the learning rate warms up, then falls to a tenth by cosine."""
        settings = self.settings
        parameters = [layer.skew for layer in self.rotated.values()]
        # Weight decay would pull the rotations back to the identity; the data decides that.
        optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)
        lengths = [len(example.ids) for example in self.training]
        batches = data.sample_batches(lengths, settings.batch_size, settings.seed)
        started = time.monotonic()
        while self.steps_done < settings.steps:
            if settings.max_seconds and time.monotonic() - started >= settings.max_seconds:
                return "max_seconds"
            examples = [self.training[index] for index in next(batches)]
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * _rate(self.steps_done, settings)
            optimizer.zero_grad()
            loss = self.batch_loss(examples)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(parameters, _GRADIENT_NORM)
            self.loss = loss.item()
            if not (math.isfinite(self.loss) and math.isfinite(norm.item())):
                raise TrainingError(
                    f"The loss is {self.loss} and the gradient {norm.item()} at step "
                    f"{self.steps_done + 1} of {settings.steps}; nothing was written.",
                    hint=f"lower `learning_rate` (now {settings.learning_rate:g})",
                )
            optimizer.step()
            self.first_loss = self.loss if self.first_loss is None else self.first_loss
            self.tokens += sum(len(example.ids) for example in examples)
            self.steps_done += 1
            self.say("training")
        return "steps"

    def logits(self) -> torch.Tensor:
        """Logits of a few held-out conversations, where they are not padding."""
        batch = data.pad(self.held_out[:_COMPARED], self.pad_id)
        mask = torch.tensor(batch.mask)
        with torch.no_grad():
            logits = self.model(input_ids=torch.tensor(batch.ids), attention_mask=mask).logits
        return logits[mask.bool()]  # type: ignore[no-any-return]


def train(base: Path, out: Path, settings: Finetune, *, progress: Report) -> FinetuneResult:
    """Do what `so8t.models.finetune.finetune` promises."""
    threads = thread_count(settings)
    started = time.monotonic()
    with _repeatable(threads, settings.seed), _memory_errors(settings):
        run = _Run(base, settings, progress)
        before = run.held_out_loss()
        training_started = time.monotonic()
        stopped_by = run.train()
        training_seconds = time.monotonic() - training_started
        after = run.held_out_loss() if run.steps_done else before
        if not math.isfinite(after):
            raise TrainingError(
                f"The held-out loss is {after} after training; nothing was written.",
                hint=f"lower `learning_rate` (now {settings.learning_rate:g})",
            )
        run.say("merging")
        checked = so8.check(run.rotated.values())
        beside = run.logits()
        weights = {
            f"{name}.weight": layer.merged_weight()
            for name, layer in run.rotated.items()
            if torch.any(layer.skew)
        }
        so8.merge(run.model, run.rotated)
        merged = run.logits()
        run.say("writing")
        dtype = _dtype(base, f"{next(iter(run.rotated))}.weight")
        for name in run.rotated:
            linear = run.model.get_submodule(name)
            linear.weight.data = linear.weight.data.to(dtype).float()
        rounded = run.logits()
        base_digest = tree_digest(base)
        _write(base, out, weights)
    return FinetuneResult(
        steps_done=run.steps_done,
        stopped_by=stopped_by,
        seconds=time.monotonic() - started,
        training_seconds=training_seconds,
        tokens=run.tokens,
        train_loss_first=run.first_loss,
        train_loss_last=run.loss,
        held_out_loss_before=before,
        held_out_loss_after=after,
        conversations=len(run.training),
        held_out_conversations=len(run.held_out),
        trainable_parameters=checked.parameters,
        blocks=checked.blocks,
        orthogonality_error=checked.orthogonality_error,
        determinant_min=checked.determinant_min,
        determinant_max=checked.determinant_max,
        largest_angle_degrees=checked.largest_angle_degrees,
        merge_error=(beside - merged).abs().max().item(),
        rounding_error=(merged - rounded).abs().max().item(),
        dtype=str(dtype).removeprefix("torch."),
        base_digest=base_digest,
        data_digests={str(path): file_digest(path) for path in settings.data},
        threads=threads,
        torch_version=torch.__version__,
    )


def _rate(step: int, settings: Finetune) -> float:
    """Learning rate at `step` (from 0), as a share of the largest."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    fall = 0.5 + 0.5 * math.cos(math.pi * step / settings.steps)
    return warm * (_FINAL_RATE + (1 - _FINAL_RATE) * fall)


def _load(base: Path) -> tuple[Any, Any]:
    """Load the model in float32 and its tokenizer, from the disk alone."""
    hint = "a Hugging Face directory has config.json, *.safetensors and the tokenizer's files"
    if not (base / "config.json").is_file():
        raise ModelError(f"{base} is no model directory: config.json is missing.", hint=hint)
    if not any(base.glob("*.safetensors")):
        raise ModelError(f"{base} has no *.safetensors file.", hint=hint)
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - after the cheap checks
    from transformers.utils import logging  # noqa: PLC0415 - as above

    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            base, local_files_only=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        # transformers has no error class of its own for a directory that it cannot load.
        raise ModelError(f"{base} cannot be loaded: {error}", hint=hint) from error
    if not tokenizer.chat_template:
        raise ModelError(
            f"The tokenizer of {base} has no chat template.",
            hint="start from an instruction-tuned model, or add `chat_template` to "
            "tokenizer_config.json",
        )
    return model.eval(), tokenizer  # eval: dropout would make the merge check meaningless


def _dtype(base: Path, tensor: str) -> torch.dtype:
    for shard in sorted(base.glob("*.safetensors")):
        with safe_open(shard, framework="pt") as tensors:
            if tensor in tensors.keys():  # noqa: SIM118 - safe_open has no __contains__
                dtype: torch.dtype = tensors.get_tensor(tensor).dtype
                return dtype
    raise ModelError(
        f"{base} has no tensor {tensor}, although the model has the layer.",
        hint="save the model again with a current transformers",
    )


def _write(base: Path, out: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write B: the base's files, with `weights` in the place and dtype of the base's tensors.

    Every other tensor is copied as it is, so that nothing but the rotated layers can differ.
    """
    missing = set(weights)
    with atomic_directory(out) as folder:
        for file in sorted(base.iterdir()):
            if file.suffix in _COPIED and file.is_file():
                shutil.copyfile(file, folder / file.name)
        for shard in sorted(base.glob("*.safetensors")):
            with safe_open(shard, framework="pt") as source:
                tensors = {name: source.get_tensor(name) for name in source.keys()}  # noqa: SIM118 - not a dict
                metadata = source.metadata()
            for name in weights.keys() & tensors.keys():
                tensors[name] = weights[name].to(tensors[name].dtype).contiguous()
                missing.discard(name)
            save_file(tensors, folder / shard.name, metadata=metadata)
        if missing:
            raise ModelError(
                f"{base} has no tensor {min(missing)}, although the model has the layer.",
                hint="save the model again with a current transformers",
            )


@contextmanager
def _repeatable(threads: int, seed: int) -> Iterator[None]:
    """Fix what decides the order of floating-point sums, and put it back afterwards."""
    before = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=deterministic)
        torch.set_num_threads(before)


@contextmanager
def _memory_errors(settings: Finetune) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch's allocator raises a plain RuntimeError on the CPU, a subclass of it on a GPU.
        if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
            raise TrainingError(
                f"Not enough memory at batch_size {settings.batch_size} and max_length "
                f"{settings.max_length}; nothing was written.",
                hint="lower `batch_size` or `max_length`",
            ) from error
        raise
