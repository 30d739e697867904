"""Blocks of rows in the types that numpy can make: plain floats, and gguf's own encoders.

They give the same bytes as llama.cpp's, which a test holds them to; K-quants are not among them
(`so8t.models.native_encoder`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from so8t.errors import ModelError
from so8t.models.safetensors_files import as_float32
from so8t.system.gguf import type_sizes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

# Values encoded at a time: about 4 MB of float32, small beside any model and beside the caches
# that make larger blocks slower.
_BLOCK_VALUES: Final = 1 << 20


class Encoder(Protocol):
    """Who turns blocks of rows into a tensor's bytes."""

    def encode(
        self,
        name: str,
        blocks: Iterable[NDArray[Any]],
        kind: int,
        importance: NDArray[np.float32] | None = None,
    ) -> Iterator[bytes | memoryview]:
        """Encode blocks of rows, each 2-D, in the type with number `kind`; yields them in order.

        Raises ModelError, naming the tensor, for values that are not finite or do not fit.
        """

    def close(self) -> None:
        """Give back what it holds."""


class NumpyEncoder:
    """Encodes in this process, one block after the other, without an importance matrix."""

    def encode(
        self,
        name: str,
        blocks: Iterable[NDArray[Any]],
        kind: int,
        importance: NDArray[np.float32] | None = None,
    ) -> Iterator[bytes | memoryview]:
        """Encode blocks of rows, as `Encoder` says."""
        if importance is not None:
            raise ModelError(f"{name!r}: numpy's encoders know no importance matrix.")
        for block in blocks:
            yield encode(name, block, kind)

    def close(self) -> None:
        """Hold nothing."""


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
        raise not_finite(name)
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
        raise not_finite(name)


def not_finite(name: str) -> ModelError:
    """Return the error for weights that are no numbers."""
    return ModelError(
        f"{name!r} holds NaN or infinity: these weights are no working model.",
        hint="for a fine-tuned model, train again with a lower learning rate",
    )


def block_rows(columns: int, multiple: int = 1) -> int:
    """Rows to encode at a time for rows of `columns` values: a multiple of `multiple`."""
    return max(1, _BLOCK_VALUES // (columns * multiple)) * multiple
