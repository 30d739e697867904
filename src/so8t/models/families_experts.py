"""Families with experts: Qwen 3 MoE and gpt-oss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from so8t.models.families_llama import every, slides
from so8t.models.gguf_architecture import Architecture, Fact, Family, Wanted
from so8t.system.gguf import ValueType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from so8t.models.gguf_architecture import Change


def experts(config: Mapping[str, Any]) -> int:
    """Return the number of experts, for which there are two keys."""
    return int(config.get("num_local_experts") or config.get("num_experts") or 0)


@dataclass(frozen=True)
class Qwen3Moe(Family):
    """Qwen 3 with experts in every layer, each a tensor of its own in the directory."""

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        """llama.cpp's qwen3moe has experts in all layers, and weighs the chosen to a sum of one."""
        if not config.get("norm_topk_prob"):
            return "norm_topk_prob is false"
        if config.get("mlp_only_layers") or config.get("decoder_sparse_step") != 1:
            return "some of its layers have no experts"
        if config.get("attention_bias"):
            return "attention_bias is true"
        return None

    def facts(self, model: Architecture) -> Iterator[Fact]:
        """Yield the numbers of experts and their width."""
        config = model.config
        yield "expert_count", ValueType.UINT32, experts(config)
        yield "expert_used_count", ValueType.UINT32, model.number("num_experts_per_tok")
        width = model.number("moe_intermediate_size")
        yield "expert_feed_forward_length", ValueType.UINT32, width

    def mlp(self, model: Architecture, source: str, name: str) -> Iterator[Wanted]:
        """Yield the router, and the experts one after the other."""
        count, inner, width = (
            experts(model.config),
            model.number("moe_intermediate_size"),
            model.width,
        )
        yield Wanted(f"{source}.gate.weight", f"{name}.ffn_gate_inp.weight", (count, width))
        shapes = {"gate": (inner, width), "up": (inner, width), "down": (width, inner)}
        for part, shape in shapes.items():
            sources = tuple(f"{source}.experts.{one}.{part}_proj.weight" for one in range(count))
            target = f"{name}.ffn_{part}_exps.weight"
            yield Wanted(sources[0], target, (count, *shape), stored=shape, sources=sources)


@dataclass(frozen=True)
class GptOss(Family):
    """gpt-oss: experts in two tensors, inputs first, gate and up in turns; sinks; biases."""

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        """llama.cpp has the order of layers and the activation's constants built in."""
        pattern = slides(config)
        if pattern is not None and pattern != every(2, len(pattern)):
            return "its layer_types are not sliding and full in turns"
        alpha, limit = config["swiglu_alpha"], config["swiglu_limit"]
        if (alpha, limit) != (1.702, 7.0):
            return f"swiglu_alpha and swiglu_limit are {alpha} and {limit}"
        return None

    def facts(self, model: Architecture) -> Iterator[Fact]:
        """Yield the window, and the numbers of experts and their width."""
        yield "attention.sliding_window", ValueType.UINT32, model.number("sliding_window")
        yield "expert_count", ValueType.UINT32, experts(model.config)
        yield "expert_used_count", ValueType.UINT32, model.number("num_experts_per_tok")
        yield "expert_feed_forward_length", ValueType.UINT32, model.feed_forward

    def attention(self, model: Architecture, source: str, name: str) -> Iterator[Wanted]:
        """Yield the sinks too."""
        yield from super().attention(model, source, name)
        yield Wanted(f"{source}.sinks", f"{name}.attn_sinks.weight", (model.heads,))

    def mlp(self, model: Architecture, source: str, name: str) -> Iterator[Wanted]:
        """Yield router and experts; each expert's matrix is turned, and its rows sorted."""
        count, inner, width = experts(model.config), model.feed_forward, model.width
        for kind, shape in (("weight", (count, width)), ("bias", (count,))):
            yield Wanted(f"{source}.router.{kind}", f"{name}.ffn_gate_inp.{kind}", shape)
        both, down = f"{source}.experts.gate_up_proj", f"{source}.experts.down_proj"
        for part, start in (("gate", 0), ("up", 1)):
            yield Wanted(
                both,
                f"{name}.ffn_{part}_exps.weight",
                (count, inner, width),
                stored=(count, width, 2 * inner),
                group=width,
                change=_every_second(start, turned=True),
            )
            yield Wanted(
                f"{both}_bias",
                f"{name}.ffn_{part}_exps.bias",
                (count, inner),
                stored=(count, 2 * inner),
                change=_every_second(start, turned=False),
            )
        yield Wanted(
            down,
            f"{name}.ffn_down_exps.weight",
            (count, width, inner),
            stored=(count, inner, width),
            group=inner,
            change=_turned,
        )
        yield Wanted(f"{down}_bias", f"{name}.ffn_down_exps.bias", (count, width))


def _every_second(start: int, *, turned: bool) -> Change:
    """Take every second output: a row once the matrix is turned, a number of a bias."""

    def change(block: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(block.T[start::2] if turned else block[:, start::2])

    return change


def _turned(block: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(block.T)


ROWS: Final = (
    Qwen3Moe(
        ("Qwen3MoeForCausalLM",),
        "qwen3moe",
        head_norms="head",
        defaults={
            "num_key_value_heads": 4,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "use_sliding_window": False,
            "decoder_sparse_step": 1,
            "moe_intermediate_size": 768,
            "num_experts_per_tok": 8,
            "norm_topk_prob": False,
        },
    ),
    GptOss(
        ("GptOssForCausalLM",),
        "gpt-oss",
        qkv_bias="attention_bias",
        out_bias="attention_bias",
        norms=(
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "post_attention_norm"),
        ),
        windowed=True,
        defaults={
            "num_key_value_heads": 8,
            "head_dim": 64,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "sliding_window": 128,
            "num_experts_per_tok": 4,
            "swiglu_alpha": 1.702,
            "swiglu_limit": 7.0,
            "attention_bias": True,
            "rope_theta": 150000.0,
        },
    ),
)
