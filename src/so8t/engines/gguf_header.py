"""What a GGUF file says about itself, read without loading it.

llama.cpp reports a file that it cannot use with one sentence for every cause. Reading the header
first, in pure Python, lets us name the cause before any process is started.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from so8t.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    Scalar = int | float | bool | str

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_FORMATS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_LONGEST_STRING = 1 << 26
_CACHE_BYTES = 2  # llama.cpp keeps keys and values in 16 bits


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """The metadata of a GGUF file. Arrays (vocabulary, merges) are left out."""

    version: int
    tensors: int
    metadata: Mapping[str, Scalar]

    @property
    def architecture(self) -> str:
        """Such as `llama` or `qwen2`; empty where the file does not say."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def chat_template(self) -> str | None:
        """The Jinja chat template, or None."""
        template = self.metadata.get("tokenizer.chat_template")
        return str(template) if template else None

    @property
    def template_digest(self) -> str | None:
        """SHA-256 of the chat template, as `sha256:<hex>`, or None."""
        if self.chat_template is None:
            return None
        return f"sha256:{hashlib.sha256(self.chat_template.encode()).hexdigest()}"

    @property
    def trained_context(self) -> int | None:
        """Tokens of context that the model was trained for."""
        return self._number("context_length")

    @property
    def cache_bytes_per_token(self) -> int | None:
        """Bytes of key and value cache for one token of context; None where it cannot be told."""
        layers, heads = self._number("block_count"), self._number("attention.head_count")
        width = self._number("embedding_length")
        if not layers or not heads or not width:
            return None
        head = width // heads
        key = self._number("attention.key_length") or head
        value = self._number("attention.value_length") or head
        shared = self._number("attention.head_count_kv") or heads
        return layers * shared * (key + value) * _CACHE_BYTES

    def _number(self, key: str) -> int | None:
        value = self.metadata.get(f"{self.architecture}.{key}")
        return value if isinstance(value, int) else None


def read_header(path: Path) -> GGUFHeader:
    """Read the header of a GGUF file.

    Raises ModelError for a file that is absent, is no GGUF, or ends inside its header.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path)
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(
            f"There is no model file {path}.", hint="check the path, or prepare the model again."
        ) from None
    except IsADirectoryError:
        raise ModelError(
            f"{path} is a directory, and the embedded engine loads a GGUF file.",
            hint="name the .gguf file inside, or let the pipeline convert the directory.",
        ) from None
    except PermissionError:
        raise ModelError(
            f"The model file {path} cannot be read: permission denied.",
            hint="give this user the right to read it.",
        ) from None
    except (EOFError, struct.error, UnicodeDecodeError, KeyError):
        raise ModelError(
            f"The GGUF file {path} is damaged: its header ends early or makes no sense.",
            hint="copy, download or convert it again.",
        ) from None


def _read(file: BinaryIO, path: Path) -> GGUFHeader:
    magic = file.read(4)
    if magic != _MAGIC:
        found = "it is empty" if not magic else f"it begins with {magic!r} instead of {_MAGIC!r}"
        raise ModelError(
            f"{path} is no GGUF file: {found}.",
            hint="name a .gguf file, or let the pipeline convert a model directory.",
        )
    version, tensors, pairs = struct.unpack("<IQQ", _exactly(file, 20))
    if version not in _VERSIONS:
        raise ModelError(
            f"{path} has GGUF version {version}; versions {_VERSIONS} can be read.",
            hint="convert the model again with a current converter.",
        )
    end = os.fstat(file.fileno()).st_size
    metadata: dict[str, Scalar] = {}
    for _ in range(pairs):
        key = _string(file)
        (kind,) = struct.unpack("<I", _exactly(file, 4))
        if kind == _ARRAY:
            _skip_array(file, end)
        else:
            metadata[key] = _string(file) if kind == _STRING else _scalar(file, kind)
    return GGUFHeader(version, tensors, metadata)


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError
    return data


def _string(file: BinaryIO) -> str:
    (size,) = struct.unpack("<Q", _exactly(file, 8))
    if size > _LONGEST_STRING:
        raise EOFError
    return _exactly(file, size).decode()


def _scalar(file: BinaryIO, kind: int) -> Scalar:
    form = _FORMATS[kind]
    value: int | float | bool = struct.unpack(form, _exactly(file, struct.calcsize(form)))[0]
    return value


def _skip_array(file: BinaryIO, end: int) -> None:
    kind, count = struct.unpack("<IQ", _exactly(file, 12))
    if kind == _STRING:
        for _ in range(count):
            (size,) = struct.unpack("<Q", _exactly(file, 8))
            _skip(file, size, end)
    else:
        # llama.cpp knows no arrays of arrays, so their kind is damage like any unknown one.
        _skip(file, struct.calcsize(_FORMATS[kind]) * count, end)


def _skip(file: BinaryIO, size: int, end: int) -> None:
    # No file system seeks to where a damaged length may point. Past the end is fine: the next
    # read finds nothing there.
    if size > end:
        raise EOFError
    file.seek(size, 1)
