"""How much memory a model takes under a load profile, from its own figures: before it is loaded.

The sum of what becomes resident on a CPU: the weights (as large as the file), a KV cache for every
token of every slot, buffers for one batch, and the process itself. `benchmarks/load_memory.py`
compares it with what loading and answering really took, and the figures below were fitted to what
it shows; docs/design/balancer.md has its table. Not in it: the context that log likelihoods open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from so8t.domain.exchange import LoadProfile

#: Bytes a value takes in the KV cache; q8_0 stores 32 values in 34 bytes.
CACHE_BYTES = {"f16": 2.0, "q8_0": 34 / 32}
# llama.cpp's own choice where a profile leaves it open.
_BATCH = 512
# The interpreter, llama.cpp's code and its tables.
_PROCESS = 55 << 20
# Its tables for a token of the vocabulary: text, type, and the ways to find it.
_TOKEN = 128
# What a slot holds besides its KV cache: threads, the texts of a question and its answer.
_SLOT = 1 << 20
# Activations that live at the same time, in rows as wide as the model.
_ROWS = 16


@dataclass(frozen=True, slots=True)
class Shape:
    """The figures of a model that decide how much memory it takes.

    `weights` is in bytes; `key` and `value` are numbers of one token's entries in one layer's KV
    cache (heads x head size).
    """

    weights: int
    layers: int
    width: int
    vocabulary: int
    key: int
    value: int
    head: int


@dataclass(frozen=True, slots=True)
class MemoryNeeds:
    """Bytes, part by part."""

    weights: int
    cache: int
    buffers: int
    process: int

    @property
    def total(self) -> int:
        """All parts together."""
        return self.weights + self.cache + self.buffers + self.process


def needs(shape: Shape, profile: LoadProfile) -> MemoryNeeds:
    """Return what a model takes under a profile, wherever its layers are."""
    tokens = profile.context * profile.slots
    batch = min(profile.batch or _BATCH, tokens)
    per_token = shape.layers * (shape.key + shape.value)
    cache = tokens * per_token * CACHE_BYTES[profile.cache_type or "f16"]
    # Single precision: activations and the mask of a batch, the scores of each slot's last token.
    # (The scores of a whole batch over the vocabulary are reserved, but answering touches none.)
    buffers = 4 * batch * (_ROWS * shape.width + profile.context)
    buffers += profile.slots * (_SLOT + 4 * shape.vocabulary)
    process = _PROCESS + _TOKEN * shape.vocabulary
    return MemoryNeeds(shape.weights, round(cache), buffers, process)


def shape_of_facts(facts: Mapping[str, Any]) -> Shape | None:
    """Take the figures from what `inspect_gguf` found; None where the file does not tell them.

    An architecture with other caches (a state, a sliding window) takes less than this says.
    """
    layers, width, heads = (
        facts.get(name) for name in ("block_count", "embedding_length", "head_count")
    )
    size = facts.get("size")
    if not layers or not width or not heads or not size:
        return None
    kv_heads = facts.get("head_count_kv") or heads
    key = facts.get("key_length") or width // heads
    value = facts.get("value_length") or width // heads
    vocabulary = facts.get("vocabulary_size") or 0
    return Shape(size, layers, width, vocabulary, kv_heads * key, kv_heads * value, key)


def shape_of_config(config: Mapping[str, Any], size: int) -> Shape | None:
    """Read the figures from a Hugging Face config.json; None where it does not tell them."""

    def number(name: str) -> int | None:
        found = config.get(name)
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    layers, width, heads = (
        number(name) for name in ("num_hidden_layers", "hidden_size", "num_attention_heads")
    )
    if not layers or not width or not heads:
        return None
    head = number("head_dim") or width // heads
    kv = (number("num_key_value_heads") or heads) * head
    return Shape(size, layers, width, number("vocab_size") or 0, kv, kv, head)
