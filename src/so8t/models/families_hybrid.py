"""Families most of whose layers are no attention: LFM 2 (convolutions), Qwen 3.5 (delta net)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from so8t.models.families_llama import every
from so8t.models.gguf_architecture import Architecture, Fact, Family, Wanted
from so8t.models.safetensors_files import as_float32
from so8t.system.gguf import ValueType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    Order = NDArray[np.int64]

_FULL: Final = "full_attention"
# Qwen 3.5 reads a text's positions three times; in text alone all three are the same.
_SECTIONS: Final = [11, 11, 10, 0]


@dataclass(frozen=True)
class Lfm2(Family):
    """LFM 2: gated short convolutions, with attention in some layers."""

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        """llama.cpp's convolutions have no bias."""
        kinds = set(config.get("layer_types") or [])
        if not kinds or kinds - {"conv", _FULL}:
            return f"its layers are of the kinds {sorted(kinds)}"
        return "conv_bias is true" if config.get("conv_bias") else None

    def feed_forward(self, config: Mapping[str, Any]) -> Any:
        """Return the inner width, which the settings round up to a multiple."""
        inner = config.get("block_ff_dim") or config.get("intermediate_size")
        if not isinstance(inner, int) or not config["block_auto_adjust_ff_dim"]:
            return inner
        inner = int(2 * inner / 3)
        if (factor := config["block_ffn_dim_multiplier"]) is not None:
            inner = int(factor * inner)
        multiple = int(config["block_multiple_of"])
        return multiple * -(-inner // multiple)

    def kv_heads(self, model: Architecture) -> Fact:
        """Return their number for each layer: none where there is no attention."""
        heads = [model.kv_heads if kind == _FULL else 0 for kind in model.config["layer_types"]]
        return "attention.head_count_kv", ValueType.UINT32, heads

    def facts(self, model: Architecture) -> Iterator[Fact]:
        """Yield the length of the convolutions."""
        yield "shortconv.l_cache", ValueType.UINT32, model.number("conv_L_cache")

    def tensors(self, model: Architecture) -> Iterator[Wanted]:
        """Yield the tensors; the last norm has another name than elsewhere."""
        for wanted in super().tensors(model):
            if wanted.name == "output_norm.weight":
                yield self.norm("model.embedding_norm", "token_embd_norm", model.width)
            else:
                yield wanted

    def layer(self, model: Architecture, number: int) -> Iterator[Wanted]:
        """Yield a layer's tensors by its kind."""
        source, name, width = f"model.layers.{number}", f"blk.{number}", model.width
        yield self.norm(f"{source}.operator_norm", f"{name}.attn_norm", width)
        yield self.norm(f"{source}.ffn_norm", f"{name}.ffn_norm", width)
        if model.config["layer_types"][number] == _FULL:
            query, key = model.heads * model.head_width, model.kv_heads * model.head_width
            place = f"{source}.self_attn"
            for part, rows in zip("qkv", (query, key, key), strict=True):
                yield Wanted(
                    f"{place}.{part}_proj.weight", f"{name}.attn_{part}.weight", (rows, width)
                )
            for part in "qk":
                yield self.norm(
                    f"{place}.{part}_layernorm", f"{name}.attn_{part}_norm", model.head_width
                )
            yield Wanted(f"{place}.out_proj.weight", f"{name}.attn_output.weight", (width, query))
        else:
            place, length = f"{source}.conv", model.number("conv_L_cache")
            yield Wanted(
                f"{place}.conv.weight",
                f"{name}.shortconv.conv.weight",
                (width, length),
                stored=(width, 1, length),
            )
            inside = f"{name}.shortconv.in_proj.weight"
            yield Wanted(f"{place}.in_proj.weight", inside, (3 * width, width))
            outside = f"{name}.shortconv.out_proj.weight"
            yield Wanted(f"{place}.out_proj.weight", outside, (width, width))
        inner = model.feed_forward
        for theirs, ours, shape in (
            ("w1", "gate", (inner, width)),
            ("w3", "up", (inner, width)),
            ("w2", "down", (width, inner)),
        ):
            yield Wanted(
                f"{source}.feed_forward.{theirs}.weight", f"{name}.ffn_{ours}.weight", shape
            )


@dataclass(frozen=True)
class Qwen35(Family):
    """Qwen 3.5, text: three layers of a gated delta net, then one of gated attention."""

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        """llama.cpp wants both parts of a head alike."""
        kinds = config.get("layer_types")
        if isinstance(kinds, list) and [kind != _FULL for kind in kinds] != every(4, len(kinds)):
            return "its layer_types are not three linear layers, then one of attention"
        key, value = config["linear_key_head_dim"], config["linear_value_head_dim"]
        if key != value:
            return f"linear_key_head_dim and linear_value_head_dim are {key} and {value}"
        return "attention_bias is true" if config.get("attention_bias") else None

    def facts(self, model: Architecture) -> Iterator[Fact]:
        """Yield the sizes of the delta net."""
        number = model.number
        heads, wide = number("linear_num_value_heads"), number("linear_value_head_dim")
        sizes = {
            "ssm.conv_kernel": number("linear_conv_kernel_dim"),
            "ssm.state_size": number("linear_key_head_dim"),
            "ssm.group_count": number("linear_num_key_heads"),
            "ssm.time_step_rank": heads,
            "ssm.inner_size": heads * wide,
            "full_attention_interval": 4,
        }
        for key, value in sizes.items():
            yield key, ValueType.UINT32, value
        yield "rope.dimension_sections", ValueType.INT32, _SECTIONS

    def layer(self, model: Architecture, number: int) -> Iterator[Wanted]:
        """Yield a layer's tensors by its kind."""
        source, name = f"model.layers.{number}", f"blk.{number}"
        for theirs, ours in self.norms:
            yield self.norm(f"{source}.{theirs}", f"{name}.{ours}", model.width)
        if (number + 1) % 4:
            yield from _delta_net(model, f"{source}.linear_attn", name)
        else:
            yield from self.attention(model, f"{source}.self_attn", name)
        yield from self.mlp(model, f"{source}.mlp", name)

    def attention(self, model: Architecture, source: str, name: str) -> Iterator[Wanted]:
        """Yield the attention, whose query brings a gate along."""
        for wanted in super().attention(model, source, name):
            if wanted.name.endswith("attn_q.weight"):
                rows, width = wanted.shape
                yield Wanted(wanted.source, wanted.name, (2 * rows, width))
            else:
                yield wanted


def _delta_net(model: Architecture, source: str, name: str) -> Iterator[Wanted]:
    """Yield the delta net's tensors, with value heads in llama.cpp's order.

    PyTorch lists the value heads of each key head together; llama.cpp lists the first of each key
    head, then the second of each.
    """
    number, width = model.number, model.width
    keys, values = number("linear_num_key_heads"), number("linear_num_value_heads")
    wide, kernel = number("linear_value_head_dim"), number("linear_conv_kernel_dim")
    heads = np.arange(values).reshape(keys, values // keys).T.reshape(-1)
    rows = (heads[:, None] * wide + np.arange(wide)).reshape(-1)
    key, value = keys * number("linear_key_head_dim"), values * wide
    mixed = np.concatenate([np.arange(2 * key), 2 * key + rows])
    channels = 2 * key + value

    def by_rows(order: Order) -> Callable[[NDArray[Any]], NDArray[Any]]:
        return lambda block: np.ascontiguousarray(block[order])

    def by_columns(order: Order) -> Callable[[NDArray[Any]], NDArray[Any]]:
        return lambda block: np.ascontiguousarray(block[:, order])

    yield Wanted(
        f"{source}.in_proj_qkv.weight",
        f"{name}.attn_qkv.weight",
        (channels, width),
        group=channels,
        change=by_rows(mixed),
    )
    yield Wanted(
        f"{source}.in_proj_z.weight",
        f"{name}.attn_gate.weight",
        (value, width),
        group=value,
        change=by_rows(rows),
    )
    for theirs, ours in (("a", "alpha"), ("b", "beta")):
        yield Wanted(
            f"{source}.in_proj_{theirs}.weight",
            f"{name}.ssm_{ours}.weight",
            (values, width),
            group=values,
            change=by_rows(heads),
        )
    yield Wanted(
        f"{source}.conv1d.weight",
        f"{name}.ssm_conv1d.weight",
        (channels, kernel),
        stored=(channels, 1, kernel),
        group=channels,
        change=by_rows(mixed),
    )
    bias = f"{name}.ssm_dt.bias"
    yield Wanted(f"{source}.dt_bias", bias, (values,), change=by_columns(heads))
    yield Wanted(
        f"{source}.A_log",
        f"{name}.ssm_a",
        (values,),
        change=lambda block: -np.exp(as_float32(block[:, heads])),
    )
    yield Wanted(f"{source}.norm.weight", f"{name}.ssm_norm.weight", (wide,))
    out = f"{name}.ssm_out.weight"
    yield Wanted(f"{source}.out_proj.weight", out, (width, value), change=by_columns(rows))


ROWS: Final = (
    Lfm2(
        ("Lfm2ForCausalLM",),
        "lfm2",
        defaults={
            "num_key_value_heads": 8,
            "max_position_embeddings": 128000,
            "norm_eps": 1e-5,
            "block_auto_adjust_ff_dim": True,
            "block_ffn_dim_multiplier": 1.0,
            "block_multiple_of": 256,
            "rope_theta": 1e6,
        },
    ),
    Qwen35(
        ("Qwen3_5ForCausalLM",),
        "qwen35",
        head_norms="head",
        norms=(
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "post_attention_norm"),
        ),
        norm_shift=1.0,
        partial_rope=True,
        defaults={
            "num_key_value_heads": 4,
            "head_dim": 256,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "linear_conv_kernel_dim": 4,
            "linear_key_head_dim": 128,
            "linear_value_head_dim": 128,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 32,
            "partial_rotary_factor": 0.25,
        },
    ),
)
