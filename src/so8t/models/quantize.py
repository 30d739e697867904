"""Which tensor gets which type, and the encoders.

Built in: F32, F16, BF16, Q8_0, Q5_0, Q4_0, encoded with gguf's numpy encoders, which give the same
bytes as llama.cpp's. K-quants come from `llama-quantize` where it is installed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from so8t.errors import ModelError, PrerequisiteError
from so8t.models.safetensors_files import as_float32
from so8t.system.files import atomic_file, file_digest
from so8t.system.gguf import (
    ALIGNMENT,
    GGUFWriter,
    ValueType,
    padded,
    read_header,
    tensor_bytes,
    type_numbers,
    type_sizes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from so8t.system.gguf import TensorEntry

Quantization = Literal["f32", "f16", "bf16", "q8_0", "q5_0", "q4_0"]

# llama.cpp's LLAMA_FTYPE number, written as general.file_type.
BUILT_IN: Final = {"f32": 0, "f16": 1, "bf16": 32, "q8_0": 7, "q5_0": 8, "q4_0": 2}
K_QUANTS: Final = (
    "q2_k",
    "q3_k_s",
    "q3_k_m",
    "q3_k_l",
    "q4_k_s",
    "q4_k_m",
    "q5_k_s",
    "q5_k_m",
    "q6_k",
)

# Values encoded at a time: about 4 MB of float32, small beside any model and beside the caches
# that make larger blocks slower.
_BLOCK_VALUES: Final = 1 << 20
_QUANTIZATION_VERSION: Final = 2
_FLOATS: Final = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True, slots=True)
class Fallback:
    """A tensor that could not take the wanted type, the type that it got, and why."""

    tensor: str
    kind: str
    reason: str


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

    def facts(self) -> dict[str, Any]:
        """Everything but the place, as plain data for the journal."""
        facts = asdict(self)
        del facts["path"]
        return facts


def check_quantization(name: str) -> None:
    """Raise ModelError unless `name` is a built-in quantization."""
    if name not in BUILT_IN:
        hint = f"built in: {', '.join(BUILT_IN)}"
        if name in K_QUANTS:
            hint = f"{name} is made from an f16 GGUF by llama-quantize; {hint}"
        raise ModelError(f"there is no built-in quantization {name!r}.", hint=hint)


def choose_type(
    name: str, shape: Sequence[int], quantization: str, *, exact: bool = False
) -> tuple[int, Fallback | None]:
    """Choose a tensor's type: (type number, what had to be done instead, if anything).

    1-D tensors, norms and anything `exact` stay in F32: they are tiny and errors in them cost
    most. Rows that do not divide into blocks stay in F16.
    """
    numbers = type_numbers()
    if exact or len(shape) == 1 or "norm" in name:
        return numbers["F32"], None
    wanted = numbers[quantization.upper()]
    block = type_sizes()[wanted][1]
    if shape[-1] % block:
        reason = f"rows of {shape[-1]} values do not divide into blocks of {block}"
        return numbers["F16"], Fallback(name, "F16", reason)
    return wanted, None


def encode(name: str, block: NDArray[Any], kind: int) -> bytes:
    """Encode a 2-D block of rows (uint16 holds bfloat16) in the type with number `kind`.

    Raises ModelError, naming the tensor, for values that are not finite or do not fit.
    """
    kind_name = type_sizes()[kind][0]
    if kind_name == "BF16" and block.dtype == np.uint16:
        _finite(name, block, np.uint16(0x7F80))
        return block.tobytes()
    if kind_name == "F16" and block.dtype == np.float16:
        _finite(name, block.view(np.uint16), np.uint16(0x7C00))
        return block.tobytes()
    values = as_float32(block)
    # The sum is finite unless a value is not, or in the rare overflow, which the slow test clears.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(values.sum())
    if suspicious and not np.isfinite(values).all():
        raise _not_finite(name)
    if kind_name == "F16" and np.abs(values).max(initial=0.0) >= 65520:  # noqa: PLR2004 - rounds to infinity
        raise ModelError(
            f"{name!r} holds values beyond 65,504, which float16 cannot.", hint="use bf16 or q8_0"
        )
    if kind_name == "F32":
        return values.tobytes()
    from gguf import GGMLQuantizationType, quants  # noqa: PLC0415 - costs 80 ms

    # Blocks of numbers near 1e-38 overflow on the way to their scale, which float16 rounds to 0.
    with np.errstate(all="ignore"):
        encoded: NDArray[Any] = quants.quantize(values, GGMLQuantizationType(kind))
    return encoded.tobytes()


def _finite(name: str, bits: NDArray[np.uint16], exponent: np.uint16) -> None:
    if ((bits & exponent) == exponent).any():
        raise _not_finite(name)


def _not_finite(name: str) -> ModelError:
    return ModelError(
        f"{name!r} holds NaN or infinity: these weights are no working model.",
        hint="for a fine-tuned model, train again with a lower learning rate",
    )


def block_rows(columns: int, multiple: int = 1) -> int:
    """Rows to encode at a time for rows of `columns` values: a multiple of `multiple`."""
    return max(1, _BLOCK_VALUES // (columns * multiple)) * multiple


@dataclass(frozen=True, slots=True)
class Output:
    """A tensor to be written: name, shape (rows first), type number and its encoded blocks."""

    name: str
    shape: tuple[int, ...]
    kind: int
    data: Callable[[], Iterator[bytes]]


def write_gguf(
    out: Path,
    writer: GGUFWriter,
    outputs: Sequence[Output],
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
            for data, is_tensor in _pieces(writer, outputs):
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


def _pieces(writer: GGUFWriter, outputs: Sequence[Output]) -> Iterator[tuple[bytes, bool]]:
    """Yield a file's bytes in order, each with whether they are tensor data."""
    yield writer.header(), False
    for output in outputs:
        length = 0
        for data in output.data():
            yield data, True
            length += len(data)
        expected = tensor_bytes(output.shape, output.kind)
        if length != expected:
            raise ModelError(
                f"{output.name!r} gave {length:,} bytes, not {expected:,}.",
                hint="the source changed while it was read; run again",
            )
        yield bytes(padded(length, ALIGNMENT) - length), False


