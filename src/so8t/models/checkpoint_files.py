"""Which files are the checkpoint in a Hugging Face directory, and whether they agree.

The rules are transformers' own (`_get_resolved_checkpoint_files`, `tie_weights`): a file that
config.json names as `transformers_weights`, else `model.safetensors`, else the index and its
shards. Training, merging and conversion all ask here. Where two tools would read two different
models from one directory, it is refused, and what contradicts what is named.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from so8t.errors import ModelError
from so8t.models.safetensors_files import StoredTensor, read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EMBEDDING: Final = "model.embed_tokens.weight"
HEAD: Final = "lm_head.weight"
_SINGLE: Final = "model.safetensors"
_INDEX: Final = "model.safetensors.index.json"
_INDEX_SUFFIX: Final = ".index.json"
_NAMED: Final = "transformers_weights"
_ADAPTER: Final = "adapter_config.json"
_SETTINGS: Final = (".json", ".jinja", ".model", ".txt")
_NOTES: Final = (".md",)
_ROWS: Final = 4096
# Model types whose config class ties the output layer to the embedding unless told otherwise; a
# config.json may leave the key out then. A test holds this list to the classes of transformers.
TIED_BY_DEFAULT: Final = frozenset({"gemma", "gemma2", "gemma3", "gemma3_text", "lfm2", "smollm3"})


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, {} where there is no file. Raises ModelError for anything else."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(
            f"{path}: is no JSON ({error}).", hint="download or write the model again"
        ) from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: holds no JSON object.", hint="download the model again")
    return value


def weight_files(directory: Path) -> list[Path]:
    """Name the .safetensors files that together hold the model's weights, sorted.

    Raises ModelError when there are none, when one that is named is missing, when two sets of
    weights lie side by side, and when an adapter lies beside a whole model.
    """
    entry = _entry(directory)
    if not entry.name.endswith(_INDEX_SUFFIX):
        return [entry]
    files = _shards(entry)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelError(
            f"{directory}: {', '.join(missing)} of the {len(files)} weight files named in "
            f"{entry.name} is missing.",
            hint="the download was not finished; download the model again",
        )
    return files


def _entry(directory: Path) -> Path:
    """Return the file of weights, or the index, that transformers begins with."""
    named = read_json(directory / "config.json").get(_NAMED)
    if named is not None:
        entry = directory / str(named)
        if not isinstance(named, str) or entry.parent != directory or not entry.is_file():
            raise ModelError(
                f"{directory / 'config.json'}: {_NAMED} names {named!r}, and there is no such file "
                "in the directory.",
                hint=f"correct {_NAMED}, or remove it where the weights are in {_SINGLE}",
            )
        return entry
    single, index = directory / _SINGLE, directory / _INDEX
    if single.is_file():
        others = [file for file in _shards(index) if file != single] if index.is_file() else []
        if present := [file.name for file in others if file.is_file()]:
            raise ModelError(
                f"{directory}: holds two sets of weights: {_SINGLE}, and {_INDEX} with "
                f"{', '.join(present[:3])}{' ...' if len(present) > 3 else ''}. "  # noqa: PLR2004 - a few are enough
                f"transformers reads {_SINGLE}, other tools read the shards.",
                hint=f"keep one: remove {_SINGLE}, or remove {_INDEX} and its shards",
            )
        # An index whose shards are all gone was left behind; it takes part in nothing.
        return single
    if index.is_file():
        return index
    raise ModelError(
        f"{directory}: holds no weights (model.safetensors, or an index with its parts).",
        hint=_pickle_hint(directory),
    )


def _shards(index: Path) -> list[Path]:
    try:
        names = json.loads(index.read_text("utf-8"))["weight_map"].values()
        return [index.parent / name for name in sorted(set(names))]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(
            f"{index}: is no index of weights ({error!r}).", hint="download the model again"
        ) from error


def _pickle_hint(directory: Path) -> str:
    if any(directory.glob("pytorch_model*.bin")):
        return (
            "these weights are in the old pickle format, which can run code; save them again "
            "with transformers: AutoModelForCausalLM.from_pretrained(d).save_pretrained(d)"
        )
    return "name a directory that holds config.json, *.safetensors and tokenizer.json"


def beside_weights(directory: Path, *, notes: bool = False) -> list[Path]:
    """List what belongs to the model beside its weights: settings, tokenizer, templates, index.

    An index that the checkpoint does not use is not among them. `notes`: the card and the licence
    too. Sorted; raises ModelError as `weight_files` does.
    """
    entry = _entry(directory)
    wanted = _SETTINGS + (_NOTES if notes else ())

    def belongs(file: Path) -> bool:
        if not file.is_file() or file.name.startswith("."):
            return False
        if file.name.endswith(_INDEX_SUFFIX):
            return file == entry
        return file.suffix in wanted or (notes and file.name.startswith("LICENSE"))

    return sorted(file for file in directory.iterdir() if belongs(file))


def read_index(directory: Path) -> dict[str, StoredTensor]:
    """List a checkpoint's tensors by name, without reading any.

    Raises ModelError for files that are missing, damaged, truncated or contradict their index.
    """
    tensors: dict[str, StoredTensor] = {}
    for file in weight_files(directory):
        for tensor in read_file(file):
            if tensor.name in tensors:
                raise ModelError(
                    f"{file}: {tensor.name!r} is also in {tensors[tensor.name].file.name}.",
                    hint="remove the files that do not belong to this model",
                )
            tensors[tensor.name] = tensor
    entry = _entry(directory)
    if entry.name.endswith(_INDEX_SUFFIX):
        _check_index(entry, tensors)
    return tensors


def _check_index(index: Path, tensors: Mapping[str, StoredTensor]) -> None:
    for name, file in read_json(index)["weight_map"].items():
        found = tensors.get(name)
        if found is None or found.file.name != file:
            place = "no file" if found is None else found.file.name
            raise ModelError(
                f"{index}: says that {name!r} is in {file}; {place} has it.",
                hint="the index is of another state of the model; save the model again, or remove "
                "the files that do not belong to it",
            )


def says_tied(config: Mapping[str, Any]) -> bool:
    """Whether a config.json ties the output layer to the embedding, as transformers reads it."""
    text = config.get("text_config")
    for place in (config, text if isinstance(text, dict) else {}):
        if isinstance(place.get("tie_word_embeddings"), bool):
            return bool(place["tie_word_embeddings"])
    kinds = {config.get("model_type"), text.get("model_type") if isinstance(text, dict) else None}
    return bool(kinds & TIED_BY_DEFAULT)


def check_agreement(directory: Path) -> dict[str, StoredTensor]:
    """Raise ModelError where the parts of a checkpoint contradict each other; return its tensors.

    Reads headers only, but for the two tables of a model that is tied and has both.
    """
    if (directory / _ADAPTER).is_file():
        raise ModelError(
            f"{directory}: holds config.json and {_ADAPTER}: transformers takes it for the "
            "adapter, other tools for the whole model.",
            hint=f"move {_ADAPTER} and adapter_model.safetensors to a directory of their own and "
            "name it as `adapter:`, or remove them where they are merged already",
        )
    tensors = read_index(directory)
    config = read_json(directory / "config.json")
    head, embedding = tensors.get(HEAD), tensors.get(EMBEDDING)
    if not says_tied(config) or head is None or embedding is None:
        return tensors
    if head.shape != embedding.shape or not _equal(head, embedding):
        raise ModelError(
            f"{directory / 'config.json'}: tie_word_embeddings is true, but {HEAD!r} in "
            f"{head.file.name} is not {EMBEDDING!r}.",
            hint=f"set tie_word_embeddings to false in config.json if {HEAD!r} is meant to count; "
            "otherwise remove the tensor. Tools read such a directory as two different models",
        )
    return tensors


def _equal(one: StoredTensor, other: StoredTensor) -> bool:
    if one.kind != other.kind:
        return False
    pairs = zip(one.blocks(_ROWS), other.blocks(_ROWS), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)
