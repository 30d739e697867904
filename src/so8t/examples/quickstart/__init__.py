"""The quickstart: a small base model, data to fine-tune it with, and a suite of held-out items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Quickstart:
    """Where the quickstart's files are.

    Attributes:
        base: Hugging Face directory of A.
        train: chat JSONL that B is fine-tuned with.
        suite: JSONL of held-out items.

    """

    base: Path
    train: Path
    suite: Path


def paths() -> Quickstart:
    """Return the paths of the files that ship with the package."""
    here = Path(__file__).parent
    return Quickstart(here / "base", here / "train.jsonl", here / "suite.jsonl")
