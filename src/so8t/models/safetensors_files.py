"""Files of weights, read in blocks of rows, without torch.

A .safetensors file is eight bytes of header length, a JSON header and plain little-endian data.
Reading it directly means that bfloat16, which numpy does not have, never needs torch, and that
only the rows in work are in memory. Source: the format's description in the safetensors project.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from so8t.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_MAX_HEADER: Final = 1 << 28
_WIDTHS: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor: its file, element type, shape (rows first) and place in the file in bytes."""

    name: str
    file: Path
    kind: str
    shape: tuple[int, ...]
    offset: int
    bytes: int

    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """Yield the tensor in blocks of at most `rows` rows, each 2-D (rows, columns).

        A 1-D tensor is one row. Blocks come in the stored type, bfloat16 as its uint16 bits.
        Raises ModelError when the file ends early.
        """
        columns = self.shape[-1]
        count = prod(self.shape) // columns if columns else 0
        width = _WIDTHS[self.kind]
        dtype = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}[self.kind]
        with self.file.open("rb", buffering=0) as handle:
            handle.seek(self.offset)
            for start in range(0, count, rows):
                size = min(rows, count - start)
                block = np.empty((size, columns), dtype)
                view = memoryview(block.reshape(-1).view(np.uint8).data)
                done = 0
                while done < size * columns * width:
                    read = handle.readinto(view[done:])
                    if not read:
                        raise ModelError(
                            f"{self.file}: ends in the middle of {self.name!r}.",
                            hint="download or write the model again",
                        )
                    done += read
                yield block


def check_kind(tensor: StoredTensor) -> None:
    """Raise ModelError for an element type other than F64, F32, F16 and BF16."""
    if tensor.kind not in _WIDTHS:
        raise ModelError(
            f"{tensor.file}: {tensor.name!r} has the element type {tensor.kind}; "
            f"{', '.join(_WIDTHS)} can be converted.",
            hint="save the model unquantized (bfloat16, float16 or float32)",
        )


def as_float32(block: NDArray[Any]) -> NDArray[np.float32]:
    """Turn a block of `StoredTensor.blocks` into float32; uint16 holds the bits of bfloat16."""
    if block.dtype == np.uint16:
        return (block.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return block.astype(np.float32, copy=False)


def read_file(file: Path) -> Iterator[StoredTensor]:
    """List the tensors of one file, without reading any.

    Raises ModelError for a file that is damaged or truncated.
    """
    size = file.stat().st_size

    def damaged(what: str) -> ModelError:
        return ModelError(f"{file}: {what}", hint="download or write the model again")

    with file.open("rb") as handle:
        start = handle.read(8)
        if len(start) < 8:  # noqa: PLR2004 - the length field of the format
            raise damaged("is too short to be a safetensors file.")
        (length,) = struct.unpack("<Q", start)
        if length > min(size - 8, _MAX_HEADER):
            raise damaged(f"claims a header of {length:,} bytes in a file of {size:,}.")
        text = handle.read(length)
    try:
        header = json.loads(text)
        items = [(name, entry) for name, entry in header.items() if name != "__metadata__"]
        entries = [
            (name, str(e["dtype"]), tuple(map(int, e["shape"])), *map(int, e["data_offsets"]))
            for name, e in items
        ]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise damaged(f"its header cannot be read ({error!r}).") from error
    for name, kind, shape, begin, end in entries:
        width = _WIDTHS.get(kind)
        if min(shape, default=1) < 1 or (width and end - begin != prod(shape) * width):
            raise damaged(f"{name!r} has the shape {list(shape)} but {end - begin:,} bytes.")
        if begin < 0 or 8 + length + end > size:
            raise damaged(f"ends before {name!r} does: it is truncated.")
        yield StoredTensor(name, file, kind, shape, 8 + length + begin, end - begin)
