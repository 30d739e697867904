"""What is in a GGUF file, or what is wrong with it.

llama.cpp says only that loading failed; this module looks first and says why.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final

from so8t.errors import ModelError
from so8t.system.gguf import ArrayValue, GGUFHeader, read_header, type_sizes

if TYPE_CHECKING:
    from pathlib import Path

# llama.cpp's LLAMA_FTYPE numbers, as people write them.
FILE_TYPES: Final = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    32: "BF16",
}


@dataclass(frozen=True, slots=True)
class GGUFInfo:
    """What a GGUF file says of itself; None where it says nothing.

    Attributes:
        architecture: llama.cpp's name of the family ("llama", "qwen2", ...).
        name: the model's name.
        file_type: the type of most weights, "Q8_0" and so on; counted where the file is silent.
        parameters: numbers in all tensors.
        context_length: tokens the model was made for.
        block_count: layers.
        embedding_length: width of the residual stream.
        head_count: query heads of a layer (the most, where layers differ).
        head_count_kv: key and value heads of a layer (the most, where layers differ).
        key_length: width of one key head.
        value_length: width of one value head.
        vocabulary_size: tokens.
        has_chat_template: whether a chat template is embedded.
        tokenizer_model: "gpt2" (byte-level BPE), "llama" (SentencePiece), ...
        tokenizer_pre: name of the pre-tokenizer.
        tensor_count: tensors.
        size: bytes of the file.

    """

    architecture: str
    name: str | None
    file_type: str
    parameters: int
    context_length: int | None
    block_count: int | None
    embedding_length: int | None
    head_count: int | None
    head_count_kv: int | None
    key_length: int | None
    value_length: int | None
    vocabulary_size: int | None
    has_chat_template: bool
    tokenizer_model: str | None
    tokenizer_pre: str | None
    tensor_count: int
    size: int


def inspect_gguf(path: Path) -> GGUFInfo:
    """Check a GGUF model file and say what is in it, without reading the weights.

    Raises ModelError, saying what is wrong and how to mend it, for a file that is absent, empty,
    no GGUF, of a version that cannot be loaded, damaged, truncated, without weights, or one part
    of several.
    """
    header = read_header(path)
    architecture = header.metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise ModelError(
            f"{path}: does not name its architecture (general.architecture).",
            hint="convert the model again; llama.cpp cannot load it like this",
        )
    if architecture == "clip" or header.metadata.get("general.type") in {"mmproj", "adapter"}:
        raise ModelError(
            f"{path}: is no model of its own, but a projector or adapter "
            f"({header.metadata.get('general.type') or architecture}) that goes with one.",
            hint="name the file with the language model's weights",
        )
    parts = header.metadata.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        raise ModelError(
            f"{path}: is one of {parts} parts of a model.",
            hint=f"join them: llama-gguf-split --merge {path.name} whole.gguf",
        )
    if not header.tensors:
        raise ModelError(
            f"{path}: holds no weights, only metadata.",
            hint="name the file with the model's weights",
        )
    return _info(header, architecture)


def _info(header: GGUFHeader, architecture: str) -> GGUFInfo:
    data = header.metadata

    def number(suffix: str) -> int | None:
        return _number(data.get(f"{architecture}.{suffix}"))

    width, heads = number("embedding_length"), number("attention.head_count")
    head_width = width // heads if width and heads else None
    tokens = data.get("tokenizer.ggml.tokens")
    return GGUFInfo(
        architecture=architecture,
        name=_text(data.get("general.name")),
        file_type=_file_type(header),
        parameters=sum(prod(tensor.shape) for tensor in header.tensors),
        context_length=number("context_length"),
        block_count=number("block_count"),
        embedding_length=width,
        head_count=heads,
        head_count_kv=number("attention.head_count_kv") or heads,
        key_length=number("attention.key_length") or head_width,
        value_length=number("attention.value_length") or head_width,
        vocabulary_size=tokens.count if isinstance(tokens, ArrayValue) else None,
        has_chat_template=bool(_text(data.get("tokenizer.chat_template"))),
        tokenizer_model=_text(data.get("tokenizer.ggml.model")),
        tokenizer_pre=_text(data.get("tokenizer.ggml.pre")),
        tensor_count=len(header.tensors),
        size=header.size,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> int | None:
    """Read a count; some families give one a layer, and then the largest is what memory needs."""
    if isinstance(value, ArrayValue):
        numbers = [] if value.count == 0 or value.kind.name == "STRING" else value.numbers()
        value = max(numbers, default=None)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _file_type(header: GGUFHeader) -> str:
    declared = header.metadata.get("general.file_type")
    if isinstance(declared, int) and declared in FILE_TYPES:
        return FILE_TYPES[declared]
    sizes: Counter[int] = Counter()
    for tensor in header.tensors:
        sizes[tensor.kind] += prod(tensor.shape)
    return type_sizes()[sizes.most_common(1)[0][0]][0]
