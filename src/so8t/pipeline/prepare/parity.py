"""After a conversion: does the GGUF answer as transformers does from the same directory?

Token ids of some 200 texts, and log probabilities of the whole vocabulary after a handful of
prompts. A file of full precision that is further off than rounding explains ends the phase, and
any file whose tokens are others.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from so8t.engines.distributions import ids_and_distributions
from so8t.errors import ModelError
from so8t.models.quantization_cost import quantization_cost
from so8t.models.reference import POSITIONS, missing, reference_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from so8t.models.gguf_write import ConversionResult
    from so8t.models.reference import Reference

    Tell = Callable[[str, int, int], None]

#: Most that a log probability of a file in full precision may be off, in nats.
LIMIT: Final = 0.05
# A file in fewer bits may be off as far as its bits take it; a broken one is this far off, in nats
# of Kullback-Leibler divergence.
_BROKEN: Final = 2.0
_EXACT: Final = ("f32", "f16")
# The most likely tokens: those that an answer is made of. Of the others the rounding of F16 alone
# changes the logarithm by more.
_LIKELY: Final = 20
_NAMED: Final = 3


def held_against_transformers(
    directory: Path, result: ConversionResult, threads: int | None, tell: Tell
) -> dict[str, Any]:
    """Compare a GGUF with the directory that it was made from; return the figures.

    Where transformers cannot be asked, the figure is {"skipped": why}. Raises ModelError, naming
    what differs, when the file does not answer as its original does.
    """
    if reason := missing(directory):
        return {"skipped": reason}
    began = time.monotonic()
    tell("comparing", 0, 2)
    try:
        reference = reference_of(directory, threads)
    except ModelError as error:
        return {"skipped": error.message}
    tell("comparing", 1, 2)
    ids, rows = ids_and_distributions(
        result.path,
        reference.texts,
        reference.prompts,
        reference.rows.shape[-1],
        per_text=POSITIONS,
        threads=threads,
    )
    tell("comparing", 2, 2)
    compared, differing = _tokens(reference, ids, result)
    cost = quantization_cost(reference.rows, rows)
    facts = {
        "log_probability_difference": largest_difference(reference.rows, rows),
        "kl_mean": cost.kl_mean,
        "flips": cost.flips,
        "positions": len(rows),
        "texts": compared,
        "texts_with_other_tokens": len(differing),
        "texts_normalized": reference.normalized,
        "seconds": time.monotonic() - began,
    }
    _judge(directory, result, facts, differing)
    return facts


def largest_difference(expected: NDArray[np.float32], got: NDArray[np.float32]) -> float:
    """Return the largest difference of a log probability among the 20 most likely tokens.

    Shapes (positions, vocabulary); the most likely ones of `expected` count.
    """
    count = min(_LIKELY, expected.shape[-1])
    likely = np.argpartition(expected, -count, axis=-1)[:, -count:]
    off = np.take_along_axis(expected, likely, -1) - np.take_along_axis(got, likely, -1)
    return float(np.abs(off).max())


def _tokens(
    reference: Reference, ids: list[list[int]], result: ConversionResult
) -> tuple[int, list[str]]:
    """Count the texts that are compared, and list those with other tokens.

    Where a caveat of the conversion says how white space at the beginning differs, texts with it
    are left out.
    """
    pairs = [
        (text, wanted == got)
        for text, wanted, got in zip(reference.texts, reference.ids, ids, strict=True)
        if not (result.caveats and text[:1].isspace())
    ]
    return len(pairs), [text for text, equal in pairs if not equal]


def _judge(
    directory: Path, result: ConversionResult, facts: dict[str, Any], differing: list[str]
) -> None:
    hint = (
        "the conversion of this model is wrong; name a llama.cpp checkout (`llama_cpp: DIR`), and "
        "please report the model's name"
    )
    if differing:
        listed = ", ".join(map(repr, differing[:_NAMED]))
        raise ModelError(
            f"{directory}: the GGUF splits {len(differing)} of {facts['texts']} texts into other "
            f"tokens than transformers does: {listed}.",
            hint=hint,
        )
    off = facts["log_probability_difference"]
    if result.quantization in _EXACT and not off <= LIMIT:
        raise ModelError(
            f"{directory}: the GGUF ({result.quantization}) answers otherwise than transformers: a "
            f"log probability is {off:.3g} nats off, where {LIMIT} are allowed.",
            hint=hint,
        )
    if not facts["kl_mean"] <= _BROKEN:
        raise ModelError(
            f"{directory}: the GGUF ({result.quantization}) answers otherwise than transformers: "
            f"the divergence is {facts['kl_mean']:.3g} nats on average.",
            hint=hint,
        )
