"""Families whose models are like Llama's: a row each, and what a few tell llama.cpp more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from so8t.models.gguf_architecture import Architecture, Fact, Family, Wanted
from so8t.models.gguf_rope import Rope, read_rope
from so8t.system.gguf import ValueType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_AFTER: Final = (
    ("post_attention_layernorm", "post_attention_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
)
# By its number of layers llama.cpp tells the one model of a family that is otherwise.
_27B_LAYERS: Final = 62
_32B_LAYERS: Final = 64


def every(interval: int, layers: int) -> list[bool]:
    """Which layers slide where each `interval`-th sees all."""
    return [(layer + 1) % interval != 0 for layer in range(layers)]


def slides(config: Mapping[str, Any]) -> list[bool] | None:
    """Which layers slide, as config.json lists them."""
    kinds = config.get("layer_types")
    return [kind == "sliding_attention" for kind in kinds] if isinstance(kinds, list) else None


@dataclass(frozen=True)
class Phi3(Family):
    """Phi-3 and Phi-4-mini: fused tensors, long rope."""

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        """llama.cpp wants the heads to fill the width."""
        width, heads = config.get("hidden_size"), config.get("num_attention_heads")
        if config.get("head_dim") and config["head_dim"] * heads != width:
            return f"{heads} heads of {config['head_dim']} do not fill a width of {width}"
        return None

    def facts(self, model: Architecture) -> Iterator[Fact]:
        """llama.cpp has no sliding window for this family; 0 says so (see `caveats`)."""
        del model
        yield "attention.sliding_window", ValueType.UINT32, 0


@dataclass(frozen=True)
class Qwen3(Family):
    """Qwen 3, dense."""

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        """Attention biases are not part of llama.cpp's qwen3."""
        return "attention_bias is true" if config.get("attention_bias") else None


@dataclass(frozen=True)
class SmolLM3(Family):
    """SmolLM 3: every fourth layer has no positions, which llama.cpp knows by itself."""

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        """Only that very pattern."""
        layers = config.get("no_rope_layers")
        if isinstance(layers, list) and list(map(bool, layers)) != every(4, len(layers)):
            return f"no_rope_layers is {layers}, where llama.cpp leaves out every fourth"
        if layers is None and config.get("no_rope_layer_interval", 4) != 4:  # noqa: PLR2004 - as above
            return f"no_rope_layer_interval is {config['no_rope_layer_interval']}"
        return None


@dataclass(frozen=True)
class Granite(Family):
    """Granite: Llama with four multipliers."""

    def facts(self, model: Architecture) -> Iterator[Fact]:
        """Yield the multipliers, and whether there are positions."""
        for ours, theirs in (
            ("attention.scale", "attention_multiplier"),
            ("embedding_scale", "embedding_multiplier"),
            ("residual_scale", "residual_multiplier"),
            ("logit_scale", "logits_scaling"),
        ):
            yield ours, ValueType.FLOAT32, float(model.config[theirs])
        positions = model.config.get("position_embedding_type", "rope") == "rope"
        yield "rope.scaling.finetuned", ValueType.BOOL, positions


@dataclass(frozen=True)
class GraniteDense(Granite):
    """Granite 4 without Mamba layers and experts: gate and up in one tensor, written apart."""

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        """Mamba layers and experts are not converted here."""
        kinds = config.get("layer_types") or config.get("layers_block_type") or []
        if config.get("num_local_experts"):
            return f"it has {config['num_local_experts']} experts"
        if not kinds or set(kinds) - {"attention", "full_attention"}:
            return f"its layers are of the kinds {sorted(set(kinds)) or 'mamba'}"
        return None

    def feed_forward(self, config: Mapping[str, Any]) -> Any:
        """Return the width of the only feed-forward part, which config.json calls shared."""
        return config.get("shared_intermediate_size")

    def mlp(self, model: Architecture, source: str, name: str) -> Iterator[Wanted]:
        """Yield gate and up as halves of one tensor."""
        inner, width = model.feed_forward, model.width
        source = f"{source.removesuffix('mlp')}shared_mlp"
        both = f"{source}.input_linear.weight"
        yield half(both, f"{name}.ffn_gate.weight", (inner, width), 0)
        yield half(both, f"{name}.ffn_up.weight", (inner, width), 1)
        down = f"{source}.output_linear.weight"
        yield Wanted(down, f"{name}.ffn_down.weight", (width, inner))


