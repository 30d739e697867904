"""Conversion of Hugging Face directories to GGUF, checked in llama.cpp against transformers."""

from __future__ import annotations

import re

import parity
import pytest
from tokenizers import Tokenizer, pre_tokenizers

import hf_models as hf
from hf_directories import CHATS, FAMILIES, LLAMA3_ROPE, build, real_tokenizer, rope
from so8t.errors import UnsupportedModelError
from so8t.models import gguf_families as families
from so8t.models.gguf_check import inspect_gguf
from so8t.models.gguf_convert import check_convertible, convert

VARIANTS = {
    "biases and tied embeddings": (
        "Llama",
        "qwen",
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    "heads wider than the model": ("Llama", "qwen", {"head_dim": 32}),
    "linear scaling": ("Llama", "qwen", rope("linear", factor=4.0)),
    "yarn": ("Qwen2", "qwen", rope("yarn", factor=4.0, original_max_position_embeddings=512)),
    "rows without a token": ("Qwen2", "qwen", {"rows": 768}),
    "phi-4-mini": (
        "Phi3",
        "gpt4o",
        {
            "tie_word_embeddings": True,
            "max_position_embeddings": 1024,
            "original_max_position_embeddings": 1024,
            **rope(
                "longrope",
                partial_rotary_factor=0.75,
                short_factor=[1 + 0.1 * i for i in range(6)],
                long_factor=[2 + 0.5 * i for i in range(6)],
            ),
        },
    ),
    "granite without positions": (
        "GraniteMoeHybrid",
        "qwen",
        {
            "layer_types": ["attention"] * 2,
            "num_local_experts": 0,
            "num_experts_per_tok": 0,
            "shared_intermediate_size": 96,
        },
    ),
    "exaone without a window": (
        "Exaone4",
        "qwen",
        {
            "sliding_window": None,
            "layer_types": ["full_attention"] * 2,
            "tie_word_embeddings": True,
            **LLAMA3_ROPE,
        },
    ),
    "gemma with a linear scaling": (
        "Gemma3",
        "mistral",
        {
            "num_hidden_layers": 6,
            "sliding_window": 8,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
    "ministral in a long text": (
        "Ministral3",
        "qwen",
        {
            "head_dim": 16,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1e6,
                "factor": 16.0,
                "original_max_position_embeddings": 16,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
                "llama_4_scaling_beta": 0.1,
            },
        },
    ),
    "as many key heads as value heads": (
        "Qwen3_5",
        "qwen",
        {
            "num_hidden_layers": 4,
            "head_dim": 32,
            "tie_word_embeddings": True,
            "linear_num_key_heads": 4,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
        },
    ),
    "gpt-oss with plain positions": (
        "GptOss",
        "qwen",
        {
            "head_dim": 16,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "intermediate_size": 96,
            **rope("default"),
        },
    ),
    "part of each head rotated": ("Phi3", "qwen", rope("default", partial_rotary_factor=0.75)),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_family_agrees_with_transformers(family, tmp_path):
    """On 50 prompts tokens, greedy choices and all log probabilities are transformers' own."""
    name, changes = FAMILIES[family]
    model, tokenizer = build(tmp_path, family, name, **changes)
    result = convert(tmp_path, tmp_path / "model.gguf", "f32")
    found = parity.compare(model, tokenizer, result.path, [*hf.PROMPTS, *CHATS[name]])
    assert len(hf.PROMPTS) >= 50
    assert found.token_mismatches == []
    assert found.greedy_mismatches == 0
    # llama.cpp looks its GELU up in a table of half precision.
    assert found.difference < (0.01 if family == "Gemma3" else 0.001)
    assert result.caveats == ()


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_agrees_with_transformers(variant, tmp_path):
    """What families differ in beside their tensors (biases, rope, padding) is carried over."""
    family, name, changes = VARIANTS[variant]
    model, tokenizer = build(tmp_path, family, name, **changes)
    result = convert(tmp_path, tmp_path / "model.gguf", "f32")
    found = parity.compare(model, tokenizer, result.path, hf.PROMPTS[::5])
    assert (found.token_mismatches, found.greedy_mismatches) == ([], 0)
    assert found.difference < (0.01 if family == "Gemma3" else 0.001)


REFUSED = {
    "norm_topk_prob is false": ("Qwen3Moe", {"norm_topk_prob": False}),
    "truncate is false": ("GptOss", {"rope_parameters": None}),
    "beta_fast is 16": (
        "Qwen2",
        rope("yarn", factor=4.0, beta_fast=16.0, original_max_position_embeddings=512),
    ),
    "swiglu_limit are 1.702 and 5.0": ("GptOss", {"swiglu_limit": 5.0}),
    "no_rope_layers": ("SmolLM3", {"no_rope_layers": [1, 0, 1, 0]}),
    "query_pre_attn_scalar": ("Gemma3", {"query_pre_attn_scalar": 256}),
    "five sliding layers": ("Gemma3", {"layer_types": ["full_attention"] * 6}),
    "in a model of 4 layers": ("Exaone4", {"num_hidden_layers": 4, "sliding_window": 8}),
    "linear_key_head_dim": ("Qwen3_5", {"linear_value_head_dim": 32}),
    "conv_bias": ("Lfm2", {"conv_bias": True}),
    "attention_bias": ("Qwen3", {"attention_bias": True}),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_llama_cpp_computes_otherwise_is_refused(words, tmp_path):
    """A setting that llama.cpp has built in otherwise is refused, and its converter named."""
    family, changes = REFUSED[words]
    name, usual = FAMILIES[family]
    build(tmp_path, family, name, **{**usual, **changes})
    with pytest.raises(UnsupportedModelError, match=re.escape(words)) as caught:
        check_convertible(tmp_path)
    assert "llama.cpp checkout" in str(caught.value.hint)
    with pytest.raises(UnsupportedModelError):
        convert(tmp_path, tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


def test_defaults_are_those_of_the_config_classes():
    """A key that config.json leaves out has the value that the family's config class gives it."""
    import transformers  # noqa: PLC0415 - as in hf_models

    for name, family in families.FAMILIES.items():
        config = getattr(transformers, name).config_class().get_text_config(decoder=True)
        values = config.to_dict()
        rotary = values.get("rope_parameters") or {}
        rotary = rotary.get("full_attention", rotary)
        for key, value in family.defaults.items():
            assert values.get(key, rotary.get(key)) == value, (name, key)


def test_longrope_agrees_where_the_caveat_says(tmp_path):
    """Phi-3's long rope agrees in slots up to the original context and in longer texts."""
    longrope = rope(
        "longrope",
        short_factor=[1 + 0.1 * i for i in range(8)],
        long_factor=[2 + 0.5 * i for i in range(8)],
    )
    model, tokenizer = build(
        tmp_path,
        "Phi3",
        "phi3",
        max_position_embeddings=1024,
        original_max_position_embeddings=256,
        **longrope,
    )
    result = convert(tmp_path, tmp_path / "model.gguf", "f32")
    assert any("at most 256 tokens" in caveat for caveat in result.caveats)
    short, long = hf.PROMPTS[::10], [" ".join(hf.ENGLISH * 3)]
    within = parity.compare(model, tokenizer, result.path, short, context=256)
    assert (within.token_mismatches, within.greedy_mismatches) == ([], 0)
    assert within.difference < 0.001
    assert len(tokenizer.encode(long[0]).ids) > 256
    beyond = parity.compare(model, tokenizer, result.path, long, context=1024)
    assert beyond.difference < 0.001
    # The caveat is real: a short text in a long slot is rotated in another way.
    assert parity.compare(model, tokenizer, result.path, short, context=1024).difference > 0.1


def test_tokens_within_a_character_have_no_entry(tmp_path):
    """llama.cpp's server gives no probabilities for a token that ends within a character.

    Read without care, the first entry of a longer free completion is then a later position's,
    which in any family looks like one large difference; hence `parity.forced`.
    """
    _, tokenizer = build(tmp_path, "Qwen2")
    result = convert(tmp_path, tmp_path / "model.gguf", "f32")
    partial = tokenizer.encode("混").ids[0]
    assert "\ufffd" in tokenizer.decode([partial])
    request = {"prompt": [5], "n_predict": 1, "n_probs": 5, "logit_bias": [[partial, 100.0]]}
    job = {"model": str(result.path), "context": 64, "requests": [request]}
    logprobs = parity.run_llama(job, tmp_path)[0]["choices"][0]["logprobs"]
    assert not (logprobs and logprobs["content"])


def test_sliding_window_is_a_caveat(tmp_path):
    """llama.cpp has no window for Mistral: the result says from which length answers differ."""
    build(tmp_path, "Mistral", "mistral", sliding_window=64)
    result = convert(tmp_path, tmp_path / "model.gguf", "f16")
    assert any("64 tokens" in caveat for caveat in result.caveats)


def test_quantized_models_stay_close(tmp_path):
    """Each built-in type loads in llama.cpp, and errs in the order of its bits."""
    model, tokenizer = build(tmp_path, "Llama", hidden_size=128, intermediate_size=256)
    differences = {}
    for kind in ("bf16", "f16", "q8_0", "q5_0", "q4_0"):
        result = convert(tmp_path, tmp_path / f"{kind}.gguf", kind)
        assert inspect_gguf(result.path).file_type == kind.upper()
        found = parity.compare(model, tokenizer, result.path, hf.PROMPTS[::12])
        differences[kind] = found.difference
    assert differences["f16"] < 0.05
    assert differences["f16"] < differences["bf16"] < 0.5
    assert differences["f16"] < differences["q8_0"] < 1.0
    assert differences["q8_0"] < differences["q5_0"] < differences["q4_0"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt-2", "phi-3"])
def test_real_vocabulary_tokenizes_as_published(name, tmp_path, shared_data):
    """GPT-2's and Phi-3's real vocabularies, through tokenizer.json, give llama.cpp's own ids."""
    source = shared_data / "weights_tiny" / f"ggml-vocab-{name}.gguf"
    settings = real_tokenizer(source, tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    hf.save_model(
        "Llama",
        tmp_path,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    convert(tmp_path, tmp_path / "model.gguf", "f16")
    texts = source.with_name(source.name + ".inp.txt").read_text("utf-8")
    wanted = source.with_name(source.name + ".out.txt").read_text("utf-8").splitlines()
    pairs = [
        (text, [int(token) for token in line.split()])
        for text, line in zip(texts.split("\n__ggml_vocab_test__\n"), wanted, strict=False)
        if line.split()
    ]
    assert len(pairs) > 30
    assert settings["eos_token"]
    requests = []
    for text, ids in pairs:
        begin = tokenizer.encode("").ids
        requests += [parity.forced(text, [400], 20), parity.forced([*begin, *ids], [400], 20)]
    job = {"model": str(tmp_path / "model.gguf"), "context": 1024, "requests": requests}
    replies = parity.run_llama(job, tmp_path)
    for (text, _), by_text, by_ids in zip(pairs, replies[::2], replies[1::2], strict=True):
        assert by_text["usage"]["prompt_tokens"] == by_ids["usage"]["prompt_tokens"], text
        assert by_text["choices"][0]["logprobs"] == by_ids["choices"][0]["logprobs"], text


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["first", "always", "never"])
def test_metaspace_tokenizers_agree(scheme, tmp_path):
    """The newer form of SentencePiece-like tokenizers splits plain text as its own library does."""
    tokenizer = hf.sentencepiece_like()
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    hf.save_tokenizer(hf.with_bos(tokenizer, "<s>"), {"eos_token": "</s>"}, tmp_path)
    model = hf.save_model("Mistral", tmp_path, sliding_window=None, head_dim=16)
    result = convert(tmp_path, tmp_path / "model.gguf", "f32")
    # "always" and "first" put no second space before text that begins with one; llama.cpp does.
    prompts = [prompt for prompt in hf.PROMPTS[::3] if not prompt.startswith(" ")]
    found = parity.compare(model, tokenizer, result.path, prompts)
    assert (found.token_mismatches, found.greedy_mismatches) == ([], 0)
    assert bool(result.caveats) == (scheme != "never")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "options", "name"),
    [
        (hf.QWEN2, {}, "qwen2"),
        (hf.LLAMA3, {"ignore_merges": True}, "llama-bpe"),
        (hf.LLAMA3, {}, "dbrx"),
        (hf.TEKKEN, {"ignore_merges": True}, "tekken"),
        (hf.GPT4O, {}, "gpt-4o"),
        (None, {}, "gpt-2"),
        (None, {"digits": True}, "smollm"),
    ],
)
def test_each_pre_tokenizer_name_means_its_expression(pattern, options, name, tmp_path):
    """A pre-tokenizer gets the name under which llama.cpp splits text exactly like it."""
    tokenizer = hf.byte_level(pattern, **options)
    tokenizer.add_special_tokens(["<|end|>"])
    hf.save_tokenizer(tokenizer, {"eos_token": "<|end|>"}, tmp_path)
    model = hf.save_model("Llama", tmp_path, hidden_size=32, intermediate_size=32)
    result = convert(tmp_path, tmp_path / "model.gguf", "f32")
    assert inspect_gguf(result.path).tokenizer_pre == name
    # llama.cpp's expressions for tekken and gpt-4o take long, so not all prompts.
    found = parity.compare(model, tokenizer, result.path, hf.PROMPTS[::2])
    assert found.token_mismatches == []
    assert found.difference < 0.001
