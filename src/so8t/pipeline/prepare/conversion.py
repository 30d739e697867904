"""Which converter makes the GGUF of a Hugging Face directory: ours, llama.cpp's, or Ollama."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from so8t.engines.ollama.sources import QUANTIZATIONS
from so8t.errors import ModelError, UnsupportedModelError
from so8t.models.gguf_convert import check_convertible, convert
from so8t.models.llama_cpp_checkout import WRITTEN, check_checkout, convert_with_checkout
from so8t.models.quantize import (
    K_QUANTS,
    ConversionResult,
    llama_quantize_program,
    quantize_gguf,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from so8t.config.schema import Quantization, RunConfig

    Tell = Callable[[str, int, int], None]


def check(directory: Path, quantization: Quantization, config: RunConfig) -> None:
    """Raise now what would be raised after hours: no converter, no program, no such type.

    Raises UnsupportedModelError for a model that nothing configured converts, PrerequisiteError
    without the checkout or llama-quantize, ModelError for a type that Ollama does not make.
    """
    if config.llama_cpp is not None:
        check_checkout(config.llama_cpp)
    try:
        check_convertible(directory)
    except UnsupportedModelError:
        if config.llama_cpp is None:
            if config.engine.kind != "ollama":
                raise
            _check_server_type(directory, quantization)
            return
    if quantization in K_QUANTS and not by_server(quantization, config):
        llama_quantize_program(quantization)


def by_server(quantization: Quantization, config: RunConfig) -> bool:
    """Whether Ollama makes this K-quant from our F16 file, since llama-quantize is not here."""
    return (
        config.engine.kind == "ollama"
        and quantization in K_QUANTS
        and quantization.upper() in QUANTIZATIONS
        and shutil.which("llama-quantize") is None
    )


def _check_server_type(directory: Path, quantization: Quantization) -> None:
    if quantization.upper() not in QUANTIZATIONS:
        raise ModelError(
            f"{directory}: only Ollama can import this model, and it does not make {quantization}.",
            hint=f"choose one of {', '.join(QUANTIZATIONS).lower()}",
        )


def make_gguf(
    directory: Path, out: Path, quantization: Quantization, llama_cpp: Path | None, tell: Tell
) -> ConversionResult:
    """Convert a directory, with llama.cpp's script where ours does not know the model.

    Raises UnsupportedModelError when only Ollama is left.
    """

    def progress(done: int, total: int) -> None:
        tell("converting", done, total)

    try:
        check_convertible(directory)
        ours = True
    except UnsupportedModelError:
        if llama_cpp is None:
            raise
        ours = False

    def once(target: Path, kind: str) -> ConversionResult:
        if ours or llama_cpp is None:
            return convert(directory, target, kind, progress=progress)
        return convert_with_checkout(llama_cpp, directory, target, kind)

    if quantization not in K_QUANTS and (ours or quantization in WRITTEN):
        return once(out, quantization)
    half = out.with_name("model-f16.gguf")
    first = once(half, "f16")
    result = quantize_gguf(half, out, quantization)
    half.unlink()
    return replace(result, converter=first.converter, caveats=first.caveats)
