"""What a model is made from: the files to upload, and the Modelfile that says the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from so8t.engines.ollama.options import check_options
from so8t.engines.rendering import Rendering
from so8t.errors import ModelError, UsageError
from so8t.system.files import file_digest

QUANTIZATIONS = ("F32", "F16", "BF16", "Q8_0", "Q4_K_S", "Q4_K_M")
_BESIDE_WEIGHTS = (
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
)
_GGUF_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class SourceRegistration:
    """What is to be registered, and under which name.

    Attributes:
        name: the name on the server.
        source: a GGUF file, a directory of safetensors, or None to start from `base`.
        base: the name of a model that the server already has; None with a source.
        quantize: one of QUANTIZATIONS; the source must then be F16, BF16 or F32.
        template: a Go template; None keeps the one embedded in the source, which is safest.
        system: a system message; None for none.
        parameters: options to write into the model; None leaves those of the source.
        expected: what the template must render; None skips that check.
        overwrite: replace another model that has the name.

    """

    name: str
    source: Path | None = None
    base: str | None = None
    quantize: str | None = None
    template: str | None = None
    system: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    expected: Rendering | None = None
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to upload: its name in the model, where it is, its digest and size in bytes."""

    name: str
    path: Path
    digest: str
    size: int


def check_registration(want: SourceRegistration) -> None:
    """Raise UsageError for a wish that cannot be meant, before anything is read or sent."""
    if (want.source is None) == (want.base is None):
        raise UsageError(f"{want.name}: a model is made from a source or from a base, one of them.")
    if not want.name or want.name != want.name.strip() or any(c.isspace() for c in want.name):
        raise UsageError(f"{want.name!r} is no name for a model.")
    if want.quantize is not None and want.quantize.upper() not in QUANTIZATIONS:
        raise UsageError(
            f"{want.name}: Ollama does not quantize to {want.quantize}.",
            hint=f"one of {', '.join(QUANTIZATIONS)}",
        )
    check_options(want.parameters)


def source_files(source: Path) -> list[SourceFile]:
    """Return the files of a GGUF file or of a safetensors directory, with their digests.

    Reads every byte once. Raises ModelError for what is neither, or misses a file.
    """
    if source.is_file():
        with source.open("rb") as file:
            if file.read(len(_GGUF_MAGIC)) != _GGUF_MAGIC:
                raise ModelError(f"{source} is no GGUF file.")
        return [_source_file(source)]
    if not source.is_dir():
        raise ModelError(f"{source} does not exist.", hint="prepare the model first")
    weights = sorted(source.glob("*.safetensors"))
    if not weights or not (source / "config.json").is_file():
        raise ModelError(f"{source} has no config.json with *.safetensors beside it.")
    if not any((source / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise ModelError(f"{source} has neither tokenizer.json nor tokenizer.model.")
    beside = [source / name for name in _BESIDE_WEIGHTS if (source / name).is_file()]
    return [_source_file(path) for path in [*beside, *weights]]


def check_template_source(want: SourceRegistration) -> None:
    """Raise ModelError for a directory whose chat template the server would not read.

    It looks at `tokenizer_config.json` only and otherwise guesses by likeness, silently.
    """
    if want.source is None or not want.source.is_dir() or want.template is not None:
        return
    if not (want.source / "chat_template.jinja").is_file():
        return
    config = want.source / "tokenizer_config.json"
    try:
        embedded = json.loads(config.read_text("utf-8")).get("chat_template")
    except (OSError, ValueError, AttributeError):
        embedded = None
    if not embedded:
        raise ModelError(
            f"{want.source} keeps its chat template in chat_template.jinja, which Ollama ignores.",
            hint="copy the template's text into tokenizer_config.json as the value of "
            '"chat_template", or name a checkout of llama.cpp as `llama_cpp`: so8t then converts '
            "to GGUF, which embeds the template",
        )


def create_request(want: SourceRegistration, name: str, files: list[SourceFile]) -> dict[str, Any]:
    """Return the body of `/api/create`."""
    body: dict[str, Any] = {"model": name}
    if want.base is not None:
        body["from"] = want.base
    else:
        body["files"] = {file.name: file.digest for file in files}
    if want.quantize is not None:
        body["quantize"] = want.quantize
    if want.template is not None:
        body["template"] = want.template
    if want.system is not None:
        body["system"] = want.system
    if want.parameters:
        body["parameters"] = dict(want.parameters)
    return body


def modelfile(want: SourceRegistration) -> str:
    """Return the Modelfile with which a person repeats the registration by hand."""
    quantize = "" if want.quantize is None else f" --quantize {want.quantize}"
    lines = [
        "# Written by so8t; the registration itself went over the API. To repeat it by hand:",
        f"#   ollama create {want.name} -f <this file>{quantize}",
        f"FROM {want.base if want.source is None else want.source.resolve()}",
    ]
    if want.template is not None:
        lines.append(f"TEMPLATE {_quoted(want.template)}")
    if want.system is not None:
        lines.append(f"SYSTEM {_quoted(want.system)}")
    for key, value in want.parameters.items():
        for one in value if isinstance(value, list) else [value]:
            shown = _quoted(one) if isinstance(one, str) else json.dumps(one)
            lines.append(f"PARAMETER {key} {shown}")
    return "\n".join(lines) + "\n"


def _source_file(path: Path) -> SourceFile:
    return SourceFile(path.name, path, file_digest(path), path.stat().st_size)


def _quoted(text: str) -> str:
    if '"' not in text and "\n" not in text:
        return f'"{text}"'
    return f'"""{text}"""'
