"""The model that is trained: loaded from a Hugging Face directory, written back merged.

Imports torch; import it late.
"""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from so8t.errors import CardMemoryError, ModelError, TrainingMemoryError
from so8t.models.checkpoint_files import beside_weights, check_agreement, weight_files
from so8t.models.tokenizer_files import load_tokenizer, read_here
from so8t.system.files import atomic_directory
from so8t.system.memory import resident_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from so8t.config.schema import Finetune
    from so8t.models.training_setting import TrainingSetting

    Merged = Callable[[str, torch.Tensor], torch.Tensor]

_HINT = "a Hugging Face directory has config.json, *.safetensors and the tokenizer's files"
# torch has an error class for GPUs only; on the CPU it is a RuntimeError with one of these words.
OUT_OF_MEMORY = re.compile(
    r"allocate memory|out of memory|bad_alloc|Cannot allocate", re.IGNORECASE
)


def device_of(settings: Finetune) -> torch.device:
    """Return where the training computes."""
    if settings.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(settings.device)


def load(base: Path, settings: Finetune, setting: TrainingSetting) -> tuple[Any, Any]:
    """Load the model in the setting's precision and its tokenizer, from the disk alone.

    With the method qlora the linear layers are loaded in 4 bits. Raises ModelError.
    """
    if not (base / "config.json").is_file():
        raise ModelError(f"{base} is no model directory: config.json is missing.", hint=_HINT)
    check_agreement(base)
    from transformers.utils import logging  # noqa: PLC0415 - after the cheap checks

    logging.disable_progress_bar()
    with _load_errors(base):
        read_here(base)  # what conversion would refuse, training refuses too
        tokenizer = load_tokenizer(base)
    if not tokenizer.chat_template:
        raise ModelError(
            f"The tokenizer of {base} has no chat template.",
            hint="start from an instruction-tuned model, or add `chat_template` to "
            "tokenizer_config.json",
        )
    model = load_weights(base, settings, setting, quantized=settings.method == "qlora")
    if setting.gradient_checkpointing:
        use_gradient_checkpointing(model, on=True)
    return model, tokenizer


def load_weights(
    base: Path, settings: Finetune, setting: TrainingSetting, *, quantized: bool
) -> Any:
    """Load the model alone; `quantized` in 4 bits (nf4, scales quantized too)."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig  # noqa: PLC0415 - slow

    device = device_of(settings)
    options: dict[str, Any] = {"dtype": getattr(torch, setting.precision)}
    if quantized:
        options["device_map"] = {"": device}
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    with _load_errors(base):
        model, found = AutoModelForCausalLM.from_pretrained(
            base, local_files_only=True, output_loading_info=True, **options
        )
    check_loaded(base, found)
    if not quantized:
        model.to(device)
    return model.eval()  # eval: dropout would make the merge check meaningless


def use_gradient_checkpointing(model: Any, *, on: bool) -> None:
    """Compute each layer's activations again for the backward pass, or keep them.

    transformers does so in training mode only, which would also switch the base's dropout on; so
    the layers alone are put into that mode, and what is inside them stays in evaluation mode.
    """
    # transformers renamed these within version 5.
    new = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    if on:
        getattr(model, f"{new}_checkpointing_enable")({"use_reentrant": False})
    elif any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        getattr(model, f"{new}_checkpointing_disable")()
    for module in model.modules():
        if hasattr(module, "gradient_checkpointing"):
            module.training = on


def stored_dtype(base: Path, tensor: str) -> torch.dtype:
    """Return the type that a tensor has on the disk. Raises ModelError when it is not there."""
    for shard in weight_files(base):
        with safe_open(shard, framework="pt") as tensors:
            if tensor in tensors.keys():  # noqa: SIM118 - safe_open has no __contains__
                dtype: torch.dtype = tensors.get_tensor(tensor).dtype
                return dtype
    raise _no_tensor(base, tensor)


def write_merged(base: Path, out: Path, layers: Collection[str], merged: Merged) -> None:
    """Write B: the base's files, with `merged(layer, weight)` in the place of the layers' weights.

    Every other tensor is copied as it is, so that nothing but what was trained can differ, and
    every tensor keeps its type. `out` appears whole or not at all.
    """
    missing = {f"{layer}.weight": layer for layer in layers}
    with atomic_directory(out) as folder:
        for file in beside_weights(base):
            shutil.copyfile(file, folder / file.name)
        for shard in weight_files(base):
            with safe_open(shard, framework="pt") as source:
                tensors = {name: source.get_tensor(name) for name in source.keys()}  # noqa: SIM118 - not a dict
                metadata = source.metadata()
            for name in missing.keys() & tensors.keys():
                weight = tensors[name]
                tensors[name] = merged(missing.pop(name), weight).to(weight.dtype).contiguous()
            save_file(tensors, folder / shard.name, metadata=metadata)
        if missing:
            raise _no_tensor(base, min(missing))


@contextmanager
def memory_errors(settings: Finetune, current: Callable[[], TrainingSetting]) -> Iterator[None]:
    """Turn every way of running out of memory into TrainingMemoryError, with the numbers.

    Where it was a card's, into CardMemoryError.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        said = str(error).strip().splitlines()
        taken = resident_memory()
        # The driver's own refusals come as AcceleratorError; the CPU has no class for its own.
        on_card = isinstance(error, (torch.OutOfMemoryError, torch.AcceleratorError))
        raise (CardMemoryError if on_card else TrainingMemoryError)(
            f"Not enough memory at micro_batch {current().micro_batch} of batch_size "
            f"{settings.batch_size} and max_length {settings.max_length}"
            + ("" if taken is None else f"; the process had taken {taken / 1e9:.2f} GB")
            + (f" ({said[0][:200]})." if said else "."),
            hint="lower `max_length` or `batch_size`, or take a smaller model",
        ) from error


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    return isinstance(error, MemoryError) or bool(OUT_OF_MEMORY.search(str(error)))


def check_loaded(base: Path, found: Mapping[str, Any]) -> None:
    """Raise ModelError for what transformers only warns of: weights that it made up itself.

    `found` is the loading info of `from_pretrained`.
    """
    for key, words in (("missing_keys", "has no tensor for"), ("mismatched_keys", "does not fit")):
        if names := sorted(map(str, found.get(key) or ())):
            raise ModelError(
                f"{base}: the checkpoint {words} {names[0]!r}"
                + (f" and {len(names) - 1} more" if len(names) > 1 else "")
                + "; transformers would go on with random numbers there.",
                hint="config.json and weights belong to different models, or a file is missing",
            )


@contextmanager
def _load_errors(base: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if out_of_memory(error):
            raise
        # transformers has no error class of its own for a directory that it cannot load.
        raise ModelError(f"{base} cannot be loaded: {error}", hint=_HINT) from error


def _no_tensor(base: Path, tensor: str) -> ModelError:
    return ModelError(
        f"{base} has no tensor {tensor}, although the model has the layer.",
        hint="save the model again with a current transformers",
    )
