"""Writes a GGUF file, whole or not at all, and says what was written."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from so8t.errors import ModelError, PrerequisiteError
from so8t.models.tensor_types import MIXES, Fallback
from so8t.system.files import atomic_file, file_digest, move
from so8t.system.gguf import (
    ALIGNMENT,
    GGUFWriter,
    ValueType,
    padded,
    read_header,
    tensor_bytes,
    type_sizes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from so8t.models.encoding import Encoder

_QUANTIZATION_VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class ConversionResult:
    """A GGUF file that was written.

    Attributes:
        path: the file.
        size: its bytes.
        digest: SHA-256 of its bytes, `sha256:<hex>`.
        tensor_count: tensors in it.
        quantization: what was asked for.
        seconds: wall time.
        fallbacks: tensors that could not take the wanted type.
        tokenizer_digest: digest of the tokenizer's metadata, so that two arms can be compared.
        caveats: what this file cannot express, in words for the report; empty for most models.
        converter: who wrote it: "so8t", or llama.cpp's script with its commit.
        types: how many tensors have each type, by its name.
        imatrix: the importance matrix that was used: {file, digest, datasets, chunks, entries}.

    """

    path: Path
    size: int
    digest: str
    tensor_count: int
    quantization: str
    seconds: float
    fallbacks: tuple[Fallback, ...]
    tokenizer_digest: str
    caveats: tuple[str, ...] = ()
    converter: str = "so8t"
    types: Mapping[str, int] | None = None
    imatrix: Mapping[str, Any] | None = None

    def facts(self) -> dict[str, Any]:
        """Everything but the place, as plain data for the journal."""
        facts = asdict(self)
        del facts["path"]
        return facts


@dataclass(frozen=True, slots=True)
class Output:
    """A tensor to be written.

    Attributes:
        name: its name in the file.
        label: how errors name it.
        shape: rows first.
        kind: type number.
        blocks: yields its rows in blocks, each 2-D, in the type that they were stored in.
        encoded: the blocks are the tensor's bytes already.
        importance: shape (matrices, columns), the weight of each column's error, where known.

    """

    name: str
    label: str
    shape: tuple[int, ...]
    kind: int
    blocks: Callable[[], Iterable[NDArray[Any]]]
    importance: NDArray[np.float32] | None = None
    encoded: bool = False


def write_gguf(
    out: Path,
    writer: GGUFWriter,
    outputs: Sequence[Output],
    encoder: Encoder,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, str]:
    """Write a GGUF file, whole or not at all; returns its (bytes, digest).

    `progress` is called with (tensor bytes written, all tensor bytes) after each block. Memory
    does not grow with the model: one block of rows at a time. Raises PrerequisiteError when the
    file cannot be written (a full disk, say).
    """
    for output in outputs:
        writer.add_tensor(output.name, output.shape, output.kind)
    total = sum(tensor_bytes(output.shape, output.kind) for output in outputs)
    hasher, size, written = hashlib.sha256(), 0, 0
    try:
        with atomic_file(out) as temporary, temporary.open("wb") as handle:
            for data, is_tensor in _pieces(writer, outputs, encoder):
                handle.write(data)
                hasher.update(data)
                size += len(data)
                if is_tensor:
                    written += len(data)
                    if progress is not None:
                        progress(written, total)
    except OSError as error:
        raise PrerequisiteError(
            f"{out}: could not be written: {error.strerror or error}; nothing was left behind.",
            hint=f"make room for {total / 1e9:.1f} GB, check the permissions, and run again",
        ) from error
    return size, f"sha256:{hasher.hexdigest()}"


def _pieces(
    writer: GGUFWriter, outputs: Sequence[Output], encoder: Encoder
) -> Iterator[tuple[bytes | memoryview, bool]]:
    """Yield a file's bytes in order, each with whether they are tensor data."""
    yield writer.header(), False
    for output in outputs:
        length = 0
        for data in _encoded(output, encoder):
            yield data, True
            length += len(data)
        expected = tensor_bytes(output.shape, output.kind)
        if length != expected:
            raise ModelError(
                f"{output.name!r} gave {length:,} bytes, not {expected:,}.",
                hint="the source changed while it was read; run again",
            )
        yield bytes(padded(length, ALIGNMENT) - length), False


def _encoded(output: Output, encoder: Encoder) -> Iterator[bytes | memoryview]:
    if output.encoded:
        return (block.data for block in output.blocks())
    return encoder.encode(output.label, output.blocks(), output.kind, output.importance)


def add_file_type(writer: GGUFWriter, quantization: str) -> None:
    """Set general.file_type and, for quantized files, general.quantization_version."""
    writer.add("general.file_type", ValueType.UINT32, MIXES[quantization][0])
    writer.add("general.quantization_version", ValueType.UINT32, _QUANTIZATION_VERSION)


def tokenizer_digest(raw: dict[str, bytes]) -> str:
    """Digest of all tokenizer keys of a GGUF, chat template included, in sorted order."""
    hasher = hashlib.sha256()
    for key in sorted(raw):
        if key.startswith("tokenizer."):
            hasher.update(f"{key}\0{len(raw[key])}\0".encode() + raw[key])
    return f"sha256:{hasher.hexdigest()}"


def count_types(kinds: Iterable[int]) -> dict[str, int]:
    """Count tensors by the name of their type."""
    return dict(sorted(Counter(type_sizes()[kind][0] for kind in kinds).items()))


def adopt_gguf(
    made: Path,
    out: Path,
    quantization: str,
    began: float,
    *,
    tokenizer: str | None = None,
    converter: str = "so8t",
) -> ConversionResult:
    """Put a GGUF that another program wrote under its final name, whole or not at all.

    `began` is when that program was started, by the monotonic clock. `tokenizer` is the digest of
    the source's tokenizer, where the file was made from another GGUF. Raises ModelError for a file
    that is no GGUF.
    """
    header = read_header(made)
    types = count_types(tensor.kind for tensor in header.tensors)
    with atomic_file(out) as temporary:
        move(made, temporary)
    return ConversionResult(
        path=out,
        size=out.stat().st_size,
        digest=file_digest(out),
        tensor_count=len(header.tensors),
        quantization=quantization,
        seconds=time.monotonic() - began,
        fallbacks=(),
        tokenizer_digest=tokenizer or tokenizer_digest(header.raw),
        converter=converter,
        types=types,
    )
