"""Measures what the chosen quantization alone costs, on a small sample of the run's questions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from so8t.engines.distributions import distributions, prompts_of
from so8t.models.gguf_check import inspect_gguf
from so8t.models.quantization_cost import quantization_cost
from so8t.pipeline.prepare.conversion import make_gguf
from so8t.system.files import remove_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from so8t.config.schema import RunConfig
    from so8t.domain.sample import Sample

    Tell = Callable[[str, int, int], None]

QUESTIONS, POSITIONS = 16, 4
"""Questions that are asked, and next tokens of each that are compared."""


def measure(
    config: RunConfig, directory: Path, quantized: Path, samples: Sequence[Sample], tell: Tell
) -> dict[str, Any] | None:
    """Compare a quantized GGUF with F16 of the same weights; the F16 file is removed again.

    Positions are after the prompt and after each of the tokens that F16 finds most likely. None
    where no question fits the context.
    """
    began = time.monotonic()
    threads = config.engine.threads_wanted
    vocabulary = inspect_gguf(quantized).vocabulary_size or 0
    asked = [sample.messages for sample in samples[:QUESTIONS]]
    texts = prompts_of(quantized, asked, threads=threads)
    texts = [text for text in texts if len(text) + POSITIONS <= config.engine.context]
    if not texts:
        return None
    half = quantized.with_name("model-f16-to-compare.gguf")
    try:
        make_gguf(directory, half, "f16", config.llama_cpp, tell)
        tell("measuring", 0, 2)
        options: dict[str, Any] = {"per_text": POSITIONS, "threads": threads}
        full = distributions(half, texts, vocabulary, follow=True, **options)
    finally:
        remove_file(half)
    tell("measuring", 1, 2)
    same = distributions(quantized, full.texts, vocabulary, follow=False, **options)
    tell("measuring", 2, 2)
    found = quantization_cost(full.rows, same.rows).facts()
    return found | {"questions": len(texts), "seconds": time.monotonic() - began}
