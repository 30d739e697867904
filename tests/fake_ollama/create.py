"""How the fake server creates a model, and what it says meanwhile."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fake_ollama.store import CHATML, Toy

if TYPE_CHECKING:
    from fake_ollama.store import Store

Lines = list[dict[str, Any]]
_KINDS = ("F32", "F16", "Q4_K_S", "Q4_K_M", "Q8_0")
_FULL = {"F32", "F16", "BF16"}


def create_lines(store: Store, body: dict[str, Any]) -> tuple[int, Lines]:
    """Create a model. Returns the status and the lines of the stream, the last one decisive.

    A model made from files is a `rep` if its name says so, else a `cyc`. A status other than 200
    is an error before the first line.
    """
    name = str(body.get("model", ""))
    if not re.fullmatch(r"[A-Za-z0-9._:/-]+", name):
        return 400, [{"error": "invalid model name"}]
    files: dict[str, str] | None = body.get("files")
    if "from" in body:
        return _from_model(store, name, body)
    if not files:
        neither = "neither 'from' or 'files' was specified"
        return 400, [{"error": neither if files is None else "unknown type"}]
    return _from_files(store, name, body, files)


def _from_files(
    store: Store, name: str, body: dict[str, Any], files: dict[str, str]
) -> tuple[int, Lines]:
    gguf = any(file.endswith(".gguf") for file in files)
    lines: Lines = [{"status": "parsing GGUF" if gguf else "converting model"}]
    for digest in files.values():
        if digest not in store.blobs:
            missing = digest.replace(":", "-")
            words = f"open /models/blobs/{missing}: no such file or directory"
            return 200, [*lines, {"error": words}]
    if not gguf and not {"tokenizer.json", "tokenizer.model"} & files.keys():
        return 200, [*lines, {"error": "unknown tokenizer format"}]
    joined = json.dumps(sorted(files.values()))
    weights = hashlib.sha256(joined.encode()).hexdigest()
    if gguf:
        weights = next(iter(files.values())).removeprefix("sha256:")
    kind = "rep" if "rep" in name else "cyc"
    size = sum(len(store.blobs[digest] or b"") for digest in files.values())
    return _finish(store, name, body, Toy(kind=kind, weights=weights, size=size), lines)


def _from_model(store: Store, name: str, body: dict[str, Any]) -> tuple[int, Lines]:
    base = store.find(str(body["from"]))
    template = body.get("template")
    if template is not None and template.count("{{") != template.count("}}"):
        return 400, [{"error": "template error: template: :1: unclosed action"}]
    if base is None:
        words = (
            f'pull model manifest: Get "https://registry.ollama.ai/v2/library/{body["from"]}/'
            'manifests/latest": proxyconnect tcp: dial tcp 127.0.0.1:9: connect: connection refused'
        )
        return 200, [{"status": "pulling manifest"}, {"error": words}]
    if body.get("quantize") and base.quantization not in _FULL:
        return 500, [{"error": "quantization is only supported for F16, BF16 and F32 models"}]
    return _finish(store, name, body, base, [])


def _finish(
    store: Store, name: str, body: dict[str, Any], toy: Toy, lines: Lines
) -> tuple[int, Lines]:
    quantize = str(body.get("quantize") or "").upper()
    if quantize and quantize not in _KINDS:
        words = f"unsupported quantization type {quantize} - supported types are F32, F16, "
        error = {"error": words + "Q4_K_S, Q4_K_M, Q8_0"}
        return (200, [*lines, error]) if lines else (500, [error])
    if quantize:
        weights = hashlib.sha256(f"{toy.weights}{quantize}".encode()).hexdigest()
        toy = replace(toy, weights=weights, quantization=quantize, size=toy.size // 2)
    if lines or quantize:
        lines = [*lines, {"status": "verifying conversion"}]
    lines = [*lines, {"status": f"creating new layer sha256:{toy.weights}"}]
    if body.get("template") is not None:
        toy = replace(toy, template=body["template"])
    elif "files" in body:
        lines.append({"status": "using autodetected template chatml"})
    template = hashlib.sha256(CHATML.encode()).hexdigest()
    lines.append({"status": f"using existing layer sha256:{template}"})
    if quantize:
        lines.append({"status": f"using existing layer sha256:{template}"})
    store.add(name, toy)
    return 200, [*lines, {"status": "writing manifest"}, {"status": "success"}]
