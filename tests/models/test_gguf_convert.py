"""What the conversion to GGUF writes and refuses, on small directories written by hand."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import parity
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer  # noqa: F401 - loaded here, tokenizers need no child

from hf_directories import plain, write_safetensors
from so8t.errors import ModelError, PrerequisiteError
from so8t.models.gguf_check import inspect_gguf
from so8t.models.gguf_convert import check_convertible, convert, pair_rows
from so8t.system.files import file_digest
from so8t.system.gguf import read_header


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
    # The output would be Q6_K, whose blocks of 256 no row of 64 fits.
    assert {(f.tensor, f.kind) for f in result.fallbacks} == {
        ("blk.0.ffn_down.weight", "F16"),
        ("output.weight", "Q8_0"),
    }
    assert "80" in next(f.reason for f in result.fallbacks if f.kind == "F16")


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
    refused(tmp_path, "GPTNeoXForCausalLM", "llama.cpp checkout", "kind: ollama")
    plain(tmp_path)
    path = tmp_path / "tokenizer.json"
    whole = json.loads(path.read_text("utf-8"))
    changed = json.loads(json.dumps(whole))
    changed["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+|\s+"
    path.write_text(json.dumps(changed), "utf-8")
    refused(tmp_path, r"\w+|\s+", "llama.cpp checkout", "kind: ollama")
    path.write_text(json.dumps({**whole, "normalizer": {"type": "Lowercase"}}), "utf-8")
    refused(tmp_path, "Lowercase", "llama.cpp checkout", "kind: ollama")
    path.write_text(json.dumps({**whole, "model": {"type": "Unigram", "vocab": []}}), "utf-8")
    refused(tmp_path, "Unigram", "llama.cpp checkout", "kind: ollama")


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
    """A type that there is not is refused before anything is read."""
    with pytest.raises(ModelError, match="q9_k") as caught:
        convert(tmp_path, tmp_path / "model.gguf", "q9_k")
    assert "q4_k_m" in str(caught.value.hint)


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
