"""A Hugging Face directory as a GGUF file, in one pass and without torch.

Tensor by tensor and in blocks of rows, from safetensors straight into the wanted type, so that
memory does not grow with the model and no F16 file has to be made first.
"""

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from so8t.errors import ModelError
from so8t.models.checkpoint_files import EMBEDDING, HEAD, check_agreement, read_json
from so8t.models.encoding import NumpyEncoder, block_rows
from so8t.models.gguf_families import read_architecture
from so8t.models.gguf_vocab import read_tokenizer
from so8t.models.gguf_write import (
    ConversionResult,
    Output,
    add_file_type,
    count_types,
    tokenizer_digest,
    write_gguf,
)
from so8t.models.safetensors_files import check_kind
from so8t.models.tensor_types import NATIVE_ONLY, ModelShape, check_quantization, choose_types
from so8t.system.gguf import GGUFWriter, ValueType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from so8t.models.encoding import Encoder
    from so8t.models.gguf_architecture import Architecture, Wanted
    from so8t.models.safetensors_files import StoredTensor

# Buffers that old checkpoints carry and every loader computes itself; layers that guess further
# tokens ahead, which transformers leaves out too.
_IGNORED: Final = re.compile(r"rotary_emb\.inv_freq$|\.masked_bias$|^mtp\.")