def half(source: str, name: str, shape: tuple[int, int], which: int) -> Wanted:
    """Take the first or second half of a tensor's rows."""
    rows = shape[0]

    def change(block: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(block[which * rows : (which + 1) * rows])

    stored = 2 * rows, shape[1]
    return Wanted(source, name, shape, stored=stored, group=2 * rows, change=change)


@dataclass(frozen=True)
class Gemma3(Family):
    """Gemma 3 text: five layers in six slide, with rotary embeddings of their own."""

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        """llama.cpp has the pattern, the scale of the attention and the direction built in."""
        pattern, layers = slides(config), int(config.get("num_hidden_layers") or 0)
        if pattern is not None and pattern != every(6, layers):
            return "its layer_types are not five sliding layers, then one that sees all"
        if pattern is None and config.get("sliding_window_pattern", 6) != 6:  # noqa: PLR2004 - the family's
            return f"sliding_window_pattern is {config['sliding_window_pattern']}"
        if config.get("use_bidirectional_attention"):
            return "use_bidirectional_attention is true"
        if config.get("attn_logit_softcapping"):
            return "attn_logit_softcapping is set"
        wanted = config["head_dim"]
        if layers == _27B_LAYERS:
            wanted = config["hidden_size"] // config["num_attention_heads"]
        if config["query_pre_attn_scalar"] != wanted:
            return f"query_pre_attn_scalar is {config['query_pre_attn_scalar']}, not {wanted}"
        return None

    def rope(self, path: Path, config: dict[str, Any], head_width: int, context: int) -> Rope:
        """Read those of the layers that see all."""
        nested = config.get("rope_parameters") or {}
        full = nested.get("full_attention") if isinstance(nested, dict) else None
        flat = {**config, "rope_parameters": full} if isinstance(full, dict) else config
        return read_rope(path, flat, head_width, context, partial=False)

    def facts(self, model: Architecture) -> Iterator[Fact]:
        """Yield the window, the rotation within it, and the cap of the logits."""
        window = int(model.config["sliding_window"])
        yield "attention.sliding_window", ValueType.UINT32, window
        nested = model.config.get("rope_parameters")
        local = nested.get("sliding_attention") if isinstance(nested, dict) else None
        theta = local["rope_theta"] if local else model.config.get("rope_local_base_freq", 10_000.0)
        yield "rope.freq_base_swa", ValueType.FLOAT32, float(theta)
        if cap := model.config.get("final_logit_softcapping"):
            yield "final_logit_softcapping", ValueType.FLOAT32, float(cap)


@dataclass(frozen=True)
class Exaone4(Family):
    """EXAONE 4: norms after the parts; with a window, layers that see all have no positions."""

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        """llama.cpp knows three sliding layers, then one that sees all, in the 32B model alone."""
        window, layers = config.get("sliding_window"), config.get("num_hidden_layers")
        if window and layers != _32B_LAYERS:
            return f"sliding_window is {window} in a model of {layers} layers"
        pattern = slides(config) if window else None
        if pattern is not None and pattern != every(4, len(pattern)):
            return "its layer_types are not three sliding layers, then one that sees all"
        return None

    def facts(self, model: Architecture) -> Iterator[Fact]:
        """Yield the window and which layers have it."""
        if window := model.config.get("sliding_window"):
            yield "attention.sliding_window", ValueType.UINT32, int(window)
            pattern = every(4, model.layers)
            yield "attention.sliding_window_pattern", ValueType.BOOL, pattern


@dataclass(frozen=True)
class Ministral3(Family):
    """Ministral 3: yarn, and attention that grows warmer in long texts."""

    def rope(self, path: Path, config: dict[str, Any], head_width: int, context: int) -> Rope:
        """Read yarn; that its two scales are equal means that they cancel out."""
        given = dict(config.get("rope_parameters") or {})
        first, second = given.pop("mscale", 1.0), given.pop("mscale_all_dim", 1.0)
        if first == second:
            config = {**config, "rope_parameters": given}
        return replace(read_rope(path, config, head_width, context, partial=False))

    def facts(self, model: Architecture) -> Iterator[Fact]:
        """Yield the scale of yarn and of the temperature."""
        rope = model.config.get("rope_parameters") or {}
        scale = float(rope.get("mscale_all_dim", 1.0))
        yield "rope.scaling.yarn_log_multiplier", ValueType.FLOAT32, scale
        beta = float(rope.get("llama_4_scaling_beta", 0.0))
        yield "attention.temperature_scale", ValueType.FLOAT32, beta


ROWS: Final = (
    Family(
        ("LlamaForCausalLM",),
        "llama",
        pairs_adjacent=True,
        qkv_bias="attention_bias",
        out_bias="attention_bias",
        mlp_bias="mlp_bias",
        defaults={"max_position_embeddings": 2048, "rms_norm_eps": 1e-6},
    ),
    Family(
        ("MistralForCausalLM",),
        "llama",
        pairs_adjacent=True,
        defaults={
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-6,
            "sliding_window": 4096,
        },
    ),
    Family(
        ("Qwen2ForCausalLM",),
        "qwen2",
        qkv_bias=True,
        defaults={
            "num_key_value_heads": 32,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "use_sliding_window": False,
        },
    ),
    Qwen3(
        ("Qwen3ForCausalLM",),
        "qwen3",
        head_norms="head",
        defaults={
            "num_key_value_heads": 32,
            "head_dim": 128,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "use_sliding_window": False,
        },
    ),
    Phi3(
        ("Phi3ForCausalLM",),
        "phi3",
        fused_attention=True,
        fused_mlp=True,
        partial_rope=True,
        defaults={"max_position_embeddings": 4096, "rms_norm_eps": 1e-5},
    ),
    SmolLM3(
        ("SmolLM3ForCausalLM",),
        "smollm3",
        pairs_adjacent=True,
        defaults={
            "num_key_value_heads": 4,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "rope_theta": 2e6,
            "use_sliding_window": False,
        },
    ),
    Granite(
        ("GraniteForCausalLM",),
        "granite",
        pairs_adjacent=True,
        qkv_bias="attention_bias",
        out_bias="attention_bias",
        mlp_bias="mlp_bias",
        defaults={
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6,
            "embedding_multiplier": 1.0,
            "logits_scaling": 1.0,
            "residual_multiplier": 1.0,
            "attention_multiplier": 1.0,
        },
    ),
    GraniteDense(
        ("GraniteMoeHybridForCausalLM",),
        "granite",
        pairs_adjacent=True,
        qkv_bias="attention_bias",
        out_bias="attention_bias",
        defaults={
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6,
            "embedding_multiplier": 1.0,
            "logits_scaling": 1.0,
            "residual_multiplier": 1.0,
            "attention_multiplier": 1.0,
            "position_embedding_type": None,
        },
    ),
    Family(
        ("Olmo2ForCausalLM",),
        "olmo2",
        head_norms="all",
        norms=_AFTER,
        defaults={"max_position_embeddings": 2048, "rms_norm_eps": 1e-5},
    ),
    Exaone4(
        ("Exaone4ForCausalLM",),
        "exaone4",
        head_norms="head",
        norms=_AFTER,
        windowed=True,
        defaults={
            "num_key_value_heads": 32,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-5,
            "sliding_window": 4096,
        },
    ),
    Family(
        ("Glm4ForCausalLM",),
        "glm4",
        fused_mlp=True,
        qkv_bias="attention_bias",
        norms=(
            ("input_layernorm", "attn_norm"),
            ("post_self_attn_layernorm", "post_attention_norm"),
            ("post_attention_layernorm", "ffn_norm"),
            ("post_mlp_layernorm", "post_ffw_norm"),
        ),
        partial_rope=True,
        defaults={
            "num_key_value_heads": 2,
            "head_dim": 128,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1.5625e-07,
            "attention_bias": True,
            "partial_rotary_factor": 0.5,
        },
    ),
    Gemma3(
        ("Gemma3ForCausalLM",),
        "gemma3",
        head_norms="head",
        norms=(
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "post_attention_norm"),
            ("pre_feedforward_layernorm", "ffn_norm"),
            ("post_feedforward_layernorm", "post_ffw_norm"),
        ),
        norm_shift=1.0,
        activations=("gelu_pytorch_tanh",),
        activation_key="hidden_activation",
        windowed=True,
        defaults={
            "num_key_value_heads": 4,
            "head_dim": 256,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-6,
            "sliding_window": 4096,
            "query_pre_attn_scalar": 256,
            "rope_theta": 1e6,
        },
    ),
    Ministral3(
        ("Ministral3ForCausalLM",),
        "mistral3",
        pairs_adjacent=True,
        defaults={
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 262144,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1e6,
        },
    ),
)
