"""What transformers itself says of a directory: token ids of texts, and log probabilities.

A GGUF is held against this after it was made. In a child process, in float32 on the CPU, from
weights that are as they lie in the directory.
"""

from __future__ import annotations

import importlib.util
import tempfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

import numpy as np
import psutil
from numpy.typing import NDArray

from so8t.models.checkpoint_files import read_index
from so8t.models.child_work import run_in_child
from so8t.models.tokenizer_probe import probe_texts

WORKER: Final = "so8t.models.reference_worker"
#: Texts after whose tokens the next token's distribution is compared.
PROMPTS: Final = (
    "The capital of France is",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "日本の首都は東京です。富士山は日本で一番",
    "Question: 17 + 25 = ?\nAnswer:",
    "It's 2026, isn't it? 😀 Let's",
    '{"name": "Ada", "languages": ["日本語", "English"], "age":',
)
POSITIONS: Final = 2
"""Positions of each prompt at which distributions are compared: its last ones."""
_STRIDE: Final = 61
_FLOAT: Final = 4
# What loading takes beside the weights themselves.
_SPARE: Final = 1.3


@dataclass(frozen=True, slots=True)
class Reference:
    """What transformers says.

    Attributes:
        texts: texts, those of `PROMPTS` first.
        ids: their token ids, special tokens included.
        prompts: ids of the prompts that have enough tokens.
        rows: log probabilities, float32 (prompts * POSITIONS, vocabulary).
        normalized: how many texts were left out because the tokenizer brings them to NFC first,
            for which GGUF has no place.

    """

    texts: list[str]
    ids: list[list[int]]
    prompts: list[list[int]]
    rows: NDArray[np.float32]
    normalized: int


def wanted_texts() -> list[str]:
    """Return the texts whose tokens are compared."""
    return [*PROMPTS, *probe_texts()[::_STRIDE]]


def missing(directory: Path) -> str | None:
    """Say why transformers cannot be asked here; None where it can."""
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed"
    needed = _SPARE * _FLOAT * sum(prod(one.shape) for one in read_index(directory).values())
    free = psutil.virtual_memory().available
    if needed > free:
        return f"it needs {needed / 1e9:.1f} GB of memory in float32, and {free / 1e9:.1f} are free"
    return None


def reference_of(directory: Path, threads: int | None) -> Reference:
    """Ask transformers. Raises ModelError for a directory that it cannot load."""
    with tempfile.TemporaryDirectory(prefix="so8t-") as place:
        out = Path(place, "rows.f32")
        request = {"directory": str(directory), "out": str(out), "threads": threads}
        what = "holding the GGUF against transformers"
        found = run_in_child(WORKER, request, what=what)
        rows = np.fromfile(out, np.float32).reshape(-1, found.pop("vocabulary"))
    return Reference(rows=rows, **found)
