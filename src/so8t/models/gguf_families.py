"""The model families that can be converted: which tensors they have and what llama.cpp calls them.

Shapes are rows first, as in PyTorch: a linear layer's weight is (outputs, inputs).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from so8t.errors import ModelError, PrerequisiteError, UnsupportedModelError
from so8t.models.gguf_rope import Rope, read_rope
from so8t.models.gguf_tokens import ways_out
from so8t.system.gguf import GGUFWriter, ValueType
from so8t.system.plugins import Plugins, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Family:
    """How a Hugging Face architecture becomes one of llama.cpp's.

    Attributes:
        architecture: llama.cpp's name.
        pairs_adjacent: llama.cpp rotates neighbouring pairs where PyTorch rotates halves, so the
            rows of q and k are put in another order.
        fused: q, k, v and gate, up are each one tensor.
        qkv_bias: the config key that turns on biases of q, k, v; True: always there.
        out_bias: the config key that turns on the bias of the attention output.
        mlp_bias: the config key that turns on biases in the feed-forward layers.
        head_norms: q and k have norms of their own.

    """

    architecture: str
    pairs_adjacent: bool = False
    fused: bool = False
    qkv_bias: str | bool = False
    out_bias: str | None = None
    mlp_bias: str | None = None
    head_norms: bool = False


#: The families of this project, as the entry point `built_in` in `so8t.families` offers them. A
#: distribution of somebody else offers a mapping like this one.
FAMILIES: Final[dict[str, Family]] = {
    "LlamaForCausalLM": Family(
        "llama",
        pairs_adjacent=True,
        qkv_bias="attention_bias",
        out_bias="attention_bias",
        mlp_bias="mlp_bias",
    ),
    "MistralForCausalLM": Family("llama", pairs_adjacent=True),
    "Qwen2ForCausalLM": Family("qwen2", qkv_bias=True),
    "Qwen3ForCausalLM": Family("qwen3", head_norms=True),
    "Phi3ForCausalLM": Family("phi3", fused=True),
}


def _complaint(_name: str, found: Any) -> str | None:
    """Say what keeps a loaded object from being a mapping of families."""
    if not isinstance(found, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Family) for key, value in found.items()
    ):
        return "it is no mapping from architecture names to Family"
    return None


#: The mappings of families, ours and those from other distributions.
PLUGINS: Final[Plugins[Mapping[str, Family]]] = Plugins(
    "so8t.families", "set of model families", _complaint
)


def known_families() -> dict[str, Family]:
    """Return every family that can be converted, by the architecture's name in config.json.

    Raises PrerequisiteError for an architecture that two distributions offer.
    """
    offered: dict[str, str] = {}
    families: dict[str, Family] = {}
    for name, mapping in PLUGINS.usable().items():
        for architecture, family in mapping.items():
            if architecture in offered:
                first, second = (PLUGINS.distribution(one) for one in (offered[architecture], name))
                raise PrerequisiteError(
                    f"two distributions offer the model family {architecture!r}: {first} and "
                    f"{second}. Neither is used.",
                    hint="uninstall one of them",
                )
            offered[architecture], families[architecture] = name, family
    return families


def _family(path: Path, config: dict[str, Any]) -> Family:
    """Find a model's family. Raises UnsupportedModelError with the nearest name."""
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    families = known_families()
    family = families.get(name) if isinstance(name, str) else None
    if family is not None:
        return family
    broken = "".join(f" {problem.message}." for problem in PLUGINS.problems())
    near = nearest(str(name), list(families))
    raise UnsupportedModelError(
        f"{path}: the architecture {name or 'not named in config.json'} cannot be converted "
        f"here ({near}).{broken}",
        hint=ways_out(),
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """One tensor to be written.

    Attributes:
        source: its name in the Hugging Face directory.
        name: its name in GGUF.
        shape: what it must have, rows first.
        rotated_heads: number of heads whose rows go from halves to neighbouring pairs; 0: none.

    """

    source: str
    name: str
    shape: tuple[int, ...]
    rotated_heads: int = 0


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
        yield Wanted(
            "model.embed_tokens.weight", "token_embd.weight", (self.vocabulary, self.width)
        )
        for layer in range(self.layers):
            yield from self._layer(f"model.layers.{layer}", f"blk.{layer}")
        yield Wanted("model.norm.weight", "output_norm.weight", (self.width,))
        if not self.tied:
            yield Wanted("lm_head.weight", "output.weight", (self.vocabulary, self.width))

    def _layer(self, source: str, name: str) -> Iterator[Wanted]:
        family, width = self.family, self.width
        query, key = self.heads * self.head_width, self.kv_heads * self.head_width
        turned = (self.heads, self.kv_heads, 0) if family.pairs_adjacent else (0, 0, 0)
        yield Wanted(f"{source}.input_layernorm.weight", f"{name}.attn_norm.weight", (width,))
        attention = f"{source}.self_attn"
        if family.fused:
            yield Wanted(
                f"{attention}.qkv_proj.weight", f"{name}.attn_qkv.weight", (query + 2 * key, width)
            )
        else:
            kinds = ["weight", "bias"] if self._has(family.qkv_bias) else ["weight"]
            for part, rows, heads in zip("qkv", (query, key, key), turned, strict=True):
                for kind in kinds:
                    shape = (rows, width) if kind == "weight" else (rows,)
                    yield Wanted(
                        f"{attention}.{part}_proj.{kind}",
                        f"{name}.attn_{part}.{kind}",
                        shape,
                        heads,
                    )
        if family.head_norms:
            for part in "qk":
                yield Wanted(
                    f"{attention}.{part}_norm.weight",
                    f"{name}.attn_{part}_norm.weight",
                    (self.head_width,),
                )
        yield Wanted(f"{attention}.o_proj.weight", f"{name}.attn_output.weight", (width, query))
        if self._has(family.out_bias):
            yield Wanted(f"{attention}.o_proj.bias", f"{name}.attn_output.bias", (width,))
        yield Wanted(
            f"{source}.post_attention_layernorm.weight", f"{name}.ffn_norm.weight", (width,)
        )
        yield from self._feed_forward(f"{source}.mlp", name)

    def _feed_forward(self, source: str, name: str) -> Iterator[Wanted]:
        inner, width = self.feed_forward, self.width
        if self.family.fused:
            yield Wanted(
                f"{source}.gate_up_proj.weight", f"{name}.ffn_up.weight", (2 * inner, width)
            )
            yield Wanted(f"{source}.down_proj.weight", f"{name}.ffn_down.weight", (width, inner))
            return
        biased = self._has(self.family.mlp_bias)
        for part, shape in (
            ("gate", (inner, width)),
            ("up", (inner, width)),
            ("down", (width, inner)),
        ):
            yield Wanted(f"{source}.{part}_proj.weight", f"{name}.ffn_{part}.weight", shape)
            if biased:
                yield Wanted(f"{source}.{part}_proj.bias", f"{name}.ffn_{part}.bias", shape[:1])

    def _has(self, switch: str | bool | None) -> bool:
        return bool(self.config.get(switch)) if isinstance(switch, str) else bool(switch)

    def write(self, writer: GGUFWriter) -> None:
        """Set the architecture's metadata."""
        prefix = self.family.architecture

        def number(key: str, value: int) -> None:
            writer.add(f"{prefix}.{key}", ValueType.UINT32, value)

        number("block_count", self.layers)
        number("context_length", self.context)
        number("embedding_length", self.width)
        number("feed_forward_length", self.feed_forward)
        number("attention.head_count", self.heads)
        number("attention.head_count_kv", self.kv_heads)
        number("attention.key_length", self.head_width)
        number("attention.value_length", self.head_width)
        number("vocab_size", self.vocabulary)
        writer.add(f"{prefix}.attention.layer_norm_rms_epsilon", ValueType.FLOAT32, self.epsilon)
        if self.family.architecture == "phi3":
            # llama.cpp has no sliding window for this family; 0 says so (see `caveats`).
            number("attention.sliding_window", 0)
        self.rope.write(writer, prefix)

    def caveats(self) -> list[str]:
        """What llama.cpp does otherwise than the original."""
        return [*self._window_caveat(), *self.rope.caveats()]

    def _window_caveat(self) -> list[str]:
        window = self.config.get("sliding_window")
        used = self.config.get("use_sliding_window", self.family.architecture in {"llama", "phi3"})
        if isinstance(window, int) and used and 0 < window < self.context:
            note = (
                f"the model attends to the last {window:,} tokens only, llama.cpp to all of them: "
                f"answers differ once prompt and answer exceed {window:,} tokens"
            )
            return [note]
        return []


def read_architecture(path: Path, config: dict[str, Any]) -> Architecture:
    """Read the sizes in a config.json.

    Raises ModelError for an architecture that cannot be converted (naming the ways out), and for
    values that are missing or make no sense.
    """
    family = _family(path, config)
    quantized = config.get("quantization_config")
    if quantized:
        method = quantized.get("quant_method") if isinstance(quantized, dict) else quantized
        raise ModelError(
            f"{path}: the weights are already quantized ({method}).",
            hint="use the model in bfloat16, float16 or float32",
        )

    def number(key: str, default: int | None = None) -> int:
        value = config.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 1 << 32:
            raise ModelError(
                f"{path}: {key} is {value!r}, where a count is expected.",
                hint="download or write the model again",
            )
        return value

    width, heads = number("hidden_size"), number("num_attention_heads")
    head_width = number("head_dim", width // heads or None)
    kv_heads = number("num_key_value_heads", heads)
    if heads % kv_heads or head_width % 2:
        raise ModelError(
            f"{path}: {heads} heads, {kv_heads} key-value heads and a head width of {head_width} "
            "do not go together.",
            hint="download or write the model again",
        )
    if family.architecture == "phi3" and head_width * heads != width:
        raise UnsupportedModelError(
            f"{path}: llama.cpp wants {heads} heads of {head_width} to fill a width of {width}.",
            hint=ways_out(),
        )
    if config.get("hidden_act", "silu") not in {"silu", "swish"}:
        raise UnsupportedModelError(
            f"{path}: the activation {config['hidden_act']!r} is not this family's.",
            hint=ways_out(),
        )
    if family.architecture == "qwen3" and config.get("attention_bias"):
        raise UnsupportedModelError(
            f"{path}: attention biases are not part of llama.cpp's qwen3.", hint=ways_out()
        )
    context = number("max_position_embeddings", 2048)
    epsilon = config.get("rms_norm_eps", 1e-6)
    if not isinstance(epsilon, int | float) or not 0 < epsilon < 1 or not math.isfinite(epsilon):
        raise ModelError(f"{path}: rms_norm_eps is {epsilon!r}.", hint="download the model again")
    return Architecture(
        family=family,
        config=config,
        layers=number("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        feed_forward=number("intermediate_size"),
        vocabulary=number("vocab_size"),
        context=context,
        epsilon=float(epsilon),
        tied=bool(config.get("tie_word_embeddings", False)),
        rope=read_rope(path, config, head_width, context, partial=family.architecture == "phi3"),
    )
