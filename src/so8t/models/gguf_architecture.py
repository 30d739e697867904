"""What a family of models is, and one model of it: which tensors it has and what llama.cpp is told.

Shapes are rows first, as in PyTorch: a linear layer's weight is (outputs, inputs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from so8t.models.checkpoint_files import EMBEDDING, HEAD
from so8t.models.gguf_rope import Rope, read_rope
from so8t.models.safetensors_files import as_float32
from so8t.system.gguf import GGUFWriter, ValueType

if TYPE_CHECKING:
    from pathlib import Path

Change = Callable[[NDArray[Any]], NDArray[Any]]
#: (key below the architecture's name, type, value); a list is an array.
Fact = tuple[str, ValueType, Any]

_LLAMA_NORMS: Final = (
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One tensor to be written.

    Attributes:
        source: its name in the Hugging Face directory.
        name: its name in GGUF.
        shape: what is written, rows first.
        rotated_heads: number of heads whose rows go from halves to neighbouring pairs; 0: none.
        stored: the shape in the directory, where it is another.
        sources: several tensors that are written one after the other, `source` the first; each has
            the shape `stored`.
        group: rows that `change` takes at a time, 0 for any number.
        change: what is done with the values, (rows, columns) to (rows, columns).

    """

    source: str
    name: str
    shape: tuple[int, ...]
    rotated_heads: int = 0
    stored: tuple[int, ...] | None = None
    sources: tuple[str, ...] = ()
    group: int = 0
    change: Change | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All tensors that are read."""
        return self.sources or (self.source,)


@dataclass(frozen=True)
class Family:
    """How a Hugging Face architecture like Llama's becomes one of llama.cpp's.

    Families that are less alike are subclasses, which say what their layers have.

    Attributes:
        names: names of the architecture in config.json.
        architecture: llama.cpp's name.
        pairs_adjacent: llama.cpp rotates neighbouring pairs where PyTorch rotates halves, so the
            rows of q and k are put in another order.
        fused_attention: q, k and v are one tensor.
        fused_mlp: gate and up are one tensor.
        qkv_bias: the config key that turns on biases of q, k, v; True: always there.
        out_bias: the config key that turns on the bias of the attention output.
        mlp_bias: the config key that turns on biases in the feed-forward layers.
        head_norms: q and k have norms of their own: "head" for one head's width, "all" for all.
        norms: the norms of a layer: PyTorch's name, llama.cpp's name.
        norm_shift: what is added to the weights of norms.
        activations: what the activation may be called; the first is assumed.
        activation_key: its key in config.json.
        partial_rope: a part of each head may be rotated only.
        windowed: llama.cpp knows the family's sliding window.
        defaults: values of keys that config.json may leave out, as the config class has them.

    """

    names: tuple[str, ...]
    architecture: str
    pairs_adjacent: bool = False
    fused_attention: bool = False
    fused_mlp: bool = False
    qkv_bias: str | bool = False
    out_bias: str | None = None
    mlp_bias: str | None = None
    head_norms: str | None = None
    norms: tuple[tuple[str, str], ...] = _LLAMA_NORMS
    norm_shift: float = 0.0
    activations: tuple[str, ...] = ("silu", "swish")
    activation_key: str = "hidden_act"
    partial_rope: bool = False
    windowed: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        """Why llama.cpp computes something else for these settings; None where it does not."""
        del config
        return None

    def feed_forward(self, config: Mapping[str, Any]) -> Any:
        """Return the inner width of the feed-forward layers."""
        return config.get("intermediate_size")

    def rope(self, path: Path, config: dict[str, Any], head_width: int, context: int) -> Rope:
        """Read the rotary embeddings."""
        return read_rope(path, config, head_width, context, partial=self.partial_rope)

    def facts(self, model: Architecture) -> Iterator[Fact]:
        """Yield what the family tells beside what all do."""
        del model
        yield from ()

    def kv_heads(self, model: Architecture) -> Fact:
        """Return the number of key and value heads."""
        return "attention.head_count_kv", ValueType.UINT32, model.kv_heads

    def tensors(self, model: Architecture) -> Iterator[Wanted]:
        """Yield the tensors that a model must have, in the order of the file."""
        yield Wanted(EMBEDDING, "token_embd.weight", (model.vocabulary, model.width))
        for layer in range(model.layers):
            yield from self.layer(model, layer)
        yield self.norm("model.norm", "output_norm", model.width)
        if not model.tied:
            yield Wanted(HEAD, "output.weight", (model.vocabulary, model.width))

    def layer(self, model: Architecture, number: int) -> Iterator[Wanted]:
        """Yield the tensors of one layer."""
        source, name = f"model.layers.{number}", f"blk.{number}"
        for theirs, ours in self.norms:
            yield self.norm(f"{source}.{theirs}", f"{name}.{ours}", model.width)
        yield from self.attention(model, f"{source}.self_attn", name)
        yield from self.mlp(model, f"{source}.mlp", name)

    def norm(self, source: str, name: str, width: int) -> Wanted:
        """Return one norm's weight."""
        shift = self.norm_shift
        change = (lambda block: as_float32(block) + np.float32(shift)) if shift else None
        return Wanted(f"{source}.weight", f"{name}.weight", (width,), change=change)

    def attention(self, model: Architecture, source: str, name: str) -> Iterator[Wanted]:
        """Yield the tensors of a layer's attention."""
        width = model.width
        query, key = model.heads * model.head_width, model.kv_heads * model.head_width
        turned = (model.heads, model.kv_heads, 0) if self.pairs_adjacent else (0, 0, 0)
        if self.fused_attention:
            shape = query + 2 * key, width
            yield Wanted(f"{source}.qkv_proj.weight", f"{name}.attn_qkv.weight", shape)
        else:
            kinds = ["weight", "bias"] if model.has(self.qkv_bias) else ["weight"]
            for part, rows, heads in zip("qkv", (query, key, key), turned, strict=True):
                for kind in kinds:
                    yield Wanted(
                        f"{source}.{part}_proj.{kind}",
                        f"{name}.attn_{part}.{kind}",
                        (rows, width) if kind == "weight" else (rows,),
                        heads,
                    )
        if self.head_norms:
            for part, rows in (("q", query), ("k", key)):
                wide = rows if self.head_norms == "all" else model.head_width
                yield self.norm(f"{source}.{part}_norm", f"{name}.attn_{part}_norm", wide)
        yield Wanted(f"{source}.o_proj.weight", f"{name}.attn_output.weight", (width, query))
        if model.has(self.out_bias):
            yield Wanted(f"{source}.o_proj.bias", f"{name}.attn_output.bias", (width,))

    def mlp(self, model: Architecture, source: str, name: str) -> Iterator[Wanted]:
        """Yield the tensors of a layer's feed-forward part."""
        inner, width = model.feed_forward, model.width
        if self.fused_mlp:
            both = 2 * inner, width
            yield Wanted(f"{source}.gate_up_proj.weight", f"{name}.ffn_up.weight", both)
            yield Wanted(f"{source}.down_proj.weight", f"{name}.ffn_down.weight", (width, inner))
            return
        shapes = {"gate": (inner, width), "up": (inner, width), "down": (width, inner)}
        for part, shape in shapes.items():
            yield Wanted(f"{source}.{part}_proj.weight", f"{name}.ffn_{part}.weight", shape)
            if model.has(self.mlp_bias):
                yield Wanted(f"{source}.{part}_proj.bias", f"{name}.ffn_{part}.bias", shape[:1])


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model's sizes, read from config.json and checked for sense."""

    family: Family
    config: dict[str, Any] = field(repr=False)
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    feed_forward: int
    vocabulary: int
    context: int
    epsilon: float
    tied: bool
    rope: Rope

    def tensors(self) -> Iterator[Wanted]:
        """Yield the tensors that the model must have, in the order of the file."""
        return self.family.tensors(self)

    def has(self, switch: str | bool | None) -> bool:
        """Whether a key of config.json is on; a bool is itself."""
        return bool(self.config.get(switch)) if isinstance(switch, str) else bool(switch)

    def number(self, key: str) -> int:
        """Return a count in config.json."""
        return int(self.config[key])

    def write(self, writer: GGUFWriter) -> None:
        """Set the architecture's metadata."""
        prefix = self.family.architecture
        counts = {
            "block_count": self.layers,
            "context_length": self.context,
            "embedding_length": self.width,
            "feed_forward_length": self.feed_forward,
            "attention.head_count": self.heads,
            "attention.key_length": self.head_width,
            "attention.value_length": self.head_width,
            "vocab_size": self.vocabulary,
        }
        facts: list[Fact] = [(key, ValueType.UINT32, value) for key, value in counts.items()]
        epsilon = "attention.layer_norm_rms_epsilon", ValueType.FLOAT32, self.epsilon
        for key, kind, value in (
            *facts,
            self.family.kv_heads(self),
            epsilon,
            *self.family.facts(self),
        ):
            if isinstance(value, list):
                writer.add_array(f"{prefix}.{key}", kind, value)
            else:
                writer.add(f"{prefix}.{key}", kind, value)
        self.rope.write(writer, prefix)

    def caveats(self) -> list[str]:
        """What llama.cpp does otherwise than the original."""
        return [*self._window_caveat(), *self.rope.caveats()]

    def _window_caveat(self) -> list[str]:
        window = self.config.get("sliding_window")
        used = self.config.get("use_sliding_window", True) and not self.family.windowed
        if isinstance(window, int) and used and 0 < window < self.context:
            note = (
                f"the model attends to the last {window:,} tokens only, llama.cpp to all of them: "
                f"answers differ once prompt and answer exceed {window:,} tokens"
            )
            return [note]
        return []
