"""Which converter makes the GGUF of a Hugging Face directory: ours, llama.cpp's, or a server."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from so8t.engines.registry import capabilities_of
from so8t.errors import ModelError, UnsupportedModelError
from so8t.models.checkpoint_files import check_agreement
from so8t.models.conversion import (
    check_encoder,
    convert_directory,
    makes_directly,
    quantize_file,
)
from so8t.models.gguf_check import inspect_gguf
from so8t.models.gguf_convert import check_convertible
from so8t.models.imatrix import read_imatrix
from so8t.models.llama_cpp_checkout import WRITTEN, check_checkout, convert_with_checkout
from so8t.models.quantize import check_source
from so8t.system.files import remove_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from so8t.config.schema import ArmA, ArmB, Quantization, RunConfig
    from so8t.models.gguf_write import ConversionResult

    Tell = Callable[[str, int, int], None]


def check(
    directory: Path, quantization: Quantization, config: RunConfig, *, imatrix: Path | None = None
) -> None:
    """Raise now what would be raised after hours: no converter, no program, no such type.

    `imatrix` is an importance matrix that is there already.

    Raises UnsupportedModelError for a model that nothing configured converts, PrerequisiteError
    without the checkout or llama-quantize, ModelError for a type that the server does not make.
    """
    if config.llama_cpp is not None:
        check_checkout(config.llama_cpp)
    try:
        check_convertible(directory)
    except UnsupportedModelError:
        if config.llama_cpp is None:
            if not capabilities_of(config.engine).imports_directories:
                raise
            _check_server_type(directory, quantization, config)
            return
    if imatrix is not None:
        read_imatrix(imatrix)
    if not by_server(quantization, config):
        check_encoder(quantization, imatrix=imatrix is not None)


def asked_of_file(path: Path, wanted: ArmA | ArmB) -> Quantization | None:
    """Return the quantization that a GGUF is to be brought to; None where it stays what it is.

    Only one that the config names counts: the default is for what is converted here. Raises
    ModelError for a file that is quantized already.
    """
    if "quantization" not in wanted.model_fields_set:
        return None
    if inspect_gguf(path).file_type.lower() == wanted.quantization:
        return None
    check_source(path, wanted.quantization)
    check_encoder(wanted.quantization)
    return wanted.quantization


def by_server(quantization: Quantization, config: RunConfig) -> bool:
    """Whether the server makes this type from our F16 file: nothing that is installed does."""
    return (
        not makes_directly(quantization)
        and quantization in capabilities_of(config.engine).quantizes
        and shutil.which("llama-quantize") is None
    )


def _check_server_type(directory: Path, quantization: Quantization, config: RunConfig) -> None:
    made = capabilities_of(config.engine).quantizes
    if quantization not in made:
        raise ModelError(
            f"{directory}: only the server ({config.engine.kind}) can import this model, and it "
            f"does not make {quantization}.",
            hint=f"choose one of {', '.join(made)}",
        )


def make_gguf(
    directory: Path,
    out: Path,
    quantization: Quantization,
    llama_cpp: Path | None,
    tell: Tell,
    *,
    imatrix: Path | None = None,
) -> ConversionResult:
    """Convert a directory, with llama.cpp's script where ours does not know the model.

    Raises UnsupportedModelError when only a server is left.
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
            return convert_directory(directory, target, kind, progress=progress)
        return convert_with_checkout(llama_cpp, directory, target, kind)

    direct = makes_directly(quantization) if ours else quantization in WRITTEN
    if direct and imatrix is None:
        return once(out, quantization)
    exact = _exact_type(directory)
    between = out.with_name(f"model-{exact}-to-quantize.gguf")
    try:
        first = once(between, exact)
        result = quantize_file(between, out, quantization, imatrix=imatrix, progress=progress)
    finally:
        remove_file(between)
    return replace(result, converter=first.converter, caveats=first.caveats)


def _exact_type(directory: Path) -> Quantization:
    """Return the type that holds the directory's weights without rounding them."""
    kinds = {tensor.kind for tensor in check_agreement(directory).values()}
    if kinds == {"BF16"}:
        return "bf16"
    return "f16" if kinds == {"F16"} else "f32"
