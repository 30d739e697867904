"""The GGUF container: a strict reader that believes nothing, and a writer that streams.

Layout (little endian, version 3): magic, version, tensor count, key count; keys with typed
values; tensor names with shape, type and offset; padding; tensor data, each tensor padded to the
alignment. Source: the GGUF specification in ggml's documentation, and the checks that llama.cpp
itself makes when it loads a file.

Shapes here are in the order of numpy (rows first); a file stores them the other way round.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from io import BytesIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from so8t.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAGIC: Final = b"GGUF"
VERSION: Final = 3
ALIGNMENT: Final = 32

# A real header is below 50 MB even with 250,000 tokens and their merges; a damaged length field
# must not make us read (or allocate) gigabytes.
_MAX_HEADER: Final = 1 << 28
_MAX_KEY: Final = 1 << 16
_MAX_DIMENSIONS: Final = 4
_MAX_NAME: Final = 64
_ALIGNMENTS: Final = {1 << power for power in range(3, 17)}
_READ_AHEAD: Final = 1 << 20

AGAIN: Final = "download or convert the model again"


class ValueType(IntEnum):
    """Types of metadata values."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


_FORMATS: Final = {
    ValueType.UINT8: "<B",
    ValueType.INT8: "<b",
    ValueType.UINT16: "<H",
    ValueType.INT16: "<h",
    ValueType.UINT32: "<I",
    ValueType.INT32: "<i",
    ValueType.FLOAT32: "<f",
    ValueType.BOOL: "<?",
    ValueType.UINT64: "<Q",
    ValueType.INT64: "<q",
    ValueType.FLOAT64: "<d",
}


