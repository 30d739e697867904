"""The child-process side of `so8t.models.conversion`: ggml's encoders on all cores.

Run as `python -m so8t.models.conversion_worker`; a request is {"op": "convert" | "quantize",
"source", "out", "quantization", "imatrix"}.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.models.child_work import serve_work
from so8t.models.gguf_convert import convert
from so8t.models.native_encoder import NativeEncoder, load_library
from so8t.models.quantize import quantize_gguf

if TYPE_CHECKING:
    from so8t.models.child_work import Tell


def _libraries() -> None:
    import_module("gguf")
    load_library()


def _work(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    source, out = Path(request["source"]), Path(request["out"])
    encoder = NativeEncoder()
    try:
        if request["op"] == "convert":
            result = convert(source, out, request["quantization"], encoder=encoder, progress=tell)
        else:
            imatrix = request["imatrix"]
            result = quantize_gguf(
                source,
                out,
                request["quantization"],
                imatrix=None if imatrix is None else Path(imatrix),
                encoder=encoder,
                progress=tell,
            )
    finally:
        encoder.close()
    return result.facts()


if __name__ == "__main__":
    serve_work(_work, _libraries)
