"""The importance matrix: how much each input column of each matrix matters, read and written.

For every matrix it holds the sums of squared activations of its input columns over a calibration
text, and how many tokens went in. Two formats of llama.cpp are read: GGUF (its `general.type` is
`imatrix`, each matrix has `NAME.in_sum2` and `NAME.counts`) and the older `.dat`; GGUF is written.
Source: tools/imatrix of llama.cpp.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from so8t.errors import ModelError
from so8t.system.files import atomic_file, file_digest
from so8t.system.gguf import (
    MAGIC,
    ArrayValue,
    GGUFWriter,
    ValueType,
    padded,
    read_header,
    type_numbers,
)

_SUMS, _COUNTS = ".in_sum2", ".counts"
_TYPE: Final = "imatrix"
_DATASETS, _CHUNKS, _CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
# More than any model has, and no length that a damaged file makes us allocate.
_MOST_ENTRIES, _LONGEST_NAME, _MOST_VALUES = 100_000, 256, 1 << 28
_AGAIN: Final = "make it again (imatrix: auto, or llama-imatrix), or leave it out"


@dataclass(frozen=True, slots=True)
class ImportanceMatrix:
    """An importance matrix that was read.

    Attributes:
        path: its file.
        datasets: names of the texts that it was made of.
        chunks: pieces of text that went in; 0 where the file does not tell.
        sums: tensor -> sums of squares, shape (matrices, columns).
        counts: tensor -> tokens that went in, shape (matrices,).

    """

    path: Path
    datasets: tuple[str, ...]
    chunks: int
    sums: Mapping[str, NDArray[np.float32]] = field(repr=False)
    counts: Mapping[str, NDArray[np.float32]] = field(repr=False)

    @property
    def names(self) -> list[str]:
        """The tensors that it has weights for."""
        return sorted(self.sums)

    def weights(self, name: str) -> NDArray[np.float32] | None:
        """Return the mean square of each column, shape (matrices, columns); None without any.

        An expert that no token went through has 1 everywhere: nothing is known of its columns.
        """
        sums, counts = self.sums.get(name), self.counts.get(name)
        if sums is None or counts is None:
            return None
        seen = counts[:, None] > 0
        means: NDArray[np.float32] = np.where(seen, sums / np.where(seen, counts[:, None], 1), 1)
        return means.astype(np.float32)

    def facts(self) -> dict[str, Any]:
        """Return what the journal and the report tell of it."""
        return {
            "file": str(self.path),
            "digest": file_digest(self.path),
            "datasets": list(self.datasets),
            "chunks": self.chunks,
            "entries": len(self.sums),
        }


def read_imatrix(path: Path) -> ImportanceMatrix:
    """Read an importance matrix in either format.

    Raises ModelError for a file that is none, is damaged, or holds values that no sum of squares
    has.
    """
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file.", hint="check imatrix in the config")
    with path.open("rb") as handle:
        gguf = handle.read(len(MAGIC)) == MAGIC
    matrix = _read_gguf(path) if gguf else _read_dat(path)
    for name, values in matrix.sums.items():
        counts = matrix.counts[name]
        if not (np.isfinite(values).all() and np.isfinite(counts).all()) or values.min() < 0:
            raise _damaged(path, f"{name!r} holds values that are no sums of squares")
    if not matrix.sums:
        raise _damaged(path, "holds no matrix")
    return matrix


def write_imatrix(
    path: Path,
    sums: Mapping[str, NDArray[np.float32]],
    counts: Mapping[str, NDArray[np.float32]],
    *,
    datasets: tuple[str, ...],
    chunks: int,
    chunk_size: int,
) -> None:
    """Write an importance matrix as llama.cpp's GGUF, whole or not at all.

    `sums` are of shape (matrices, columns), `counts` of (matrices,); `chunk_size` is in tokens.
    """
    writer = GGUFWriter()
    writer.add("general.type", ValueType.STRING, _TYPE)
    writer.add_array(_DATASETS, ValueType.STRING, datasets)
    writer.add(_CHUNKS, ValueType.UINT32, chunks)
    writer.add(_CHUNK_SIZE, ValueType.UINT32, chunk_size)
    kind = type_numbers()["F32"]
    arrays: list[NDArray[np.float32]] = []
    for name in sorted(sums):
        arrays += [np.asarray(sums[name], "<f4"), np.asarray(counts[name], "<f4")]
        writer.add_tensor(name + _SUMS, arrays[-2].shape, kind)
        writer.add_tensor(name + _COUNTS, (len(arrays[-1]), 1), kind)
    with atomic_file(path) as temporary, temporary.open("wb") as handle:
        handle.write(writer.header())
        for array in arrays:
            data = array.tobytes()
            handle.write(data + bytes(padded(len(data)) - len(data)))


def _damaged(path: Path, what: str) -> ModelError:
    return ModelError(f"{path}: is no importance matrix that can be used: {what}.", hint=_AGAIN)


def _read_gguf(path: Path) -> ImportanceMatrix:
    header = read_header(path)
    said = header.metadata.get("general.type")
    if said != _TYPE:
        raise _damaged(path, f"its general.type is {said!r}, not {_TYPE!r}")
    arrays = {}
    with path.open("rb") as handle:
        for tensor in header.tensors:
            if tensor.kind != type_numbers()["F32"]:
                raise _damaged(path, f"{tensor.name!r} is not F32")
            handle.seek(tensor.offset)
            values = np.frombuffer(handle.read(tensor.bytes), "<f4")
            arrays[tensor.name] = values.reshape(-1, tensor.shape[-1])
    sums, counts = {}, {}
    for key, values in arrays.items():
        if not key.endswith(_SUMS):
            continue
        name = key.removesuffix(_SUMS)
        if name + _COUNTS not in arrays:
            raise _damaged(path, f"{name!r} has no {_COUNTS}")
        counted = arrays[name + _COUNTS].reshape(-1)
        if values.size % len(counted):
            raise _damaged(path, f"{name!r} has {values.size} sums and {len(counted)} counts")
        sums[name], counts[name] = values.reshape(len(counted), -1), counted
    datasets = header.metadata.get(_DATASETS)
    return ImportanceMatrix(
        path,
        tuple(datasets.strings()) if isinstance(datasets, ArrayValue) else (),
        int(header.metadata.get(_CHUNKS, 0)),
        sums,
        counts,
    )


def _read_dat(path: Path) -> ImportanceMatrix:
    """Read the older format: count; each name, calls, values; calls and the text's name at the end.

    The values are means times the number of calls.
    """
    data = path.read_bytes()
    position = 0

    def number(most: int, what: str, least: int = 0) -> int:
        nonlocal position
        if position + 4 > len(data):
            raise _damaged(path, f"it ends in the middle of {what}")
        (value,) = struct.unpack_from("<i", data, position)
        position += 4
        if not least <= value <= most:
            raise _damaged(path, f"{what} is {value}")
        return int(value)

    def take(length: int, what: str) -> bytes:
        nonlocal position
        if position + length > len(data):
            raise _damaged(path, f"it ends in the middle of {what}")
        position += length
        return data[position - length : position]

    sums, counts = {}, {}
    for place in range(number(_MOST_ENTRIES, "the number of entries", 1)):
        what = f"entry {place + 1}"
        length = number(_LONGEST_NAME, f"the length of the name of {what}", 1)
        name = take(length, what).decode(errors="replace")
        calls = number(1 << 30, f"the calls of {name!r}")
        values = np.frombuffer(take(4 * number(_MOST_VALUES, f"{name!r}", 1), repr(name)), "<f4")
        sums[name] = values.reshape(1, -1)
        counts[name] = np.array([max(calls, 1)], np.float32)
    chunks = 0
    datasets: tuple[str, ...] = ()
    if position < len(data):
        chunks = number(1 << 30, "the number of calls")
        length = number(1 << 16, "the length of the text's name")
        datasets = (take(length, "the text's name").decode(errors="replace"),)
    return ImportanceMatrix(path, datasets, chunks, sums, counts)
