"""The choice of types: llama.cpp's own, tensor by tensor."""

from __future__ import annotations

import pytest

from real_models import smollm2
from so8t.errors import ModelError
from so8t.models.tensor_types import (
    MIXES,
    ModelShape,
    choose_types,
    may_be_quantized,
)
from so8t.system.gguf import ArrayValue, ValueType, read_header, type_numbers, type_sizes

# Qwen3-0.6B with an output of its own, as in llama.cpp's test-quant-type-selection, whose expected
# types are told here by layer: which layers differ from the mix's base type.
LAYERS = 28
QWEN3 = ModelShape("qwen3", LAYERS, 16, 8)
EVERY = range(LAYERS)
MORE = [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27]
EXPECTED = {
    "q4_0": {"output": "Q6_K"},
    "q5_1": {"output": "Q6_K"},
    "q8_0": {},
    "q2_k": {
        "output": "Q6_K",
        "attn_output": dict.fromkeys(EVERY, "Q3_K"),
        "attn_v": dict.fromkeys(EVERY, "Q3_K"),
        "ffn_down": dict.fromkeys(EVERY, "Q3_K"),
    },
    "q2_k_s": {"output": "Q6_K", "ffn_down": dict.fromkeys(range(3), "Q4_K")},
    "q3_k_s": {"output": "Q6_K"},
    "q3_k_m": {
        "output": "Q6_K",
        "attn_output": dict.fromkeys(EVERY, "Q4_K"),
        "attn_v": dict.fromkeys(EVERY, "Q4_K") | {0: "Q5_K", 1: "Q5_K"},
        "ffn_down": dict.fromkeys(EVERY, "Q4_K") | {0: "Q5_K"},
    },
    "q3_k_l": {
        "output": "Q6_K",
        "attn_output": dict.fromkeys(EVERY, "Q5_K"),
        "attn_v": dict.fromkeys(EVERY, "Q5_K"),
        "ffn_down": dict.fromkeys(EVERY, "Q5_K"),
    },
    "q4_k_s": {
        "output": "Q6_K",
        "attn_v": dict.fromkeys(range(4), "Q5_K"),
        "ffn_down": dict.fromkeys(range(3), "Q5_K"),
    },
    "q4_k_m": {
        "output": "Q6_K",
        "attn_v": dict.fromkeys(MORE, "Q6_K"),
        "ffn_down": dict.fromkeys(MORE, "Q6_K"),
    },
    "q5_k_s": {"output": "Q6_K"},
    "q5_k_m": {
        "output": "Q6_K",
        "attn_v": dict.fromkeys(MORE, "Q6_K"),
        "ffn_down": dict.fromkeys(MORE, "Q6_K"),
    },
    "q6_k": {},
}


def llama_like(layers: int, width: int, *, tied: bool = False) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a Llama-like model."""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (1000, width),
        "output_norm.weight": (width,),
    }
    for layer in range(layers):
        for name in ("attn_k", "attn_output", "attn_q", "attn_v", "ffn_gate", "ffn_up"):
            shapes[f"blk.{layer}.{name}.weight"] = (width, width)
        shapes[f"blk.{layer}.ffn_down.weight"] = (width, 3 * width)
        shapes[f"blk.{layer}.attn_norm.weight"] = (width,)
    if not tied:
        shapes["output.weight"] = (1000, width)
    return shapes


def names_of(types: dict[str, int]) -> dict[str, str]:
    return {name: type_sizes()[kind][0] for name, kind in types.items()}


@pytest.mark.parametrize("mix", EXPECTED)
def test_every_mix_is_llama_cpp_s(mix):
    """Each tensor of each layer has the type that llama.cpp's own tests expect."""
    types, fallbacks = choose_types(llama_like(LAYERS, 1024), mix, QWEN3)
    found = names_of(types)
    base = MIXES[mix][1]
    for name, kind in found.items():
        parts = name.split(".")
        if name.endswith("norm.weight"):
            wanted = "F32"
        elif parts[0] == "blk":
            wanted = EXPECTED[mix].get(parts[2], {}).get(int(parts[1]), base)
        else:
            wanted = EXPECTED[mix].get(parts[0], base)
        assert kind == wanted, name
    assert fallbacks == ()


def test_a_published_file_has_the_same_types():
    """All 272 tensors of SmolLM2's published Q4_1 have the types that we choose for them."""
    header = read_header(smollm2())
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    types, fallbacks = choose_types(shapes, "q4_1", ModelShape.read(header.metadata))
    assert types == {tensor.name: tensor.kind for tensor in header.tensors}
    # The tied embedding would be Q6_K, but 576 does not divide by 256.
    assert [(one.tensor, one.kind) for one in fallbacks] == [("token_embd.weight", "Q8_0")]


def test_a_tied_embedding_has_the_type_of_the_output():
    """Without an output of its own the embedding is the output; with one it has the base type."""
    tied, _ = choose_types(llama_like(4, 256, tied=True), "q4_0", QWEN3)
    own, _ = choose_types(llama_like(4, 256), "q4_0", QWEN3)
    embedding, output = "token_embd.weight", "output.weight"
    assert names_of(tied)[embedding] == "Q6_K"
    assert names_of(own)[embedding] == "Q4_0"
    assert names_of(own)[output] == "Q6_K"


