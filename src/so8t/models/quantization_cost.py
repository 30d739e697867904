"""What quantization alone costs: how far a quantized model's expectations are from F16's."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class QuantizationCost:
    """Two models of the same weights in different types, at the same positions.

    Attributes:
        positions: how many next tokens were compared.
        kl_mean, kl_largest: Kullback-Leibler divergence from F16 to the quantized model over the
            whole vocabulary, in nats.
        flips: positions where the most likely token is another.

    """

    positions: int
    kl_mean: float
    kl_largest: float
    flips: int

    def facts(self) -> dict[str, Any]:
        """Return the figures as plain data for the journal."""
        return asdict(self)


def quantization_cost(
    full: NDArray[np.float32], quantized: NDArray[np.float32]
) -> QuantizationCost:
    """Compare log probabilities of shape (positions, vocabulary).

    Each row is normalized first, since what the engine tells is rounded.
    """
    p, q = _normalized(full), _normalized(quantized)
    divergences = (np.exp(p) * (p - q)).sum(axis=1)
    return QuantizationCost(
        positions=len(p),
        kl_mean=float(divergences.mean()),
        kl_largest=float(divergences.max()),
        flips=int((p.argmax(axis=1) != q.argmax(axis=1)).sum()),
    )


def _normalized(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = rows.astype(np.float64)
    top = exact.max(axis=1, keepdims=True)
    total: NDArray[np.float64] = top + np.log(np.exp(exact - top).sum(axis=1, keepdims=True))
    return exact - total
