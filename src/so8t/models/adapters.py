"""PEFT adapters as part of a source: checked before anything is loaded, merged once, reused.

An adapter (LoRA or OFT) is a few small matrices beside a base that other tools trained. No engine
here loads one, so it is merged into the base's weights by peft itself, in a child process whose
memory is free again afterwards. Format: peft's `adapter_config.json` and
`adapter_model.safetensors`.
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from so8t.domain.canonical import digest_of
from so8t.errors import ModelError, PrerequisiteError
from so8t.models.checkpoint_files import read_index
from so8t.models.child_work import run_in_child
from so8t.models.safetensors_files import StoredTensor, read_file
from so8t.system.files import file_digest, remove_file, remove_tree, tree_digest, write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS: Final = ("LORA", "OFT")
WORKER: Final = "so8t.models.adapter_worker"
#: Files of a tokenizer; an adapter whose training changed it brings its own.
TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
)

_SETTINGS: Final = "adapter_config.json"
_WEIGHTS: Final = "adapter_model.safetensors"
# base_model.model.<layer>.lora_A.weight; with the adapter's name before .weight in old files.
_KEY: Final = re.compile(
    r"base_model\.model\.(?P<layer>.+)\.(?P<part>lora_A|lora_B|oft_R)(?:\.\w+)?(?:\.weight)?"
)


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter that is here and can be merged.

    Attributes:
        location: its directory.
        kind: "LORA" or "OFT".
        digest: `sha256:<hex>` of the names and contents of the files that count.
        trained_on: the base as the adapter names it, None where it does not.

    """

    location: Path
    kind: str
    digest: str
    trained_on: str | None


def read_adapter(directory: Path, base: Path) -> Adapter:
    """Check an adapter against the base that it is to change, and digest it.

    Reads headers and settings only, but for the digest. Raises ModelError for a directory that is
    no adapter, for a kind that is not merged here, and for one that was made for another base;
    PrerequisiteError when peft is not installed.
    """
    settings = _settings(directory)
    kind = str(settings.get("peft_type"))
    if kind not in KINDS:
        raise ModelError(
            f"{directory}: an adapter of type {kind} is not merged here; {', '.join(KINDS)} are.",
            hint="merge it with the tool that made it, and name the merged directory as `hf:`",
        )
    weights = directory / _WEIGHTS
    if not weights.is_file():
        old = (directory / "adapter_model.bin").is_file()
        raise ModelError(
            f"{directory}: holds no {_WEIGHTS}.",
            hint="adapter_model.bin is in the old pickle format, which can run code; save the "
            "adapter again with a current peft"
            if old
            else "name the directory that peft's save_pretrained wrote",
        )
    _check_fit(weights, list(read_file(weights)), read_index(base))
    if importlib.util.find_spec("peft") is None:
        raise PrerequisiteError(
            f"{directory}: merging an adapter needs the peft package.",
            hint="pip install so8t[train]",
        )
    files = [weights, directory / _SETTINGS]
    files += [directory / name for name in TOKENIZER_FILES if (directory / name).is_file()]
    trained_on = settings.get("base_model_name_or_path")
    return Adapter(
        location=directory,
        kind=kind,
        digest=digest_of({file.name: file_digest(file) for file in files}),
        trained_on=trained_on if isinstance(trained_on, str) and trained_on else None,
    )


def discard_merge(out: Path) -> None:
    """Remove what `merge_in_child` wrote to `out`; where it is wanted again, it is made again.

    The record goes first: what a kill in between leaves is not taken for a whole one.
    """
    remove_file(_record_of(out))
    remove_tree(out)


def merge_in_child(base: Path, adapter: Path, out: Path, inputs: str) -> dict[str, Any]:
    """Write the base with the adapter in its weights to the directory `out`; return the facts.

    `inputs` is the digest of base and adapter: an `out` that was made from the same, and is still
    whole, is used again. The facts are `tensors` (how many changed) and `merge_error` (largest
    difference of a logit between the adapter beside the weights and in them). Raises ModelError
    for an adapter that does not fit, TrainingError when the child does not survive.
    """
    record = _record_of(out)
    facts = _made_before(record, out, inputs)
    if facts is not None:
        return facts
    remove_file(record)
    request = {"base": str(base), "adapter": str(adapter), "out": str(out)}
    facts = run_in_child(WORKER, request, what="merging the adapter")
    made = {"inputs": inputs, "digest": tree_digest(out), "facts": facts}
    write_atomic(record, json.dumps(made, indent=2) + "\n")
    return facts


def _record_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.json")


def _made_before(record: Path, out: Path, inputs: str) -> dict[str, Any] | None:
    try:
        made = json.loads(record.read_text("utf-8"))
    except (OSError, ValueError):
        return None  # no record, or none that counts: then the merge is done again
    if made.get("inputs") != inputs or not out.is_dir() or tree_digest(out) != made.get("digest"):
        return None
    facts: dict[str, Any] = made["facts"]
    return facts


def _settings(directory: Path) -> dict[str, Any]:
    path = directory / _SETTINGS
    if not path.is_file():
        raise ModelError(
            f"{directory}: "
            + (
                "holds no adapter_config.json."
                if directory.is_dir()
                else "there is no such adapter directory."
            ),
            hint="name the directory that peft's save_pretrained wrote; relative paths count from "
            "the config file's directory",
        )
    try:
        settings = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: is no JSON ({error}).", hint="save the adapter again") from error
    if not isinstance(settings, dict):
        raise ModelError(f"{path}: holds no JSON object.", hint="save the adapter again")
    return settings


def _check_fit(path: Path, parts: list[StoredTensor], base: Mapping[str, StoredTensor]) -> None:
    """Raise ModelError unless every part belongs to a layer of the base with its shape."""
    if not parts:
        raise ModelError(f"{path}: holds no tensors.", hint="save the adapter again")
    for part in parts:
        found = _KEY.fullmatch(part.name)
        if found is None:
            continue  # whole layers, biases, magnitudes: peft checks these when it loads them
        layer = base.get(f"{found['layer']}.weight")
        if layer is None:
            raise _other_base(path, f"it changes {found['layer']!r}, which the base does not have")
        outputs, inputs = layer.shape[0], layer.shape[-1]
        wanted = {"lora_A": inputs, "lora_B": outputs, "oft_R": inputs}[found["part"]]
        has = {"lora_A": part.shape[-1], "lora_B": part.shape[0], "oft_R": _turned(part.shape)}
        if has[found["part"]] != wanted:
            raise _other_base(
                path,
                f"its {found['part']} for {found['layer']!r} is made for {has[found['part']]} "
                f"numbers, where the base has {wanted}",
            )


def _turned(shape: tuple[int, ...]) -> int:
    """How many numbers OFT's blocks turn: (blocks, b (b - 1) / 2) parameters turn blocks * b."""
    block = (1 + math.isqrt(1 + 8 * shape[-1])) // 2
    return shape[0] * block


def _other_base(path: Path, why: str) -> ModelError:
    return ModelError(
        f"{path}: the adapter was made for another base: {why}.",
        hint="name the base that it was trained on as `hf:` (adapter_config.json says which)",
    )
