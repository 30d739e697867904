"""An importance matrix of a model and a text: `imatrix: auto`.

The model reads the text in a child process with torch; what goes into each of its matrices is
squared and summed by column. Pieces of 512 tokens, at most 64 of them: more changes little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from so8t.errors import PrerequisiteError
from so8t.models.child_work import run_in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

CHUNK: Final = 512
"""Tokens in a piece of text, as llama-imatrix takes them."""
MOST_CHUNKS: Final = 64
LEAST_TOKENS: Final = 256
"""With fewer tokens than this the sums would be those of a sentence, not of the model."""

_WORKER = "so8t.models.calibration_worker"


def make_imatrix(
    directory: Path,
    out: Path,
    *,
    text: Path | None,
    data: Sequence[Path] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Compute the importance matrix of a Hugging Face directory and write it to `out`.

    The text is `text` (a plain file in UTF-8), else the conversations of the JSONL files `data`
    as the model's own chat template writes them. `progress` is called with (pieces read, all
    pieces). Raises DataError for a text that is too short or cannot be read, ModelError for
    weights that give no numbers.
    """
    for file in (text,) if text is not None else data:
        if not file.is_file():
            raise PrerequisiteError(
                f"the calibration text {file} is not there.",
                hint="fix `calibration` in the config",
            )
    request = {
        "directory": str(directory),
        "out": str(out),
        "text": None if text is None else str(text),
        "data": [str(file) for file in data],
    }
    run_in_child(_WORKER, request, what="computing the importance matrix", progress=progress)
    return out
