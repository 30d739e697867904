"""How much disk the checkpoints of a training take, from the headers of the base's files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from so8t.domain.thinking_format import TAGS
from so8t.models.checkpoint_files import read_index

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.config.schema import Finetune

# AdamW keeps two moments of each trained number, and all three are in float32.
_BYTES_A_PARAMETER = 3 * 4
# Random states, counted losses, digests.
_STATE_BYTES = 1 << 20
_BLOCK, _ANGLES = 8, 28
_MATRIX = 2
_ROWS = ("embed_tokens.weight", "lm_head.weight")


def checkpoint_bytes(base: Path, settings: Finetune, *, thinks: bool) -> int:
    """Estimate the bytes of all checkpoints that lie on the disk at once.

    That is one more than `checkpoints_kept`: a new one is whole before the oldest goes. `thinks`:
    the rows of the tags are trained too. Raises ModelError as `read_index` does.
    """
    if settings.steps == 0:
        return 0
    # A search tries up to twice the rank.
    rank = settings.rank * (2 if settings.n_trials else 1)
    parameters = 0
    for name, tensor in read_index(base).items():
        if len(tensor.shape) != _MATRIX:
            continue
        rows, columns = tensor.shape
        if name.removesuffix(".weight").rpartition(".")[2] in settings.targets:
            low_rank = rank * (rows + columns)
            rotations = columns // _BLOCK * _ANGLES
            parameters += rotations if settings.method == "so8" else low_rank
        elif thinks and name.endswith(_ROWS):
            parameters += len(TAGS) * columns
    each = parameters * _BYTES_A_PARAMETER + _STATE_BYTES
    return each * (settings.checkpoints_kept + 1)
