"""PET: a penalty on second differences of hidden states along the sequence.

Hidden states that move evenly from token to token cost nothing; jerks cost their square. The
weight grows in three phases over the training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PHASES = ((0.0, 0.01), (0.2, 0.05), (0.6, 0.1))
"""(share of the steps at which a phase begins, weight of the penalty in it)."""


def weight_at(step: int, steps: int) -> float:
    """Return the weight of the penalty in step `step` (from 0) of `steps`."""
    return next(weight for begins, weight in reversed(PHASES) if step >= begins * steps)


def weights(done: int, steps: int) -> list[float]:
    """Return the weights that the penalty had in the first `done` of `steps` steps, in order."""
    return list(dict.fromkeys(weight_at(step, steps) for step in range(done)))


def triples(segments: torch.Tensor) -> torch.Tensor:
    """Mark three tokens in a row of one example: (batch, length) to (batch, length - 2)."""
    return (segments[:, 2:] == segments[:, :-2]) & (segments[:, 2:] > 0)


def second_differences(hidden: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
    """Sum over all triples of tokens of the mean over the width of (h[t+1] - 2 h[t] + h[t-1])^2.

    Args:
        hidden: (batch, length, width).
        segments: (batch, length), number of the token's example in the row, 0 for padding; a
            padding mask is the case of one example a row.

    Returns:
        A scalar in float32. Divide by the number of triples of the whole batch for their mean:
        summed, the parts of a batch add up to what the batch gives at once.

    """
    states = hidden.float()
    jerk = states[:, 2:] - 2 * states[:, 1:-1] + states[:, :-2]
    each = jerk.square().mean(dim=-1)
    return (each * triples(segments)).sum()
