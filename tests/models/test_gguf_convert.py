"""Conversion of Hugging Face directories to GGUF, checked in llama.cpp against transformers."""

from __future__ import annotations

import json
import struct
import tracemalloc

import hf_models as hf
import numpy as np
import parity
import pytest
from tokenizers import Tokenizer, pre_tokenizers

from so8t.errors import ModelError, PrerequisiteError
from so8t.models.gguf_check import inspect_gguf
from so8t.models.gguf_convert import check_convertible, convert, pair_rows
from so8t.system.files import file_digest
from so8t.system.gguf import read_header

TOKENIZERS = {
    "qwen": hf.qwen_tokenizer,
    "llama3": hf.llama3_tokenizer,
    "mistral": hf.mistral_tokenizer,
    "phi3": hf.phi3_tokenizer,
}
CHATS = {
    "qwen": ["<|im_start|>user\n日本は？<|im_end|>\n<|im_start|>assistant\n<think>\nhm</think>"],
    "llama3": ["<|end_of_text|> hello <|eot_id|>\n\nworld"],
    "mistral": ["Hi there</s> and on</s>"],
    "phi3": [
        "<|user|>\nHow many?<|end|>\n<|assistant|>\n  Three.<|end|>",
        "<s> <|system|>  Be brief.<|end|><|endoftext|>\nok",
    ],
}


def rope(kind: str, **more) -> dict:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


LLAMA3_ROPE = rope(
    "llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=32,
)
FAMILIES = {
    "Llama": ("llama3", LLAMA3_ROPE),
    "Mistral": ("mistral", {"sliding_window": None, "head_dim": 16}),
    "Qwen2": ("qwen", {"tie_word_embeddings": True}),
    "Qwen3": ("qwen", {"head_dim": 32}),
    "Phi3": ("phi3", {}),
}
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
    "part of each head rotated": ("Phi3", "qwen", rope("default", partial_rotary_factor=0.75)),
}


def build(directory, family: str, tokenizer: str = "qwen", **changes):
    """Save a random model of a family; returns (model, tokenizer)."""
    made, settings = TOKENIZERS[tokenizer]()
    hf.save_tokenizer(made, settings, directory)
    return hf.save_model(family, directory, **changes), made


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
    assert found.difference < 0.001
    assert result.caveats == ()


@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_agrees_with_transformers(variant, tmp_path):
    """What families differ in beside their tensors (biases, rope, padding) is carried over."""
    family, name, changes = VARIANTS[variant]
    model, tokenizer = build(tmp_path, family, name, **changes)
    result = convert(tmp_path, tmp_path / "model.gguf", "f32")
    found = parity.compare(model, tokenizer, result.path, hf.PROMPTS[::5])
    assert (found.token_mismatches, found.greedy_mismatches) == ([], 0)
    assert found.difference < 0.001


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