@cache
def type_sizes() -> dict[int, tuple[str, int, int]]:
    """Tensor types: number -> (name, values in a block, bytes of a block)."""
    from gguf.constants import (  # noqa: PLC0415 - costs 80 ms, which `so8t --help` need not pay
        GGML_QUANT_SIZES,
    )

    return {int(kind): (kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items()}


@cache
def type_numbers() -> dict[str, int]:
    """Tensor types: name, such as "Q8_0" -> number."""
    return {name: number for number, (name, _, _) in type_sizes().items()}


def tensor_bytes(shape: Sequence[int], kind: int) -> int:
    """Bytes that a tensor of `shape` (rows first) takes in the type with number `kind`."""
    _, block, size = type_sizes()[kind]
    return prod(shape) // block * size


def padded(length: int, alignment: int = ALIGNMENT) -> int:
    """Round a length in bytes up to the alignment."""
    return -(-length // alignment) * alignment


@dataclass(frozen=True, slots=True)
class ArrayValue:
    """An array of metadata, not decoded: its element type, length and bytes."""

    kind: ValueType
    count: int
    raw: bytes

    def strings(self) -> list[str]:
        """Decode an array of strings; bytes that are no UTF-8 become U+FFFD."""
        out, position = [], 0
        for _ in range(self.count):
            (length,) = struct.unpack_from("<Q", self.raw, position)
            position += 8
            out.append(self.raw[position : position + length].decode(errors="replace"))
            position += length
        return out

    def numbers(self) -> list[Any]:
        """Decode an array of numbers or booleans."""
        code = _FORMATS[self.kind][1]
        return list(struct.unpack(f"<{self.count}{code}", self.raw))


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a file: shape rows first, type number, place and length in bytes."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """Everything in a file but the tensor data. Offsets count from the start of the file."""

    version: int
    metadata: dict[str, Any]
    raw: dict[str, bytes] = field(repr=False)
    tensors: tuple[TensorEntry, ...] = field(repr=False)
    size: int


class _Cursor:
    """Reads forward; every read is checked against the end of the file before it happens."""

    def __init__(self, path: Path, handle: BinaryIO, size: int) -> None:
        self.path = path
        self.size = size
        self.position = 0
        self.buffer = bytearray()
        self._handle = handle

    @classmethod
    def over(cls, data: bytes) -> _Cursor:
        """Read bytes that are in memory already."""
        return cls(Path(), BytesIO(data), len(data))

    def fail(self, what: str, hint: str = AGAIN) -> ModelError:
        return ModelError(f"{self.path}: {what}", hint=hint)

    def ensure(self, length: int, what: str) -> None:
        """Have `length` more bytes in the buffer, or raise ModelError."""
        end = self.position + length
        if end > self.size:
            raise self.fail(
                f"the file ends at byte {self.size:,}, in the middle of {what}: "
                "it is truncated or damaged."
            )
        if end > _MAX_HEADER:
            raise self.fail(
                f"{what} claims to end at byte {end:,}, which no real header reaches: "
                "the file is damaged."
            )
        while len(self.buffer) < end:
            block = self._handle.read(max(_READ_AHEAD, end - len(self.buffer)))
            if not block:
                raise self.fail(f"the file became shorter while it was read, in {what}.")
            self.buffer += block

    def take(self, length: int, what: str) -> bytes:
        self.ensure(length, what)
        start = self.position
        self.position += length
        return bytes(self.buffer[start : self.position])

    def number(self, layout: str, what: str) -> Any:
        size = struct.calcsize(layout)
        self.ensure(size, what)
        (value,) = struct.unpack_from(layout, self.buffer, self.position)
        self.position += size
        return value

    def skip_strings(self, count: int, what: str) -> None:
        """Pass over strings, checked like everything else; vocabularies have 300,000 of them."""
        unpack, buffer = struct.Struct("<Q").unpack_from, self.buffer
        position, have = self.position, len(buffer)
        for _ in range(count):
            if position + 8 > have:
                self.position = position
                self.ensure(8, what)
                have = len(buffer)
            (length,) = unpack(buffer, position)
            position += 8 + length
            if position > have:
                self.position = position - length
                self.ensure(length, what)
                have = len(buffer)
        self.position = position

    def text(self, what: str, limit: int = _MAX_HEADER) -> str:
        length = self.number("<Q", what)
        if length > limit:
            raise self.fail(f"{what} claims {length:,} bytes: the file is damaged.")
        try:
            return self.take(length, what).decode()
        except UnicodeDecodeError:
            raise self.fail(f"{what} is no UTF-8 text: the file is damaged.") from None


def read_header(path: Path) -> GGUFHeader:
    """Read and check a GGUF file's header; the tensor data is not read.

    Raises ModelError, with the cause and what to do, for anything that is no whole GGUF file of
    version 2 or 3. Takes time and memory in proportion to the header, at most 256 MiB of it.
    """
    if not path.exists():
        raise ModelError(f"{path}: there is no such file.", hint="check the path in the config")
    if not path.is_file():
        raise ModelError(
            f"{path}: this is no file.",
            hint="a directory with config.json and weights is named with `hf:`, not `gguf:`",
        )
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            return _read(_Cursor(path, handle, size))
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read: {error.strerror or error}.",
            hint="check the file's permissions and the disk",
        ) from error


def _read(cursor: _Cursor) -> GGUFHeader:
    version = _preamble(cursor)
    tensor_count = cursor.number("<Q", "the tensor count")
    key_count = cursor.number("<Q", "the key count")
    left = cursor.size - cursor.position
    # The smallest key takes 13 bytes and the smallest tensor entry 32.
    if key_count * 13 + tensor_count * 32 > left:
        raise cursor.fail(
            f"claims {key_count:,} keys and {tensor_count:,} tensors, more than fit in its "
            f"{cursor.size:,} bytes: it is truncated or damaged."
        )
    metadata: dict[str, Any] = {}
    raw: dict[str, bytes] = {}
    for index in range(key_count):
        key = cursor.text(f"key {index + 1} of {key_count}", _MAX_KEY)
        if key in metadata:
            raise cursor.fail(f"the key {key!r} is there twice: the file is damaged.")
        start = cursor.position
        metadata[key] = _value(cursor, f"the value of {key!r}")
        raw[key] = bytes(cursor.buffer[start : cursor.position])
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if alignment not in _ALIGNMENTS:
        raise cursor.fail(f"general.alignment is {alignment!r}, no power of two from 8 to 65,536.")
    entries = [_tensor(cursor, f"tensor {i + 1} of {tensor_count}") for i in range(tensor_count)]
    tensors = _place(cursor, entries, alignment)
    return GGUFHeader(version, metadata, raw, tensors, cursor.size)


def _preamble(cursor: _Cursor) -> int:
    if cursor.size == 0:
        raise cursor.fail("the file is empty.")
    start = cursor.take(min(4, cursor.size), "the magic number")
    if start != MAGIC:
        raise cursor.fail(
            f"begins with {start!r}, not with {MAGIC!r}: this is no GGUF file.",
            "name a .gguf file, or the directory of a Hugging Face model with `hf:`",
        )
    version: int = cursor.number("<I", "the version")
    if version and version & 0xFFFF == 0:
        raise cursor.fail(
            "is a big-endian GGUF file, which llama.cpp cannot load on this machine.",
            "get the little-endian file of this model",
        )
    if version not in {2, 3}:
        raise cursor.fail(
            f"has GGUF version {version}; versions 2 and 3 can be loaded.",
            AGAIN if version > VERSION + 1 else f"{AGAIN} with a current llama.cpp",
        )
    return version


def _value(cursor: _Cursor, what: str) -> Any:
    number = cursor.number("<I", what)
    if number == ValueType.ARRAY:
        return _array(cursor, what)
    if number == ValueType.STRING:
        return cursor.text(what)
    layout = _FORMATS.get(number)
    if layout is None:
        raise cursor.fail(f"{what} has the unknown type {number}: the file is damaged.")
    return cursor.number(layout, what)


def _array(cursor: _Cursor, what: str) -> ArrayValue:
    number = cursor.number("<I", what)
    count = cursor.number("<Q", what)
    start = cursor.position
    if number == ValueType.STRING:
        if count * 8 > cursor.size - start:
            raise cursor.fail(f"{what} claims {count:,} strings, more than fit in the file.")
        cursor.skip_strings(count, what)
    elif number in _FORMATS:
        length = count * struct.calcsize(_FORMATS[ValueType(number)])
        cursor.ensure(length, what)
        cursor.position += length
    else:
        raise cursor.fail(f"{what} is an array of type {number}, which llama.cpp does not read.")
    return ArrayValue(ValueType(number), count, bytes(cursor.buffer[start : cursor.position]))


def _tensor(cursor: _Cursor, what: str) -> tuple[str, tuple[int, ...], int, int]:
    name = cursor.text(f"the name of {what}", _MAX_NAME - 1)
    dimensions = cursor.number("<I", f"the shape of {name!r}")
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise cursor.fail(f"{name!r} has {dimensions} dimensions: the file is damaged.")
    shape = tuple(
        reversed([cursor.number("<Q", f"the shape of {name!r}") for _ in range(dimensions)])
    )
    kind = cursor.number("<I", f"the type of {name!r}")
    offset = cursor.number("<Q", f"the offset of {name!r}")
    if kind not in type_sizes():
        raise cursor.fail(
            f"{name!r} has the unknown tensor type {kind}.",
            f"{AGAIN}, or update so8t if the type is new",
        )
    type_name, block, _ = type_sizes()[kind]
    if min(shape) < 1 or prod(shape) >= 1 << 62:
        raise cursor.fail(f"{name!r} claims the shape {shape}: the file is damaged.")
    if shape[-1] % block:
        raise cursor.fail(
            f"{name!r} has rows of {shape[-1]} values, but {type_name} packs {block}."
        )
    return name, shape, kind, offset


def _place(
    cursor: _Cursor, entries: list[tuple[str, tuple[int, ...], int, int]], alignment: int
) -> tuple[TensorEntry, ...]:
    start = padded(cursor.position, alignment)
    expected = 0
    tensors: dict[str, TensorEntry] = {}
    for name, shape, kind, offset in entries:
        if name in tensors:
            raise cursor.fail(f"the tensor {name!r} is there twice: the file is damaged.")
        if offset != expected:
            raise cursor.fail(
                f"{name!r} claims to begin at {offset:,} where {expected:,} follows from the "
                "tensors before it: the file is damaged."
            )
        length = tensor_bytes(shape, kind)
        if start + offset + length > cursor.size:
            raise cursor.fail(
                f"the data of {name!r} ends at byte {start + offset + length:,}, but the file at "
                f"{cursor.size:,}: it is truncated.",
                "the download or the conversion was cut off; " + AGAIN,
            )
        tensors[name] = TensorEntry(name, shape, kind, start + offset, length)
        expected = padded(offset + length, alignment)
    return tuple(tensors.values())


class GGUFWriter:
    """Collects metadata and tensor descriptions, then writes tensor data as it comes.

    Unlike a writer that holds whole tensors, this one needs memory for one block of rows only.
    """

    def __init__(self) -> None:
        self._metadata: dict[str, bytes] = {}
        self._tensors: dict[str, tuple[tuple[int, ...], int]] = {}

    def add(self, key: str, kind: ValueType, value: Any) -> None:
        """Set a key to one value of the given type. Setting it again replaces it."""
        self._metadata[key] = struct.pack("<I", kind) + _pack(kind, value)

    def add_array(self, key: str, kind: ValueType, values: Sequence[Any]) -> None:
        """Set a key to an array."""
        if kind is ValueType.STRING:
            body = b"".join(_pack(kind, value) for value in values)
        else:
            body = struct.pack(f"<{len(values)}{_FORMATS[kind][1]}", *values)
        head = struct.pack("<IIQ", ValueType.ARRAY, kind, len(values))
        self._metadata[key] = head + body

    def add_raw(self, raw: Mapping[str, bytes]) -> None:
        """Take over keys from `GGUFHeader.raw`, byte for byte."""
        self._metadata.update(raw)

    def add_tensor(self, name: str, shape: Sequence[int], kind: int) -> None:
        """Announce a tensor; data must be written in the order of announcement."""
        self._tensors[name] = (tuple(shape), kind)

    @property
    def metadata(self) -> dict[str, bytes]:
        """Keys with their encoded values, as `GGUFHeader.raw` has them."""
        return dict(self._metadata)

    def values(self) -> dict[str, Any]:
        """Keys with the values that a reader will find."""
        return {
            key: _value(_Cursor.over(raw), f"the value of {key!r}")
            for key, raw in self._metadata.items()
            if not key.startswith("tokenizer.")
        }

    def header(self) -> bytes:
        """Everything before the tensor data, padding included."""
        out = bytearray(MAGIC)
        out += struct.pack("<IQQ", VERSION, len(self._tensors), len(self._metadata))
        for key, value in self._metadata.items():
            out += _pack(ValueType.STRING, key) + value
        offset = 0
        for name, (shape, kind) in self._tensors.items():
            out += _pack(ValueType.STRING, name) + struct.pack("<I", len(shape))
            out += struct.pack(f"<{len(shape)}Q", *reversed(shape))
            out += struct.pack("<IQ", kind, offset)
            offset += padded(tensor_bytes(shape, kind))
        return bytes(out) + bytes(padded(len(out)) - len(out))


def _pack(kind: ValueType, value: Any) -> bytes:
    if kind is ValueType.STRING:
        data = value.encode() if isinstance(value, str) else bytes(value)
        return struct.pack("<Q", len(data)) + data
    return struct.pack(_FORMATS[kind], value)
