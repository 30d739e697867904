"""Which tensor of a model gets which type: llama.cpp's own choice, for each of its quantizations.

A quantization names a mix: most tensors get its base type, those that cost most get a finer one, a
row that does not divide into blocks another. The rules are those of `llama_tensor_get_type` in
llama.cpp's src/llama-quant.cpp, written down again here; a tied embedding is the output too and
gets the output's type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from so8t.errors import ModelError
from so8t.system.gguf import ArrayValue, type_numbers, type_sizes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Quantization -> (llama.cpp's LLAMA_FTYPE number, written as general.file_type; its base type).
MIXES: Final = {
    "f32": (0, "F32"),
    "f16": (1, "F16"),
    "bf16": (32, "BF16"),
    "q8_0": (7, "Q8_0"),
    "q5_0": (8, "Q5_0"),
    "q5_1": (9, "Q5_1"),
    "q4_0": (2, "Q4_0"),
    "q4_1": (3, "Q4_1"),
    "q2_k": (10, "Q2_K"),
    "q2_k_s": (21, "Q2_K"),
    "q3_k_s": (11, "Q3_K"),
    "q3_k_m": (12, "Q3_K"),
    "q3_k_l": (13, "Q3_K"),
    "q4_k_s": (14, "Q4_K"),
    "q4_k_m": (15, "Q4_K"),
    "q5_k_s": (16, "Q5_K"),
    "q5_k_m": (17, "Q5_K"),
    "q6_k": (18, "Q6_K"),
    "iq4_nl": (25, "IQ4_NL"),
    "iq4_xs": (30, "IQ4_XS"),
}
#: Those that are not packed in blocks.
FLOATS: Final = ("f32", "f16", "bf16")
#: Those whose blocks only ggml itself can encode.
NATIVE_ONLY: Final = tuple(name for name in MIXES if name.startswith("iq") or "_k" in name)
#: The quantization whose tensors llama.cpp makes with an importance matrix only.
NEEDS_IMPORTANCE: Final = ("q2_k_s",)

# What a type becomes where a row does not divide into its blocks of 256.
_BY_32: Final = {
    "Q2_K": "Q4_0",
    "Q3_K": "Q4_0",
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
    "IQ4_XS": "IQ4_NL",
}
# Parts of a name by which a tensor is known to be small and sensitive.
_EXACT_PARTS: Final = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
)
_EXACT_NAMES: Final = ("position_embd.weight", "token_types.weight")
# The role is the first of these that a name holds.
_ROLES: Final = (
    ("attn_qkv.weight", "value"),
    ("attn_kv_b.weight", "value"),
    ("attn_v.weight", "value"),
    ("attn_k.weight", "key"),
    ("attn_output.weight", "attention_output"),
    ("ffn_down", "down"),
)
# Mix -> (condition, type) pairs; the first that holds counts, an empty condition always does.
_Rules = tuple[tuple[str, str], ...]
_VALUE_RULES: Final[dict[str, _Rules]] = {
    "q2_k": (("shared", "Q4_K"), ("", "Q3_K")),
    "q2_k_s": (("shared", "Q4_K"),),
    "q3_k_m": (("first 2", "Q5_K"), ("", "Q4_K")),
    "q3_k_l": (("", "Q5_K"),),
    "q4_k_s": (("first 4", "Q5_K"),),
    "q4_k_m": (("more", "Q6_K"),),
    "q5_k_m": (("more", "Q6_K"),),
    "iq4_nl": (("shared", "Q5_K"),),
    "iq4_xs": (("shared", "Q5_K"),),
}
_DOWN_RULES: Final[dict[str, _Rules]] = {
    "q2_k": (("", "Q3_K"),),
    "q2_k_s": (("early", "Q4_K"),),
    "q3_k_m": (("first", "Q5_K"), ("", "Q4_K")),
    "q3_k_l": (("", "Q5_K"),),
    "q4_k_s": (("early", "Q5_K"),),
    "q4_k_m": (("more", "Q6_K"),),
    "q5_k_m": (("more", "Q6_K"),),
    "iq4_nl": (("early, unweighed", "Q5_K"),),
    "iq4_xs": (("early, unweighed", "Q5_K"),),
    "q4_0": (("early, weighed", "Q4_1"),),
    "q5_0": (("early, weighed", "Q5_1"),),
}
_DOWN_RULES_FALCON: Final[dict[str, _Rules]] = {
    **_DOWN_RULES,
    "q3_k_m": (("first", "Q5_K"), ("more", "Q4_K")),
    "q3_k_l": (("", "Q4_K"),),
    "q4_k_s": (),
    "q4_k_m": (("first", "Q6_K"), ("more", "Q5_K"), ("", "Q4_K")),
}
_ATTENTION_OUTPUT: Final = {"q2_k": "Q3_K", "q3_k_m": "Q4_K", "q3_k_l": "Q5_K"}
_ATTENTION_OUTPUT_EIGHT: Final = dict.fromkeys(
    ("q2_k", "q3_k_s", "q3_k_m", "q4_k_s", "q4_k_m", "iq4_nl", "iq4_xs"), "Q5_K"
)
_ATTENTION_OUTPUT_FALCON: Final = {"q3_k_l": "Q4_K"}
_LAYER: Final = re.compile(r"blk\.(\d+)\.")
_EIGHT_EXPERTS: Final = 8
_SHARED_HEADS: Final = 4
_LAYERS_OF_70B: Final = 80


@dataclass(frozen=True, slots=True)
class Fallback:
    """A tensor that could not take the wanted type, the type that it got, and why."""

    tensor: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the choice depends on besides the tensors: counts, 0 experts where there are none."""

    architecture: str
    layers: int
    heads: int
    kv_heads: int
    experts: int = 0

    @classmethod
    def read(cls, metadata: Mapping[str, Any]) -> ModelShape:
        """Read it from a GGUF's metadata. Of values that differ by layer the first counts."""
        name = str(metadata.get("general.architecture", ""))

        def count(key: str, default: int = 0) -> int:
            value = metadata.get(f"{name}.{key}", default)
            if isinstance(value, ArrayValue):
                value = (value.numbers() or [default])[0]
            return int(value)

        heads = count("attention.head_count")
        return cls(
            name,
            count("block_count"),
            heads,
            count("attention.head_count_kv", heads),
            count("expert_count"),
        )

    @property
    def shared(self) -> bool:
        """Whether four or more query heads share a key head, so that values are few and matter."""
        return bool(self.kv_heads) and self.heads // self.kv_heads >= _SHARED_HEADS

    @property
    def is_70b(self) -> bool:
        """Whether llama.cpp counts the model among those of 70 billion weights."""
        if self.layers != _LAYERS_OF_70B:
            return False
        return self.architecture in {"qwen2", "deci"} or (
            self.architecture == "llama" and self.heads != self.kv_heads
        )