def convert(
    directory: Path,
    out: Path,
    quantization: str = "f16",
    *,
    name: str | None = None,
    encoder: Encoder | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ConversionResult:
    """Convert a Hugging Face directory (config.json, safetensors, tokenizer.json) to GGUF.

    `quantization` is one of `so8t.models.tensor_types.MIXES`. `name` is the model's name in the
    file; the model type where there is none, so that equal models give equal files. `encoder` is
    numpy's by default, which makes no K-quants. `progress` is called with (tensor bytes written,
    all tensor bytes). The file appears under `out` only when it is whole.

    Raises ModelError for an architecture, tokenizer or rope scaling that cannot be converted, for
    tensors that are missing, unknown, of the wrong shape or not finite, and for damaged files.
    """
    began = time.monotonic()
    check_quantization(quantization)
    if encoder is None and quantization in NATIVE_ONLY:
        raise ModelError(f"numpy's encoders do not make {quantization}.", hint="choose q8_0")
    config = read_config(directory)
    architecture = read_architecture(directory / "config.json", config)
    stored = check_agreement(directory)
    wanted = _match(directory, architecture, stored)
    tokenizer = read_tokenizer(directory, architecture.vocabulary, config)
    writer = GGUFWriter()
    title = tokenizer.general_name(name or str(config.get("model_type", "model")))
    writer.add("general.architecture", ValueType.STRING, architecture.family.architecture)
    writer.add("general.type", ValueType.STRING, "model")
    writer.add("general.name", ValueType.STRING, title)
    architecture.write(writer)
    add_file_type(writer, quantization)
    tokenizer.write(writer)
    factors = architecture.rope.tensors
    types, fallbacks = choose_types(
        {rope: values.shape for rope, values in factors.items()}
        | {target.name: target.shape for target, _ in wanted},
        quantization,
        ModelShape.read(writer.values()),
    )
    outputs = [
        Output(rope, rope, values.shape, types[rope], partial(_once, values))
        for rope, values in factors.items()
    ] + [
        Output(
            target.name,
            target.source,
            target.shape,
            types[target.name],
            partial(_blocks, tensors, target),
        )
        for target, tensors in wanted
    ]
    digest_of_tokenizer = tokenizer_digest(writer.metadata)
    size, digest = write_gguf(out, writer, outputs, encoder or NumpyEncoder(), progress)
    return ConversionResult(
        path=out,
        size=size,
        digest=digest,
        tensor_count=len(outputs),
        quantization=quantization,
        seconds=time.monotonic() - began,
        fallbacks=fallbacks,
        tokenizer_digest=digest_of_tokenizer,
        caveats=(*architecture.caveats(), *tokenizer.caveats),
        types=count_types(types.values()),
    )


def check_convertible(directory: Path) -> None:
    """Raise what `convert` would raise for settings, tokenizer and the headers of the weights.

    No tensor is read. UnsupportedModelError means that another converter may do it.
    """
    config = read_config(directory)
    architecture = read_architecture(directory / "config.json", config)
    _match(directory, architecture, check_agreement(directory))
    read_tokenizer(directory, architecture.vocabulary, config)


def read_config(directory: Path) -> dict[str, Any]:
    """Read a directory's config.json. Raises ModelError when it is missing or damaged."""
    if not directory.is_dir():
        raise ModelError(
            f"{directory}: there is no such directory.", hint="check the config's path"
        )
    config = read_json(directory / "config.json")
    if not config:
        raise ModelError(
            f"{directory}: holds no config.json.",
            hint="name a directory that holds config.json, *.safetensors and tokenizer.json",
        )
    return config


def _match(
    directory: Path, architecture: Architecture, stored: dict[str, StoredTensor]
) -> list[tuple[Wanted, list[StoredTensor]]]:
    """Pair every tensor that the architecture needs with stored ones of the right shape."""
    pairs = []
    for target in architecture.tensors():
        shape = target.stored or target.shape
        found = [_stored(directory, name, shape, architecture, stored) for name in target.names]
        pairs.append((target, found))
    used = {name for target, _ in pairs for name in target.names}
    if architecture.tied:
        used.add(HEAD)
    extra = [name for name in stored if name not in used and not _IGNORED.search(name)]
    if extra:
        listed = ", ".join(map(repr, extra[:3])) + (" ..." if len(extra) > 3 else "")  # noqa: PLR2004 - a few are enough
        raise ModelError(
            f"{directory}: {len(extra)} tensors are not part of {architecture.family.architecture} "
            f"as config.json describes it: {listed}",
            hint="an adapter must be merged first; otherwise config.json is of another model",
        )
    return pairs


def _stored(
    directory: Path,
    name: str,
    shape: tuple[int, ...],
    architecture: Architecture,
    stored: dict[str, StoredTensor],
) -> StoredTensor:
    tensor = stored.get(name)
    if tensor is None and name == EMBEDDING and architecture.tied:
        tensor = stored.get(HEAD)  # the one of two tied tables that was saved
    if tensor is None:
        raise ModelError(
            f"{directory}: the tensor {name!r} with shape {list(shape)} is missing.",
            hint="config.json and weights belong to different models, or a file is missing",
        )
    if tensor.shape != shape:
        raise ModelError(
            f"{directory}: {name!r} has the shape {list(tensor.shape)}, where config.json asks for "
            f"{list(shape)}.",
            hint="config.json and weights belong to different models",
        )
    check_kind(tensor)
    return tensor


def _once(values: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    yield values.reshape(1, -1)


def _blocks(tensors: list[StoredTensor], target: Wanted) -> Iterator[NDArray[Any]]:
    """Read tensors block by block; whole heads, or groups of rows, where values change places."""
    for tensor in tensors:
        if target.rotated_heads and len(target.shape) == 1:
            for row in tensor.blocks(1):
                yield pair_rows(row.T, target.rotated_heads)
            continue
        heads = target.rotated_heads
        head_rows = target.shape[0] // heads if heads else 1
        rows = target.group or block_rows(tensor.shape[-1], head_rows)
        for block in tensor.blocks(rows):
            turned = pair_rows(block, len(block) // head_rows) if heads else block
            yield turned if target.change is None else target.change(turned)


def pair_rows(block: NDArray[Any], heads: int) -> NDArray[Any]:
    """Reorder the rows of each head from halves (0, n/2, ...) to neighbouring pairs.

    PyTorch rotates row i with row i + n/2; llama.cpp's "llama" rotates rows 2i and 2i + 1.
    Shape (heads * n, columns) in and out.
    """
    rows, columns = block.shape
    halves = block.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))
