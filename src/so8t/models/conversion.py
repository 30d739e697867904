"""Conversions with ggml's own encoders, in a child process.

Where the installed xllamacpp exports no encoders (its Windows wheel), numpy makes what it can in
this process, and `llama-quantize` the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from so8t.models.child_work import run_in_child
from so8t.models.gguf_convert import convert
from so8t.models.gguf_write import ConversionResult
from so8t.models.native_encoder import encoders_here
from so8t.models.quantize import llama_quantize_program, quantize_gguf
from so8t.models.tensor_types import FLOATS, NATIVE_ONLY, Fallback, check_quantization

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Progress = Callable[[int, int], None]

_WORKER = "so8t.models.conversion_worker"


def check_encoder(quantization: str, *, imatrix: bool = False) -> None:
    """Raise PrerequisiteError where nothing installed encodes this quantization.

    Raises ModelError for one that is unknown.
    """
    check_quantization(quantization)
    if (quantization in NATIVE_ONLY or imatrix) and not encoders_here():
        llama_quantize_program(quantization)


def makes_directly(quantization: str) -> bool:
    """Whether `convert_directory` makes this quantization in one pass, without a file between."""
    return quantization not in NATIVE_ONLY or encoders_here()


def convert_directory(
    directory: Path, out: Path, quantization: str, *, progress: Progress | None = None
) -> ConversionResult:
    """Convert a Hugging Face directory, as `so8t.models.gguf_convert.convert` does."""
    if quantization in FLOATS or not encoders_here():
        return convert(directory, out, quantization, progress=progress)
    request = {"op": "convert", "source": str(directory), "out": str(out)}
    return _in_child(request | {"quantization": quantization}, out, progress)


def quantize_file(
    source: Path,
    out: Path,
    quantization: str,
    *,
    imatrix: Path | None = None,
    progress: Progress | None = None,
) -> ConversionResult:
    """Encode a GGUF again, as `so8t.models.quantize.quantize_gguf` does."""
    if quantization in FLOATS or not encoders_here():
        return quantize_gguf(source, out, quantization, imatrix=imatrix, progress=progress)
    request = {
        "op": "quantize",
        "source": str(source),
        "out": str(out),
        "quantization": quantization,
        "imatrix": None if imatrix is None else str(imatrix),
    }
    return _in_child(request, out, progress)


def _in_child(request: dict[str, Any], out: Path, progress: Progress | None) -> ConversionResult:
    facts = run_in_child(_WORKER, request, what="converting the model", progress=progress)
    fallbacks = tuple(Fallback(**one) for one in facts.pop("fallbacks"))
    caveats = tuple(facts.pop("caveats"))
    return ConversionResult(path=out, fallbacks=fallbacks, caveats=caveats, **facts)
