"""The eight tags of the thinking format as single tokens of a model.

A new directory is written: the base with eight more tokens and a row for each in the embedding
(and in the output layer, where that is not tied). Everything else is the base's, bit for bit.

The tokens are added tokens that no text splits, but they do not carry the flag `special`: with
it, transformers (`skip_special_tokens`) and llama.cpp (token type CONTROL) would leave them out
of the answer, and nobody could tell the parts apart. Qwen's <think> is made in the same way.

A new row starts as the mean of the rows of the pieces that the tag was split into before. The
eight means are all alike, so their differences are spread until the rows are as long as those of
other tokens: without training, they can be told apart as well as words can.
"""

from __future__ import annotations

import json
import shutil
import struct
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from so8t.domain.thinking_format import TAGS
from so8t.errors import ModelError
from so8t.models.checkpoint_files import (
    EMBEDDING,
    HEAD,
    beside_weights,
    read_json,
    weight_files,
)
from so8t.models.child_work import run_in_child
from so8t.models.safetensors_files import StoredTensor, as_float32, read_file
from so8t.models.tokenizer_files import resolve_tokenizer
from so8t.system.files import atomic_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

WORKER: Final = "so8t.models.thinking_worker"
_TABLES: Final = (EMBEDDING, HEAD)
_BLOCK_ROWS: Final = 4096


def add_in_child(base: Path, out: Path) -> dict[str, Any]:
    """Do what `add_thinking_tokens` does in a child process, with the same errors."""
    request = {"base": str(base), "out": str(out)}
    return run_in_child(WORKER, request, what="adding the thinking tokens")


def add_thinking_tokens(base: Path, out: Path) -> dict[str, Any]:
    """Write `base` with the eight tags as tokens to the directory `out`, whole or not at all.

    Returns {"ids": {tag: id}, "rows": rows of the embedding, "added": rows that are new}. Tags
    that the base has as tokens already stay what they are. Raises ModelError for a base without
    tokenizer.json or with an embedding under another name.
    """
    from tokenizers import AddedToken, Tokenizer  # noqa: PLC0415 - comes with the extra `train`

    path = base / "tokenizer.json"
    if not path.is_file():
        raise ModelError(
            f"{base}: the tags of the thinking format can only be added to a tokenizer.json.",
            hint="save the tokenizer with transformers, which writes tokenizer.json",
        )
    source = resolve_tokenizer(base).source
    tokenizer = Tokenizer.from_str(json.dumps(source))
    pieces = {tag: tokenizer.encode(tag, add_special_tokens=False).ids for tag in TAGS}
    # Phi-3's tokens swallow white space after them, and llama.cpp knows that for all or for none.
    swallows = any(entry.get("rstrip") for entry in source.get("added_tokens") or [])
    tokenizer.add_tokens(
        [AddedToken(tag, normalized=False, rstrip=swallows, special=False) for tag in TAGS]
    )
    ids = {tag: tokenizer.encode(tag, add_special_tokens=False).ids[0] for tag in TAGS}
    new = {tag: pieces[tag] for tag in TAGS if pieces[tag] != [ids[tag]]}
    config = read_json(base / "config.json")
    before = int(config.get("vocab_size") or 0)
    rows = max(before, *(number + 1 for number in ids.values()))
    with atomic_directory(out) as folder:
        for file in beside_weights(base, notes=True):
            shutil.copyfile(file, folder / file.name)
        tokenizer.save(str(folder / "tokenizer.json"))
        _declare(folder / "tokenizer_config.json", ids, swallows=swallows)
        (folder / "config.json").write_text(
            json.dumps({**config, "vocab_size": rows}, indent=2) + "\n", "utf-8"
        )
        _write_weights(base, folder, {ids[tag]: pieces[tag] for tag in new}, before, rows)
    return {"ids": ids, "rows": rows, "added": rows - before}


