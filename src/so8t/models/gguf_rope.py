"""Rotary position embeddings: what config.json says, as llama.cpp wants to hear it.

transformers 5 writes `rope_parameters`, older versions `rope_theta` and `rope_scaling`; both are
read. Formulas: transformers' `modeling_rope_utils.py`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from so8t.errors import ModelError, UnsupportedModelError
from so8t.models.gguf_tokens import ways_out
from so8t.system.gguf import GGUFWriter, ValueType

if TYPE_CHECKING:
    from pathlib import Path

_DEFAULT_THETA: Final = 10_000.0
# What llama.cpp does whatever a file says.
_YARN: Final = {"beta_fast": 32.0, "beta_slow": 1.0, "truncate": True}


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary embeddings of a model.

    Attributes:
        theta: base of the frequencies.
        dimensions: how many numbers of each head are rotated.
        scaling: llama.cpp's name of the scaling ("none", "linear", "longrope", "yarn").
        factor: divisor of the frequencies for "linear" and "yarn".
        original_context: tokens that the model was first trained for; None if not said.
        attention_factor: multiplies cosine and sine (longrope).
        tensors: GGUF name -> divisors of the frequencies, float32 (dimensions / 2,).

    """

    theta: float
    dimensions: int
    scaling: str = "none"
    factor: float | None = None
    original_context: int | None = None
    attention_factor: float | None = None
    tensors: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def caveats(self) -> list[str]:
        """What llama.cpp does otherwise than transformers."""
        if self.scaling != "longrope":
            return []
        note = (
            "llama.cpp switches to the long-context rotation as soon as a slot has more than "
            f"{self.original_context:,} tokens of context, the original only when a text is that "
            f"long: give slots at most {self.original_context:,} tokens unless texts are longer"
        )
        return [note]

    def write(self, writer: GGUFWriter, prefix: str) -> None:
        """Set the metadata; the tensors are written with the others."""
        writer.add(f"{prefix}.rope.dimension_count", ValueType.UINT32, self.dimensions)
        writer.add(f"{prefix}.rope.freq_base", ValueType.FLOAT32, self.theta)
        scaling = f"{prefix}.rope.scaling"
        if self.scaling != "none":
            writer.add(f"{scaling}.type", ValueType.STRING, self.scaling)
        if self.factor is not None:
            writer.add(f"{scaling}.factor", ValueType.FLOAT32, self.factor)
        if self.original_context is not None:
            writer.add(
                f"{scaling}.original_context_length", ValueType.UINT32, self.original_context
            )
        if self.attention_factor is not None:
            writer.add(f"{scaling}.attn_factor", ValueType.FLOAT32, self.attention_factor)


def read_rope(
    path: Path, config: dict[str, Any], head_width: int, context: int, *, partial: bool
) -> Rope:
    """Read the rotary embeddings from config.json.

    `partial` says whether the family may rotate a part of each head only. Raises ModelError for
    scalings that llama.cpp does not have.
    """
    settings = _settings(config)
    theta = _number(path, settings, "rope_theta", _DEFAULT_THETA)
    share = _number(path, settings, "partial_rotary_factor", 1.0)
    dimensions = int(head_width * share)
    if dimensions != head_width and not (partial and 0 < dimensions < head_width):
        raise UnsupportedModelError(
            f"{path}: partial_rotary_factor {share} is not supported for this family.",
            hint=ways_out(),
        )
    kind = settings.get("rope_type", settings.get("type")) or "default"
    original = settings.get("original_max_position_embeddings")
    first = int(original) if isinstance(original, int) and original > 0 else context
    if kind == "default":
        return Rope(theta, dimensions, original_context=first if partial else None)
    if kind == "linear":
        factor = _number(path, settings, "factor")
        return Rope(theta, dimensions, "linear", factor)
    if kind == "llama3":
        factors = _llama3_factors(path, settings, theta, dimensions, first)
        return Rope(theta, dimensions, tensors={"rope_freqs.weight": factors})
    if kind in {"longrope", "su"}:
        return _longrope(path, settings, theta, dimensions, (first, context))
    if kind == "yarn" and not {"mscale", "mscale_all_dim", "attention_factor"} & settings.keys():
        factor = _number(path, settings, "factor")
        given = {name: settings.get(name, usual) for name, usual in _YARN.items()}
        if given != _YARN:
            listed = ", ".join(f"{name} is {json.dumps(value)}" for name, value in given.items())
            raise UnsupportedModelError(
                f"{path}: {listed} in its yarn; llama.cpp mixes between 32 turns and 1, and rounds "
                "these limits.",
                hint=ways_out(),
            )
        return Rope(theta, dimensions, "yarn", factor, first)
    raise UnsupportedModelError(
        f"{path}: the rope scaling {kind!r} cannot be converted here; "
        "default, linear, llama3, longrope and yarn can.",
        hint=ways_out(),
    )


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """Merge the places where rotary settings are found; the innermost counts."""
    merged: dict[str, Any] = {}
    for key in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings"):
        if config.get(key) is not None:
            merged[key] = config[key]
    for key in ("rope_scaling", "rope_parameters"):
        inner = config.get(key)
        if isinstance(inner, dict):
            merged.update({name: value for name, value in inner.items() if value is not None})
    return merged


def _number(path: Path, settings: dict[str, Any], key: str, default: float | None = None) -> float:
    value = settings.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ModelError(
            f"{path}: {key} of the rotary embeddings is {value!r}.",
            hint="download or write the model again",
        )
    return float(value)


def _llama3_factors(
    path: Path, settings: dict[str, Any], theta: float, dimensions: int, original: int
) -> NDArray[np.float32]:
    """Divisors of Llama 3.1's scaling: none for high frequencies, `factor` for low ones."""
    factor = _number(path, settings, "factor")
    low = _number(path, settings, "low_freq_factor")
    high = _number(path, settings, "high_freq_factor")
    if high <= low:
        raise UnsupportedModelError(
            f"{path}: high_freq_factor is not above low_freq_factor.", hint=ways_out()
        )
    frequency = 1.0 / theta ** (np.arange(0, dimensions, 2, dtype=np.float64) / dimensions)
    wavelength = 2 * math.pi / frequency
    smooth = (original / wavelength - low) / (high - low)
    between = 1.0 / ((1 - smooth) / factor + smooth)
    divisors = np.where(wavelength > original / low, factor, between)
    return np.where(wavelength < original / high, 1.0, divisors).astype(np.float32)


def _longrope(
    path: Path,
    settings: dict[str, Any],
    theta: float,
    dimensions: int,
    contexts: tuple[int, int],
) -> Rope:
    original, context = contexts
    tensors = {}
    for key in ("long", "short"):
        values = settings.get(f"{key}_factor")
        if not isinstance(values, list) or len(values) != dimensions // 2:
            found = len(values) if isinstance(values, list) else "no"
            raise ModelError(
                f"{path}: {key}_factor has {found} values where {dimensions // 2} are needed.",
                hint="download or write the model again",
            )
        tensors[f"rope_factors_{key}.weight"] = np.asarray(values, np.float32)
    factor = settings.get("factor") or context / original
    attention = settings.get("attention_factor")
    if attention is None:
        attention = 1.0
        if factor > 1:
            attention = math.sqrt(1 + math.log(factor) / math.log(original))
    return Rope(
        theta,
        dimensions,
        "longrope",
        original_context=original,
        attention_factor=float(attention),
        tensors=tensors,
    )
