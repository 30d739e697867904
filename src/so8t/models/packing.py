"""Several short examples in one row, so that little is padded.

A packed row computes exactly what its examples would alone: positions start anew with each
example, attention stays within one, and no example's first token is predicted from the end of the
one before. So packing changes the time of a step and nothing else; the loss is the same up to the
order of sums. What it costs is a mask of (width, width) for each row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from so8t.errors import ModelError
from so8t.models.training_data import IGNORED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from so8t.models.training_data import Example


@dataclass(frozen=True)
class PackedBatch:
    """Rows of equal width: four lists of (rows, width).

    Attributes:
        ids: token ids, padded on the right.
        labels: what the loss is taken over; IGNORED elsewhere.
        positions: position of each token in its example, from 0.
        segments: number of the token's example in the row, from 1; 0 is padding.

    """

    ids: list[list[int]]
    labels: list[list[int]]
    positions: list[list[int]]
    segments: list[list[int]]


def pack(examples: Sequence[Example], width: int, pad_id: int) -> PackedBatch:
    """Lay examples into as few rows of at most `width` tokens as first-fit decreasing finds.

    No example may be longer than `width`. Equal examples in equal order give equal rows.
    """
    rows: list[list[Example]] = []
    free: list[int] = []
    for example in sorted(examples, key=lambda one: -len(one.ids)):
        size = len(example.ids)
        at = next((number for number, room in enumerate(free) if room >= size), len(rows))
        if at == len(rows):
            rows.append([])
            free.append(width)
        rows[at].append(example)
        free[at] -= size
    longest = max(sum(len(one.ids) for one in row) for row in rows)
    batch = PackedBatch([], [], [], [])
    for row in rows:
        gap = longest - sum(len(one.ids) for one in row)
        batch.ids.append([token for one in row for token in one.ids] + [pad_id] * gap)
        labels = [label for one in row for label in (IGNORED, *one.labels[1:])]
        batch.labels.append(labels + [IGNORED] * gap)
        batch.positions.append([at for one in row for at in range(len(one.ids))] + [0] * gap)
        segments = [number for number, one in enumerate(row, start=1) for _ in one.ids]
        batch.segments.append(segments + [0] * gap)
    return batch


def check_window(config: Any, max_length: int) -> None:
    """Raise ModelError for a model that looks at fewer tokens than a row may have.

    The mask of a packed row knows no sliding window. `config` is transformers'.
    """
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True) and window < max_length:
        raise ModelError(
            f"The model attends to the last {window:,} tokens only, which packed rows of "
            f"{max_length:,} tokens do not keep to.",
            hint=f"set max_length to {window} or less, or packing to false",
        )


def attention_mask(segments: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Make the mask that is added to attention scores: (rows, width) to (rows, 1, width, width).

    0 where a token may look (itself and what is before it in its own example), the lowest number
    of `dtype` elsewhere. Padding looks at padding, since a row that sees nothing gives NaN.
    """
    import torch  # noqa: PLC0415 - the layout above needs none

    width = segments.shape[1]
    same = segments[:, :, None] == segments[:, None, :]
    before = torch.ones(width, width, dtype=torch.bool, device=segments.device).tril()
    mask = torch.zeros(same.shape, dtype=dtype, device=segments.device)
    return mask.masked_fill(~(same & before), torch.finfo(dtype).min)[:, None]