def check_quantization(name: str) -> None:
    """Raise ModelError unless `name` is a quantization that can be made."""
    if name not in MIXES:
        raise ModelError(
            f"there is no quantization {name!r}.", hint=f"choose one of: {', '.join(MIXES)}"
        )


def may_be_quantized(name: str, shape: Sequence[int]) -> bool:
    """Whether a tensor may be packed at all: matrices only, and no norms, routers and the like."""
    leading = next((place for place, size in enumerate(shape) if size > 1), len(shape))
    if len(shape) - leading <= 1 or not name.endswith("weight") or name in _EXACT_NAMES:
        return False
    return not any(part in name for part in _EXACT_PARTS)


def choose_types(
    tensors: Mapping[str, Sequence[int]],
    quantization: str,
    model: ModelShape,
    *,
    importance: bool = False,
    kept: Mapping[str, int] | None = None,
) -> tuple[dict[str, int], tuple[Fallback, ...]]:
    """Choose a type number for every tensor, given by name and shape (rows first).

    `importance` is whether there is an importance matrix, which changes a few choices. Tensors that
    may not be packed stay as `kept` says (their type number in the source), else F32. Raises
    ModelError for an unknown quantization.
    """
    check_quantization(quantization)
    numbers = type_numbers()
    chooser = _Chooser(tensors, quantization, model, importance=importance)
    found: dict[str, int] = {}
    fallbacks: list[Fallback] = []
    for name in sorted(tensors, key=_order):
        shape = tensors[name]
        if not may_be_quantized(name, shape):
            found[name] = (kept or {}).get(name, numbers["F32"])
            continue
        wanted = chooser.wanted(name, shape)
        kind, reason = _fitting(wanted, shape)
        found[name] = numbers[kind]
        if reason is not None:
            fallbacks.append(Fallback(name, kind, reason))
    return {name: found[name] for name in tensors}, tuple(fallbacks)


def _order(name: str) -> tuple[int, str]:
    """Sort as llama.cpp walks: by layer, then by name; the counts of its rules depend on it."""
    layer = _LAYER.match(name)
    return (int(layer[1]) if layer else -1, name)


