"""Encodes a GGUF again, in another quantization.

ggml's own encoders do it in a child process (`so8t.models.conversion`). Where the wheel of
xllamacpp exports none (Windows), numpy makes the plain block types, and `llama-quantize` the rest
where it is installed.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from so8t.errors import ModelError, PrerequisiteError
from so8t.models.encoding import NumpyEncoder, block_rows
from so8t.models.gguf_write import (
    ConversionResult,
    Output,
    add_file_type,
    adopt_gguf,
    count_types,
    tokenizer_digest,
    write_gguf,
)
from so8t.models.imatrix import read_imatrix
from so8t.models.tensor_types import (
    NATIVE_ONLY,
    NEEDS_IMPORTANCE,
    ModelShape,
    check_quantization,
    choose_types,
)
from so8t.system.gguf import GGUFWriter, ValueType, read_header, type_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from so8t.models.encoding import Encoder
    from so8t.models.imatrix import ImportanceMatrix
    from so8t.system.gguf import GGUFHeader, TensorEntry

# Types that may be encoded again, and how numpy reads them; Q8_0 is decoded first.
_STORED: Final = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "Q8_0": "<u1"}
# Keys that name an importance matrix in a file made with one, as llama-quantize writes them.
_IMATRIX: Final = "quantize.imatrix"
# What no longer holds of the new file.
_DROPPED: Final = (_IMATRIX, "general.alignment", "split.")


def check_source(source: Path, quantization: str) -> GGUFHeader:
    """Raise ModelError unless the GGUF can be encoded as `quantization`; returns its header.

    That is F32, F16, BF16 or Q8_0; what is packed more tightly has errors of its own, which would
    add up.
    """
    check_quantization(quantization)
    header = read_header(source)
    names = {type_sizes()[tensor.kind][0] for tensor in header.tensors}
    if not header.tensors or not names <= set(_STORED):
        raise ModelError(
            f"{source}: is already quantized ({', '.join(sorted(names)) or 'no tensors'}); "
            "quantizing twice adds the errors of both.",
            hint="start from an f32, f16, bf16 or q8_0 GGUF, or from the Hugging Face model",
        )
    return header


def quantize_gguf(
    source: Path,
    out: Path,
    quantization: str,
    *,
    imatrix: Path | None = None,
    encoder: Encoder | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ConversionResult:
    """Encode an F32, F16, BF16 or Q8_0 GGUF again, in any quantization.

    The metadata is taken over byte for byte, but for the file type. Tensor types are llama.cpp's
    choice. With an importance matrix the errors of important columns weigh more. `encoder` is
    numpy's by default, and `llama-quantize` makes what that cannot. `progress` is called with
    (tensor bytes written, all tensor bytes). Raises ModelError for a source that is damaged or
    already quantized, or a matrix of another model; PrerequisiteError when `llama-quantize` is
    needed and not installed.
    """
    began = time.monotonic()
    header = check_source(source, quantization)
    if encoder is None and (quantization in NATIVE_ONLY or imatrix is not None):
        return _llama_quantize(source, out, quantization, imatrix, header, began)
    matrix = None if imatrix is None else read_imatrix(imatrix)
    if quantization in NEEDS_IMPORTANCE and matrix is None:
        raise ModelError(
            f"{quantization} needs an importance matrix: without one its answers are noise.",
            hint="set imatrix: auto, or choose q2_k",
        )
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    types, fallbacks = choose_types(
        shapes,
        quantization,
        ModelShape.read(header.metadata),
        importance=matrix is not None,
        kept={tensor.name: tensor.kind for tensor in header.tensors},
    )
    writer = GGUFWriter()
    writer.add_raw({key: raw for key, raw in header.raw.items() if not key.startswith(_DROPPED)})
    add_file_type(writer, quantization)
    weights = {} if matrix is None else _weights(matrix, header)
    if matrix is not None:
        _name_imatrix(writer, matrix)
    outputs = [
        Output(
            tensor.name,
            tensor.name,
            tensor.shape,
            types[tensor.name],
            partial(_blocks, source, tensor, types[tensor.name], weights.get(tensor.name)),
            weights.get(tensor.name),
            encoded=types[tensor.name] == tensor.kind,
        )
        for tensor in header.tensors
    ]
    size, digest = write_gguf(out, writer, outputs, encoder or NumpyEncoder(), progress)
    return ConversionResult(
        path=out,
        size=size,
        digest=digest,
        tensor_count=len(outputs),
        quantization=quantization,
        seconds=time.monotonic() - began,
        fallbacks=fallbacks,
        tokenizer_digest=tokenizer_digest(header.raw),
        types=count_types(types.values()),
        imatrix=None if matrix is None else matrix.facts(),
    )


def _blocks(
    source: Path, tensor: TensorEntry, kind: int, weights: NDArray[np.float32] | None
) -> Iterator[NDArray[Any]]:
    """Read a tensor's rows in blocks, as floats; as its own bytes where the type stays."""
    name, block, size = type_sizes()[tensor.kind]
    columns = tensor.shape[-1]
    dtype = np.dtype(_STORED[name])
    row_bytes = columns // block * size
    # With weights for each expert a block is one expert's matrix.
    whole = weights is not None and len(weights) > 1
    rows = tensor.shape[-2] if whole else block_rows(columns)
    with source.open("rb") as handle:
        handle.seek(tensor.offset)
        for start in range(0, tensor.bytes, rows * row_bytes):
            data = handle.read(min(rows * row_bytes, tensor.bytes - start))
            if kind == tensor.kind:
                yield np.frombuffer(data, np.uint8)
            elif name == "Q8_0":
                yield _from_q8_0(np.frombuffer(data, np.uint8).reshape(-1, row_bytes))
            else:
                yield np.frombuffer(data, dtype).reshape(-1, columns)