@pytest.mark.parametrize(
    ("mix", "width", "query", "output"),
    [
        ("q2_k", 576, "Q4_0", "Q8_0"),
        ("q3_k_s", 576, "Q4_0", "Q8_0"),
        ("q4_k_s", 576, "Q5_0", "Q8_0"),
        ("q5_k_s", 576, "Q5_1", "Q8_0"),
        ("q6_k", 576, "Q8_0", "Q8_0"),
        ("iq4_xs", 576, "IQ4_NL", "Q8_0"),
        ("iq4_nl", 576, "IQ4_NL", "Q8_0"),
        ("q4_0", 576, "Q4_0", "Q8_0"),
        ("q4_k_s", 40, "F16", "F16"),
        ("q8_0", 40, "F16", "F16"),
    ],
)
def test_rows_that_do_not_divide_fall_back(mix, width, query, output):
    """Rows that blocks of 256 do not fit get blocks of 32, or F16; each is told."""
    types, fallbacks = choose_types(llama_like(16, width), mix, ModelShape("llama", 16, 9, 3))
    found = names_of(types)
    assert found["blk.15.attn_q.weight"] == query
    assert found["output.weight"] == output
    told = {one.tensor: one.kind for one in fallbacks}
    assert (told.get("blk.15.attn_q.weight") == query) == (query != MIXES[mix][1])


def test_few_value_heads_and_experts_get_more_bits():
    """Values that many query heads share, and the attention of eight experts, are kept finer."""
    shapes = llama_like(8, 512)
    shared = names_of(choose_types(shapes, "q2_k", ModelShape("llama", 8, 32, 8))[0])
    assert shared["blk.7.attn_v.weight"] == "Q4_K"
    assert (
        names_of(choose_types(shapes, "iq4_xs", ModelShape("llama", 8, 32, 8))[0])[
            "blk.7.attn_v.weight"
        ]
        == "Q5_K"
    )
    eight = names_of(choose_types(shapes, "q4_k_m", ModelShape("llama", 8, 32, 8, 8))[0])
    assert {eight[f"blk.3.attn_{part}.weight"] for part in "kv"} == {"Q8_0"}
    assert eight["blk.3.attn_output.weight"] == "Q5_K"


def test_layers_of_experts_are_told_by_their_names():
    """With experts there are several down projections a layer: the name says which layer it is."""
    shapes = llama_like(16, 512)
    for layer in range(16):
        shapes[f"blk.{layer}.ffn_down_exps.weight"] = (60, 512, 512)
        shapes[f"blk.{layer}.ffn_gate_inp.weight"] = (60, 512)
    found = names_of(choose_types(shapes, "q4_k_s", ModelShape("qwen3moe", 16, 32, 4, 60))[0])
    assert [found[f"blk.{n}.ffn_down_exps.weight"] for n in (0, 1, 2)] == ["Q5_K", "Q5_K", "Q4_K"]
    assert found["blk.0.ffn_gate_inp.weight"] == "F32"


def test_an_importance_matrix_changes_the_first_layers():
    """With one, Q4_0 keeps the first down projections in Q4_1, and IQ4_XS needs no finer ones."""
    shapes = llama_like(16, 512)
    model = ModelShape("llama", 16, 8, 8)
    for mix, plain, weighed in (("q4_0", "Q4_0", "Q4_1"), ("iq4_xs", "Q5_K", "IQ4_XS")):
        for importance, wanted in ((False, plain), (True, weighed)):
            types, _ = choose_types(shapes, mix, model, importance=importance)
            assert names_of(types)["blk.1.ffn_down.weight"] == wanted
            assert names_of(types)["blk.2.ffn_down.weight"] == MIXES[mix][1]


@pytest.mark.parametrize(
    ("name", "shape", "quantized"),
    [
        ("blk.0.attn_q.weight", (64, 64), True),
        ("blk.0.ffn_gate_exps.weight", (8, 64, 64), True),
        ("blk.0.attn_q.bias", (64,), False),
        ("blk.0.attn_norm.weight", (64,), False),
        ("blk.0.attn_q_norm.weight", (4, 64), False),
        ("blk.0.ffn_gate_inp.weight", (8, 64), False),
        ("blk.0.shortconv.conv.weight", (64, 3), False),
        ("blk.0.ssm_conv1d.weight", (64, 4), False),
        ("blk.0.attn_sinks.weight", (1, 64), False),
        ("position_embd.weight", (64, 64), False),
        ("rope_freqs.weight", (32,), False),
    ],
)
def test_what_is_small_and_sensitive_stays(name, shape, quantized):
    """Vectors, norms, routers and convolutions are never packed, whatever the mix."""
    assert may_be_quantized(name, shape) is quantized
    types, _ = choose_types({name: shape}, "q4_k_m", QWEN3)
    assert (names_of(types)[name] == "F32") is not quantized
    kept, _ = choose_types({name: shape}, "q4_k_m", QWEN3, kept={name: type_numbers()["F16"]})
    assert (names_of(kept)[name] == "F16") is not quantized


def test_counts_that_differ_by_layer_are_read():
    """A GGUF may give heads for each layer; the first counts, as in llama.cpp."""
    layers = ArrayValue(ValueType.INT32, 2, b"\x08\0\0\0\x04\0\0\0")
    shape = ModelShape.read(
        {
            "general.architecture": "x",
            "x.block_count": 2,
            "x.attention.head_count": 32,
            "x.attention.head_count_kv": layers,
        }
    )
    assert shape == ModelShape("x", 2, 32, 8)
    assert shape.shared


def test_an_unknown_quantization_is_refused_with_the_known_ones():
    """The hint lists what can be made."""
    with pytest.raises(ModelError, match="q9_k") as caught:
        choose_types({}, "q9_k", QWEN3)
    assert "q4_k_m" in str(caught.value.hint)