def _fitting(wanted: str, shape: Sequence[int]) -> tuple[str, str | None]:
    """Return the type that a tensor can take, and the reason where it is another than wanted."""
    sizes, numbers, columns = type_sizes(), type_numbers(), shape[-1]

    def fits(kind: str) -> bool:
        return columns % sizes[numbers[kind]][1] == 0

    if fits(wanted):
        return wanted, None
    block = sizes[numbers[wanted]][1]
    reason = f"rows of {columns} values do not divide into blocks of {block}"
    other = _BY_32.get(wanted)
    return (other if other is not None and fits(other) else "F16"), reason


class _Chooser:
    """The walk through a model's tensors: some rules count what came before."""

    def __init__(
        self,
        tensors: Mapping[str, Sequence[int]],
        quantization: str,
        model: ModelShape,
        *,
        importance: bool,
    ) -> None:
        self._mix = quantization
        self._base = MIXES[quantization][1]
        self._model = model
        self._importance = importance
        self._tied = "output.weight" not in tensors
        self._values = sum(_role(name) == "value" for name in tensors)
        self._seen = {"value": 0, "down": 0}

    def wanted(self, name: str, shape: Sequence[int]) -> str:
        """Return the type that a tensor is to have, whether its rows divide into blocks or not."""
        if self._mix in FLOATS or (_is_embedding(name) and not self._tied):
            return self._base
        if name == "output.weight" or _is_embedding(name):
            return self._output(shape)
        role = _role(name)
        if role == "value":
            return self._value()
        if role == "down":
            return self._down(name)
        return self._plain(role)

    def _plain(self, role: str | None) -> str:
        """Return the type of a tensor of which nothing is counted."""
        eight = self._model.experts == _EIGHT_EXPERTS
        if role == "key" and eight:
            return "Q8_0"
        if role != "attention_output":
            return self._base
        falcon = self._model.architecture == "falcon"
        plain = _ATTENTION_OUTPUT_EIGHT if eight else _ATTENTION_OUTPUT
        return (_ATTENTION_OUTPUT_FALCON if falcon else plain).get(self._mix, self._base)

    def _output(self, shape: Sequence[int]) -> str:
        block = type_sizes()[type_numbers()[self._base]][1]
        if self._model.architecture == "falcon" or shape[-1] % block or self._base == "Q8_0":
            return "Q8_0"
        return "Q6_K"

    def _value(self) -> str:
        place = self._seen["value"]
        self._seen["value"] += 1
        kind = self._plain_value(place)
        if self._model.is_70b and kind in {"Q3_K", "Q4_K"}:
            kind = "Q5_K"
        return "Q8_0" if self._model.experts == _EIGHT_EXPERTS else kind

    def _plain_value(self, place: int) -> str:
        holds = {
            "shared": self._model.shared,
            "more": _more_bits(place, self._values),
            "first 2": place < 2,  # noqa: PLR2004 - as named
            "first 4": place < 4,  # noqa: PLR2004 - as named
        }
        return self._ruled(_VALUE_RULES, holds)

    def _ruled(self, rules: Mapping[str, _Rules], holds: Mapping[str, bool]) -> str:
        """Return the type of the first rule of this mix whose condition holds, else the base."""
        found = (kind for when, kind in rules.get(self._mix, ()) if not when or holds[when])
        return next(found, self._base)

    def _down(self, name: str) -> str:
        layer, layers = self._seen["down"], self._model.layers
        self._seen["down"] += 1
        if self._model.experts > 1:
            # Several such tensors a layer: only the name tells which.
            found = _LAYER.match(name)
            layer = int(found[1]) if found else layer
        early = layer < layers // 8
        holds = {
            "more": _more_bits(layer, layers),
            "early": early,
            "early, weighed": early and self._importance,
            "early, unweighed": early and not self._importance,
            "first": layer < layers // 16,
        }
        falcon = self._model.architecture == "falcon"
        return self._ruled(_DOWN_RULES_FALCON if falcon else _DOWN_RULES, holds)


def _more_bits(place: int, count: int) -> bool:
    """Whether a layer is among those that the _M mixes keep finer: ends, and every third."""
    eighth = count // 8
    return place < eighth or place >= 7 * count // 8 or (place - eighth) % 3 == 2  # noqa: PLR2004 - every third


def _role(name: str) -> str | None:
    return next((role for part, role in _ROLES if part in name), None)


def _is_embedding(name: str) -> bool:
    return name in {"token_embd.weight", "per_layer_token_embd.weight"}