def _declare(path: Path, ids: dict[str, int], *, swallows: bool) -> None:
    """Name the tokens in tokenizer_config.json too, where older versions look for them."""
    settings = read_json(path)
    if "added_tokens_decoder" not in settings:
        return
    for tag, number in ids.items():
        settings["added_tokens_decoder"][str(number)] = {
            "content": tag,
            "lstrip": False,
            "normalized": False,
            "rstrip": swallows,
            "single_word": False,
            "special": False,
        }
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _write_weights(
    base: Path, folder: Path, new: dict[int, list[int]], before: int, rows: int
) -> None:
    """Copy the weights file by file; tables of tokens get their new rows."""
    seen = set()
    for file in weight_files(base):
        tensors = list(read_file(file))
        made: dict[str, NDArray[Any]] = {}
        for tensor in tensors:
            if tensor.name not in _TABLES:
                continue
            if tensor.shape[0] != before:
                raise ModelError(
                    f"{file}: {tensor.name!r} has {tensor.shape[0]:,} rows, where config.json "
                    f"says {before:,}.",
                    hint="config.json and weights belong to different models",
                )
            seen.add(tensor.name)
            made[tensor.name] = _grown(tensor, new, rows)
        _rewrite(file, folder / file.name, tensors, made)
    if _TABLES[0] not in seen:
        raise ModelError(
            f"{base}: has no tensor {_TABLES[0]!r}, so the tags cannot become tokens.",
            hint="use a model of the families Llama, Mistral, Qwen2, Qwen3 or Phi-3",
        )
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        # The sum of sizes in it is only informative, but wrong figures help nobody.
        plain = read_json(index)
        sizes = [t.bytes for f in sorted(folder.glob("*.safetensors")) for t in read_file(f)]
        plain.setdefault("metadata", {})["total_size"] = sum(sizes)
        index.write_text(json.dumps(plain, indent=2) + "\n", "utf-8")


def _grown(tensor: StoredTensor, new: dict[int, list[int]], rows: int) -> NDArray[Any]:
    """Read a table (tokens, width) and put the new tokens' rows into it."""
    table = np.concatenate(list(tensor.blocks(_BLOCK_ROWS)))
    grown = np.zeros((rows, table.shape[1]), table.dtype)
    grown[: len(table)] = table
    if new:
        used = sorted({piece for pieces in new.values() for piece in pieces})
        known = dict(zip(used, as_float32(table[used]), strict=True))
        start = starting_rows([np.stack([known[p] for p in pieces]) for pieces in new.values()])
        for number, row in zip(new, start, strict=True):
            grown[number] = _stored(row, table.dtype)
    return grown


def starting_rows(pieces: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return a row for each token from the rows of its pieces, (pieces, width) each.

    Means, whose differences from their common mean are scaled so that the mean square length is
    that of the pieces. Shape (tokens, width).
    """
    means = np.stack([one.mean(axis=0) for one in pieces]).astype(np.float64)
    wanted = np.mean([np.square(one, dtype=np.float64).sum(axis=1).mean() for one in pieces])
    common = means.mean(axis=0)
    apart = means - common
    spread = np.square(apart).sum(axis=1).mean()
    missing = wanted - np.square(common).sum()
    scale = np.sqrt(missing / spread) if spread > 0 and missing > 0 else 1.0
    rows: NDArray[np.float32] = (common + max(1.0, float(scale)) * apart).astype(np.float32)
    return rows


def _stored(row: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Put float32 values into the stored type; uint16 holds bfloat16, rounded to the nearest."""
    if dtype != np.uint16:
        return row.astype(dtype)
    bits = row.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _rewrite(
    source: Path, target: Path, tensors: list[StoredTensor], made: dict[str, NDArray[Any]]
) -> None:
    """Write a safetensors file with the tables in `made`, all else as it is."""
    if not made:
        shutil.copyfile(source, target)
        return
    with source.open("rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        metadata = json.loads(handle.read(length)).get("__metadata__")
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for tensor in tensors:
        shape = list(made[tensor.name].shape) if tensor.name in made else list(tensor.shape)
        size = tensor.bytes // prod(tensor.shape) * prod(shape)
        end = offset + size
        header[tensor.name] = {"dtype": tensor.kind, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with target.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            for block in _blocks(tensor, made.get(tensor.name)):
                out.write(block.tobytes())


def _blocks(tensor: StoredTensor, made: NDArray[Any] | None) -> Iterator[NDArray[Any]]:
    if made is None:
        yield from tensor.blocks(_BLOCK_ROWS)
    else:
        yield made