def _from_q8_0(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    from gguf import GGMLQuantizationType, quants  # noqa: PLC0415 - costs 80 ms

    values: NDArray[np.float32] = quants.dequantize(rows, GGMLQuantizationType.Q8_0)
    return values


def _weights(matrix: ImportanceMatrix, header: GGUFHeader) -> dict[str, NDArray[np.float32]]:
    """Match an importance matrix with the tensors. Raises ModelError for one of another model."""
    found = {}
    for tensor in header.tensors:
        values = matrix.weights(tensor.name)
        if values is None or len(tensor.shape) < 2:  # noqa: PLR2004 - a matrix
            continue
        matrices = tensor.shape[0] if len(tensor.shape) > 2 else 1  # noqa: PLR2004 - experts
        if values.size != matrices * tensor.shape[-1]:
            raise ModelError(
                f"{matrix.path}: has {values.size:,} weights for {tensor.name!r}, which has "
                f"{matrices * tensor.shape[-1]:,} columns: it is of another model.",
                hint="make one of this model (imatrix: auto), or leave it out",
            )
        found[tensor.name] = values.reshape(matrices, tensor.shape[-1])
    if not found:
        raise ModelError(
            f"{matrix.path}: names none of the model's tensors: it is of another model.",
            hint="make one of this model (imatrix: auto), or leave it out",
        )
    return found


def _name_imatrix(writer: GGUFWriter, matrix: ImportanceMatrix) -> None:
    """Name the importance matrix in the file, with the keys that llama-quantize writes."""
    writer.add(f"{_IMATRIX}.file", ValueType.STRING, matrix.path.name)
    if matrix.datasets:
        writer.add(f"{_IMATRIX}.dataset", ValueType.STRING, matrix.datasets[0])
    writer.add(f"{_IMATRIX}.entries_count", ValueType.UINT32, len(matrix.names))
    if matrix.chunks:
        writer.add(f"{_IMATRIX}.chunks_count", ValueType.UINT32, matrix.chunks)


def llama_quantize_program(quantization: str) -> str:
    """Return the path of llama.cpp's quantizer. Raises PrerequisiteError where there is none."""
    program = shutil.which("llama-quantize")
    if program is None:
        raise PrerequisiteError(
            f"{quantization} needs llama-quantize here, which is not on the PATH: the installed "
            "xllamacpp exports no encoders (its Windows wheel does not).",
            hint="install llama.cpp, which brings llama-quantize (brew install llama.cpp, winget "
            "install llama.cpp, or your distribution's package), or choose q8_0, q5_0 or q4_0",
        )
    return program


def _llama_quantize(
    source: Path,
    out: Path,
    quantization: str,
    imatrix: Path | None,
    header: GGUFHeader,
    began: float,
) -> ConversionResult:
    program = llama_quantize_program(quantization)
    matrix = None if imatrix is None else read_imatrix(imatrix)
    # It names its outputs itself in some versions, so it works in a directory of its own.
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".quantize-") as place:
        made = Path(place, "out.gguf")
        options = [] if imatrix is None else ["--imatrix", str(imatrix)]
        if any(type_sizes()[tensor.kind][0] == "Q8_0" for tensor in header.tensors):
            options.append("--allow-requantize")
        done = subprocess.run(
            [program, *options, str(source), str(made), quantization.upper()],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode or not made.is_file():
            tail = "\n".join((done.stderr or done.stdout).splitlines()[-5:])
            raise ModelError(
                f"llama-quantize ended with exit code {done.returncode}:\n{tail}",
                hint="update llama.cpp, or choose q8_0",
            )
        result = adopt_gguf(made, out, quantization, began, tokenizer=tokenizer_digest(header.raw))
    return result if matrix is None else replace(result, imatrix=matrix.facts())