def quantize_gguf(
    source: Path,
    out: Path,
    quantization: str,
) -> ConversionResult:
    """Encode an F32, F16 or BF16 GGUF again, in a built-in type or a K-quant.

    The metadata is taken over byte for byte, but for the file type. K-quants are made by
    `llama-quantize`. Raises ModelError for a source that is damaged or already quantized,
    PrerequisiteError when `llama-quantize` is needed and not installed.
    """
    began = time.monotonic()
    header = read_header(source)
    names = {type_sizes()[tensor.kind][0] for tensor in header.tensors}
    if not header.tensors or not names <= set(_FLOATS):
        raise ModelError(
            f"{source}: is already quantized ({', '.join(sorted(names)) or 'no tensors'}); "
            "quantizing twice adds the errors of both.",
            hint="start from an f16, bf16 or f32 GGUF, or from the Hugging Face model",
        )
    if quantization in K_QUANTS:
        return _llama_quantize(source, out, quantization, tokenizer_digest(header.raw), began)
    check_quantization(quantization)
    writer = GGUFWriter()
    writer.add_raw(header.raw)
    add_file_type(writer, quantization)
    outputs, fallbacks = [], []
    for tensor in header.tensors:
        exact = type_sizes()[tensor.kind][0] == "F32" and tensor.name.startswith("rope_")
        kind, fallback = choose_type(tensor.name, tensor.shape, quantization, exact=exact)
        fallbacks += [fallback] if fallback else []
        data = partial(_encode_entry, source, tensor, kind)
        outputs.append(Output(tensor.name, tensor.shape, kind, data))
    size, digest = write_gguf(out, writer, outputs)
    return ConversionResult(
        path=out,
        size=size,
        digest=digest,
        tensor_count=len(outputs),
        quantization=quantization,
        seconds=time.monotonic() - began,
        fallbacks=tuple(fallbacks),
        tokenizer_digest=tokenizer_digest(header.raw),
    )


def _encode_entry(source: Path, tensor: TensorEntry, kind: int) -> Iterator[bytes]:
    columns = tensor.shape[-1]
    name = type_sizes()[tensor.kind][0]
    dtype = np.dtype(_FLOATS[name])
    step = block_rows(columns) * columns * dtype.itemsize
    with source.open("rb") as handle:
        handle.seek(tensor.offset)
        for start in range(0, tensor.bytes, step):
            data = handle.read(min(step, tensor.bytes - start))
            yield encode(tensor.name, np.frombuffer(data, dtype).reshape(-1, columns), kind)


def add_file_type(writer: GGUFWriter, quantization: str) -> None:
    """Set general.file_type and, for quantized files, general.quantization_version."""
    writer.add("general.file_type", ValueType.UINT32, BUILT_IN[quantization])
    writer.add("general.quantization_version", ValueType.UINT32, _QUANTIZATION_VERSION)


def tokenizer_digest(raw: dict[str, bytes]) -> str:
    """Digest of all tokenizer keys of a GGUF, chat template included, in sorted order."""
    hasher = hashlib.sha256()
    for key in sorted(raw):
        if key.startswith("tokenizer."):
            hasher.update(f"{key}\0{len(raw[key])}\0".encode() + raw[key])
    return f"sha256:{hasher.hexdigest()}"


def llama_quantize_program(quantization: str) -> str:
    """Return the path of llama.cpp's quantizer. Raises PrerequisiteError where there is none."""
    program = shutil.which("llama-quantize")
    if program is None:
        raise PrerequisiteError(
            f"{quantization} needs llama-quantize, which is not on the PATH.",
            hint="install llama.cpp, which brings it (brew install llama.cpp, winget install "
            "llama.cpp, or your distribution's package), or choose q8_0, q5_0 or q4_0",
        )
    return program


def _llama_quantize(
    source: Path, out: Path, quantization: str, tokenizer: str, began: float
) -> ConversionResult:
    program = llama_quantize_program(quantization)
    # It names its outputs itself in some versions, so it works in a directory of its own.
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".quantize-") as place:
        made = Path(place, "out.gguf")
        done = subprocess.run(
            [program, str(source), str(made), quantization.upper()],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode or not made.is_file():
            tail = "\n".join((done.stderr or done.stdout).splitlines()[-5:])
            raise ModelError(
                f"llama-quantize ended with exit code {done.returncode}:\n{tail}",
                hint="K-quants need rows that divide by 256; small models take q8_0",
            )
        return adopt_gguf(made, out, quantization, began, tokenizer=tokenizer)


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
    with atomic_file(out) as temporary:
        made.replace(temporary)
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
    )