def real_tokenizer(source, directory) -> dict:
    """Write tokenizer.json for a vocabulary that is only there as GGUF."""
    data = read_header(source).metadata
    tokens = data["tokenizer.ggml.tokens"].strings()
    types = data["tokenizer.ggml.token_type"].numbers()
    model = {"type": "BPE", "vocab": {text: number for number, text in enumerate(tokens)}}
    out = {"version": "1.0", "model": model, "normalizer": None, "pre_tokenizer": None}
    if data["tokenizer.ggml.model"] == "gpt2":
        model["merges"] = data["tokenizer.ggml.merges"].strings()
        out["pre_tokenizer"] = {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        }
    else:
        scores = data["tokenizer.ggml.scores"].numbers()
        pieces = [n for n, kind in enumerate(types) if kind == 1 and len(tokens[n]) > 1]
        pieces.sort(key=lambda number: -scores[number])
        model["merges"] = [
            [text[:cut], text[cut:]]
            for text in (tokens[number] for number in pieces)
            for cut in range(1, len(text))
            if text[:cut] in model["vocab"] and text[cut:] in model["vocab"]
        ]
        model |= {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
        out["normalizer"] = {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        }
    out["added_tokens"] = [
        {
            "id": number,
            "content": tokens[number],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind != 4,
        }
        for number, kind in enumerate(types)
        if kind in {2, 3, 4}
    ]
    settings = {"eos_token": tokens[data["tokenizer.ggml.eos_token_id"]]}
    if data.get("tokenizer.ggml.add_bos_token"):
        settings |= {"bos_token": tokens[data["tokenizer.ggml.bos_token_id"]]}
    directory.mkdir(exist_ok=True)
    (directory / "tokenizer.json").write_text(json.dumps(out), "utf-8")
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    if "bos_token" in settings:
        hf.with_bos(tokenizer, settings["bos_token"])
    hf.save_tokenizer(tokenizer, settings, directory, None)
    return settings


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


# Below, no model is run: small directories written by hand.


def plain(directory, *, dtype="<f4", **changes):
    """Write a small Llama directory without torch; returns its tensors by name."""
    tokenizer, settings = hf.qwen_tokenizer()
    hf.save_tokenizer(tokenizer, settings, directory)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        **changes,
    }
    (directory / "config.json").write_text(json.dumps(config), "utf-8")
    width, inner, rows = 64, config["intermediate_size"], config["vocab_size"]
    shapes = {
        "model.embed_tokens.weight": (rows, width),
        "model.norm.weight": (width,),
        "lm_head.weight": (rows, width),
    }
    for layer in range(config["num_hidden_layers"]):
        base = f"model.layers.{layer}"
        shapes |= {
            f"{base}.input_layernorm.weight": (width,),
            f"{base}.post_attention_layernorm.weight": (width,),
            f"{base}.self_attn.q_proj.weight": (width, width),
            f"{base}.self_attn.k_proj.weight": (width // 2, width),
            f"{base}.self_attn.v_proj.weight": (width // 2, width),
            f"{base}.self_attn.o_proj.weight": (width, width),
            f"{base}.mlp.gate_proj.weight": (inner, width),
            f"{base}.mlp.up_proj.weight": (inner, width),
            f"{base}.mlp.down_proj.weight": (width, inner),
        }
    random = np.random.default_rng(1)
    tensors = {
        name: random.standard_normal(shape, np.float32).astype(dtype)
        for name, shape in shapes.items()
    }
    write_safetensors(directory / "model.safetensors", tensors)
    return tensors


def write_safetensors(path, tensors) -> None:
    """Write arrays as safetensors; uint16 stands for bfloat16."""
    kinds = {"<f4": "F32", "<f2": "F16", "<u2": "BF16", "<i8": "I64"}
    header, offset = {}, 0
    for name, array in tensors.items():
        place = [offset, offset + array.nbytes]
        kind = kinds[array.dtype.str]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": place}
        offset = place[1]
    text = json.dumps(header).encode()
    body = b"".join(array.tobytes() for array in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def test_result_tells_what_was_written(tmp_path):
    """The result's digest, size and count are the file's, and equal inputs give equal bytes."""
    plain(tmp_path)
    seen = []
    first = convert(tmp_path, tmp_path / "a.gguf", "q8_0", progress=lambda *at: seen.append(at))
    second = convert(tmp_path, tmp_path / "b.gguf", "q8_0")
    info = inspect_gguf(first.path)
    assert first.digest == second.digest == file_digest(first.path)
    assert first.size == info.size == first.path.stat().st_size
    assert first.tensor_count == info.tensor_count
    assert first.tokenizer_digest == second.tokenizer_digest
    assert (info.architecture, info.block_count, info.head_count_kv) == ("llama", 1, 2)
    assert (info.context_length, info.key_length) == (128, 16)
    assert info.value_length == 16
    assert info.has_chat_template
    done = [at for at, _ in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1][1]


def test_bfloat16_is_carried_over_bit_for_bit(tmp_path):
    """bfloat16 weights in a bf16 file are the same bits, the rows of q in llama.cpp's order."""
    tensors = plain(tmp_path)
    bits = {name: (a.view("<u4") >> 16).astype("<u2") for name, a in tensors.items()}
    write_safetensors(tmp_path / "model.safetensors", bits)
    path = convert(tmp_path, tmp_path / "model.gguf", "bf16").path
    entries = {tensor.name: tensor for tensor in read_header(path).tensors}
    data = path.read_bytes()

    def stored(name):
        tensor = entries[name]
        return data[tensor.offset : tensor.offset + tensor.bytes]

    down, query = "model.layers.0.mlp.down_proj.weight", "model.layers.0.self_attn.q_proj.weight"
    assert stored("blk.0.ffn_down.weight") == bits[down].tobytes()
    assert stored("blk.0.attn_q.weight") == pair_rows(bits[query], 4).tobytes()
    norm = bits["model.norm.weight"].astype("<u4") << 16
    assert stored("output_norm.weight") == norm.tobytes()


def test_rows_that_do_not_divide_stay_in_f16(tmp_path):
    """A tensor whose rows do not divide into blocks stays in F16, and the result names it."""
    plain(tmp_path, intermediate_size=80)
    result = convert(tmp_path, tmp_path / "model.gguf", "q4_0")
    assert [(f.tensor, f.kind) for f in result.fallbacks] == [("blk.0.ffn_down.weight", "F16")]
    assert "80" in result.fallbacks[0].reason


def test_memory_does_not_grow_with_the_model(tmp_path):
    """Converting takes a fraction of the weights' bytes in memory."""
    tensors = plain(tmp_path, dtype="<f2", intermediate_size=32768, num_hidden_layers=2)
    weights = sum(array.nbytes for array in tensors.values())
    del tensors
    tracemalloc.start()
    convert(tmp_path, tmp_path / "model.gguf", "q8_0")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert weights > 24e6
    assert peak < weights


def refused(directory, *words: str) -> None:
    """Conversion raises ModelError with a hint and all words, and leaves nothing behind."""
    out = directory / "out" / "model.gguf"
    with pytest.raises(ModelError) as caught:
        convert(directory, out, "q8_0")
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert caught.value.hint
    assert not out.parent.exists() or not list(out.parent.iterdir())


def test_wrong_weights_are_found_before_the_work(tmp_path):
    """The check before a run reads the headers: missing, other shape, truncated."""
    tensors = plain(tmp_path)
    check_convertible(tmp_path)
    name = "model.layers.0.mlp.up_proj.weight"
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    for change in ({}, {name: np.zeros((90, 64), "<f4")}):
        others = {key: value for key, value in tensors.items() if key != name}
        write_safetensors(file, {**others, **change})
        with pytest.raises(ModelError, match=name):
            check_convertible(tmp_path)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="truncated"):
        check_convertible(tmp_path)


def test_wrong_tensors_are_named(tmp_path):
    """A tensor that is missing, unknown, of another shape or not finite is named."""
    tensors = plain(tmp_path)
    name = "model.layers.0.mlp.up_proj.weight"
    file = tmp_path / "model.safetensors"
    write_safetensors(file, {key: value for key, value in tensors.items() if key != name})
    refused(tmp_path, name, "missing", "[96, 64]")
    write_safetensors(file, {**tensors, name: np.zeros((90, 64), "<f4")})
    refused(tmp_path, name, "[90, 64]", "[96, 64]")
    write_safetensors(file, {**tensors, "model.layers.0.lora_A.weight": np.zeros(4, "<f4")})
    refused(tmp_path, "model.layers.0.lora_A.weight", "adapter")
    write_safetensors(file, {**tensors, name: np.zeros((96, 64), "<i8")})
    refused(tmp_path, name, "I64")
    broken = tensors[name].copy()
    broken[3, 5] = np.nan
    write_safetensors(file, {**tensors, name: broken})
    refused(tmp_path, name, "NaN")


def test_damaged_weights_are_refused(tmp_path):
    """Truncated, empty, foreign and half-downloaded weight files are refused by name."""
    plain(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    refused(tmp_path, "model.safetensors", "truncated")
    file.write_bytes(b"")
    refused(tmp_path, "model.safetensors", "too short")
    file.write_bytes(b"PK\x03\x04" + whole)
    refused(tmp_path, "model.safetensors", "claims a header")
    file.unlink()
    refused(tmp_path, "no weights")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    refused(tmp_path, "model-00001-of-00002.safetensors", "missing", "download")


def test_unsupported_models_name_both_ways_out(tmp_path):
    """An unknown architecture, pre-tokenizer or tokenizer type names llama.cpp and Ollama."""
    plain(tmp_path, architectures=["GPTNeoXForCausalLM"])
    refused(tmp_path, "GPTNeoXForCausalLM", "llama.cpp checkout", "Ollama")
    plain(tmp_path)
    path = tmp_path / "tokenizer.json"
    whole = json.loads(path.read_text("utf-8"))
    changed = json.loads(json.dumps(whole))
    changed["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+|\s+"
    path.write_text(json.dumps(changed), "utf-8")
    refused(tmp_path, r"\w+|\s+", "llama.cpp checkout", "Ollama")
    path.write_text(json.dumps({**whole, "normalizer": {"type": "Lowercase"}}), "utf-8")
    refused(tmp_path, "Lowercase", "llama.cpp checkout", "Ollama")
    path.write_text(json.dumps({**whole, "model": {"type": "Unigram", "vocab": []}}), "utf-8")
    refused(tmp_path, "Unigram", "llama.cpp checkout", "Ollama")


def test_bad_configs_and_tokenizers_are_refused(tmp_path):
    """A config or tokenizer that does not fit the weights is refused with the cause."""
    plain(tmp_path, vocab_size=300)
    refused(tmp_path, "300 rows")
    plain(tmp_path, num_key_value_heads=3)
    refused(tmp_path, "do not go together")
    plain(tmp_path, hidden_size="64")
    refused(tmp_path, "hidden_size", "'64'")
    plain(tmp_path, rope_scaling={"rope_type": "dynamic", "factor": 2.0})
    refused(tmp_path, "dynamic")
    plain(tmp_path, quantization_config={"quant_method": "gptq"})
    refused(tmp_path, "already quantized", "gptq")
    plain(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}", "utf-8")
    refused(tmp_path, "end-of-sequence")
    (tmp_path / "config.json").write_text("{nonsense", "utf-8")
    refused(tmp_path, "config.json", "no JSON")
    plain(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    refused(tmp_path, "tokenizer.json or tokenizer.model")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    """Where the file cannot be written, the place and the cause are named."""
    plain(tmp_path)
    (tmp_path / "file").write_text("in the way", "utf-8")
    with pytest.raises(PrerequisiteError, match=r"model\.gguf: could not be written") as caught:
        convert(tmp_path, tmp_path / "file" / "model.gguf", "f16")
    assert caught.value.hint


def test_unknown_quantization_names_the_known(tmp_path):
    """A type that is not built in is refused before anything is read."""
    with pytest.raises(ModelError, match="q4_k_m") as caught:
        convert(tmp_path, tmp_path / "model.gguf", "q4_k_m")
    assert "llama-quantize" in str(caught.value.hint)


def test_end_tokens_come_from_the_generation_config(tmp_path):
    """All end tokens of generation_config.json end an answer in llama.cpp."""
    plain(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    ends = [tokenizer.token_to_id(t) for t in ("<|im_end|>", "<|endoftext|>", "</think>", "a")]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}), "utf-8")
    result = convert(tmp_path, tmp_path / "model.gguf", "f16")
    data = read_header(result.path).metadata
    assert data["tokenizer.ggml.eos_token_id"] == ends[0]
    assert data["tokenizer.ggml.eot_token_id"] == ends[2]
    assert data["tokenizer.ggml.eom_token_id"] == ends[3]


def test_a_phi_3_name_does_not_break_other_tokenizers(tmp_path):
    """llama.cpp treats models named phi-3 in its own way; only those that want it are so named."""
    plain(tmp_path)
    result = convert(tmp_path, tmp_path / "model.gguf", "f16", name="my-Phi-3-clone")
    name = inspect_gguf(result.path).name
    assert name is not None
    assert "phi-3" not in name.lower()
    assert parity.run_llama(
        {"model": str(result.path), "context": 64, "requests": [{"prompt": "a", "n_predict": 1}]},
        tmp_path,
    )
