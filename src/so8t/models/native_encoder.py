"""ggml's own encoders, called through ctypes on the symbols that xllamacpp's wheel exports.

They make every block type, K-quants and importance matrices included, with the very code that
`llama-quantize` runs. Native code: only child processes call it (`so8t.models.conversion_worker`).
The Windows wheel exports none of these symbols. Source: include/ggml.h of llama.cpp.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from so8t.errors import ModelError, PrerequisiteError
from so8t.models.encoding import encode, not_finite
from so8t.models.safetensors_files import as_float32
from so8t.system.gguf import tensor_bytes, type_sizes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

_FLOATS: Final = ("F32", "F16", "BF16")
_POINTER: Final = ctypes.c_void_p
_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "ggml_quantize_init": (None, (ctypes.c_int,)),
    "ggml_quantize_chunk": (
        ctypes.c_size_t,
        (
            ctypes.c_int,
            _POINTER,
            _POINTER,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_int64,
            _POINTER,
        ),
    ),
    "ggml_validate_row_data": (ctypes.c_bool, (ctypes.c_int, _POINTER, ctypes.c_size_t)),
    "ggml_row_size": (ctypes.c_size_t, (ctypes.c_int, ctypes.c_int64)),
    "ggml_fp16_to_fp32_row": (None, (_POINTER, _POINTER, ctypes.c_int64)),
    "ggml_bf16_to_fp32_row": (None, (_POINTER, _POINTER, ctypes.c_int64)),
}
# Blocks encoded ahead of the one that is written, for each thread.
_AHEAD: Final = 2


def library_path() -> Path | None:
    """Return the file of xllamacpp's native code; None where it is not installed."""
    found = importlib.util.find_spec("xllamacpp")
    if found is None or found.origin is None:
        return None
    files = sorted(Path(found.origin).parent.glob("xllamacpp*"))
    return next((file for file in files if file.suffix in {".so", ".pyd"}), None)


@cache
def encoders_here() -> bool:
    """Whether the installed xllamacpp exports the encoders; a child process loads it to see."""
    command = [sys.executable, "-P", "-m", __name__]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@cache
def load_library(library: Path | None = None) -> Any:
    """Load the library, xllamacpp's by default.

    Raises PrerequisiteError where it does not export the encoders.
    """
    path = library_path() if library is None else library
    if path is None:
        raise PrerequisiteError(
            "xllamacpp is not installed, whose library encodes this type.",
            hint="pip install xllamacpp",
        )
    try:
        loaded = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, list(arguments)
    except (OSError, AttributeError) as error:
        raise PrerequisiteError(
            f"{path}: exports no encoders ({error}).",
            hint="install llama.cpp, whose llama-quantize makes this type",
        ) from error
    return loaded


class NativeEncoder:
    """Encodes blocks of rows on all cores, in order."""

    def __init__(self, library: Path | None = None, threads: int | None = None) -> None:
        """Take the library; errors as `load_library`."""
        self._lib = load_library(library)
        self._threads = threads or len(_own_cores())
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="encode")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def encode(
        self,
        name: str,
        blocks: Iterable[NDArray[Any]],
        kind: int,
        importance: NDArray[np.float32] | None = None,
    ) -> Iterator[bytes | memoryview]:
        """Encode blocks of rows, each 2-D, in the type with number `kind`; yields them in order.

        `importance` is of shape (matrices, columns), and the blocks then divide into as many equal
        matrices (experts), none across a border: the weight of each column's error. Raises
        ModelError, naming the tensor, for values that are not finite or do not fit.
        """
        type_name = type_sizes()[kind][0]
        if type_name not in _FLOATS:
            self._lib.ggml_quantize_init(kind)
        waiting: deque[Any] = deque()
        for block, weights in _weighted(name, blocks, importance):
            if type_name in _FLOATS:
                waiting.append(self._pool.submit(encode, name, block, kind))
            else:
                waiting.append(self._pool.submit(self._packed, name, block, kind, weights))
            if len(waiting) > _AHEAD * self._threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _packed(
        self, name: str, block: NDArray[Any], kind: int, weights: NDArray[np.float32] | None
    ) -> memoryview:
        values = self._floats(block)
        # Not finite unless all values are, or in the rare overflow, which the slow test clears.
        with np.errstate(over="ignore", invalid="ignore"):
            flat = values.reshape(-1)
            suspicious = not np.isfinite(np.dot(flat, flat))
        if suspicious and not np.isfinite(values).all():
            raise not_finite(name)
        rows, columns = values.shape
        out = np.empty(tensor_bytes(values.shape, kind), np.uint8)
        written = self._lib.ggml_quantize_chunk(
            kind,
            values.ctypes.data,
            out.ctypes.data,
            0,
            rows,
            columns,
            None if weights is None else weights.ctypes.data,
        )
        good = written == out.nbytes and self._lib.ggml_validate_row_data(
            kind, out.ctypes.data, out.nbytes
        )
        if not good:
            raise ModelError(
                f"{name!r} cannot be encoded as {type_sizes()[kind][0]}: a scale came out as NaN "
                "or infinity.",
                hint="choose bf16 or q8_0; weights this large are rarely a working model",
            )
        return out.data

    def _floats(self, block: NDArray[Any]) -> NDArray[np.float32]:
        """Turn a block into float32, without holding Python's lock."""
        convert = {
            np.dtype("<f2"): self._lib.ggml_fp16_to_fp32_row,
            np.dtype("<u2"): self._lib.ggml_bf16_to_fp32_row,
        }.get(block.dtype)
        if convert is None:
            return np.ascontiguousarray(as_float32(block))
        source = np.ascontiguousarray(block)
        values = np.empty(block.shape, np.float32)
        convert(source.ctypes.data, values.ctypes.data, block.size)
        return values


def _weighted(
    name: str, blocks: Iterable[NDArray[Any]], importance: NDArray[np.float32] | None
) -> Iterator[tuple[NDArray[Any], NDArray[np.float32] | None]]:
    """Pair each block with the weights of its columns."""
    if importance is None:
        yield from ((block, None) for block in blocks)
        return
    if len(importance) == 1:
        row = np.ascontiguousarray(importance[0], np.float32)
        yield from ((block, row) for block in blocks)
        return
    # Experts: each block is one whole matrix.
    for place, block in enumerate(blocks):
        if place >= len(importance):
            raise ModelError(f"{name!r} has more experts than its importance matrix.")
        yield block, np.ascontiguousarray(importance[place], np.float32)


def _own_cores() -> list[int]:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


if __name__ == "__main__":
    load_library()
