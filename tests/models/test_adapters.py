"""Adapters that peft itself made, merged into their base, and those that do not fit."""

from __future__ import annotations

import json
import shutil

import parity
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

import hf_models as hf
from so8t.config.schema import Source
from so8t.errors import ModelError
from so8t.models.adapter_worker import merge
from so8t.models.adapters import merge_in_child
from so8t.models.gguf_convert import convert
from so8t.models.sources import resolve

LORA = {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "down_proj"]}
OFT = {"oft_block_size": 8, "use_cayley_neumann": False, "target_modules": ["q_proj", "up_proj"]}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    directory = tmp_path_factory.mktemp("base")
    tokenizer, settings = hf.qwen_tokenizer()
    hf.save_tokenizer(tokenizer, settings, directory)
    hf.save_model("Llama", directory, tie_word_embeddings=True)
    (directory / "README.md").write_text("---\nlicense: mit\n---\n", "utf-8")
    return directory


def adapter(base, directory, kind="LORA", **changes):
    """Save an adapter with random weights, and return base with adapter as peft computes it."""
    torch.manual_seed(7)
    make = {"LORA": (peft.LoraConfig, LORA), "OFT": (peft.OFTConfig, OFT)}
    config, plain = make[kind]
    adapted = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), config(**{**plain, **changes})
    )
    for name, value in adapted.named_parameters():
        if "lora_" in name or "oft_" in name:
            value.data = 0.2 * torch.randn_like(value)
    adapted.eval().save_pretrained(directory)
    return adapted


@pytest.mark.parametrize("kind", ["LORA", "OFT"])
def test_a_merged_adapter_answers_as_base_and_adapter_do(kind, base, tmp_path):
    """Base plus adapter, merged, converted and run by llama.cpp, gives peft's own distributions."""
    adapted = adapter(base, tmp_path / "adapter", kind)
    source = resolve(Source(hf=str(base), adapter=tmp_path / "adapter"))
    out = tmp_path / "merged"
    facts = merge(source.path, tmp_path / "adapter", out)
    assert (source.adapter_kind, source.licence) == (kind, "mit")
    assert facts["tensors"] == 4
    assert facts["merge_error"] < 1e-3
    before, after = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    assert sum(not torch.equal(before[name], after[name]) for name in before) == 4
    result = convert(out, tmp_path / "model.gguf", "f32")
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    adapted.config.vocab_size = tokenizer.get_vocab_size()
    found = parity.compare(adapted, tokenizer, result.path, hf.PROMPTS[::5])
    assert (found.token_mismatches, found.greedy_mismatches) == ([], 0)
    assert found.difference < 0.01


def test_digests_name_base_and_adapter(base, tmp_path):
    """The digest of the source changes with either part, and the facts name both."""
    adapter(base, tmp_path / "adapter")
    plain = resolve(Source(hf=str(base)))
    found = resolve(Source(hf=str(base), adapter="adapter"), base_directory=tmp_path)
    assert found.base_digest == plain.digest != found.digest
    facts = json.loads(json.dumps(found.facts()))
    assert facts["adapter"] == str(tmp_path / "adapter")
    assert facts["adapter_digest"].startswith("sha256:")
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, weights)
    assert resolve(Source(hf=str(base), adapter=tmp_path / "adapter")).digest != found.digest


@pytest.mark.slow
def test_a_merge_is_made_once(base, tmp_path):
    """A child makes it, with the child's errors; it is used again, unless it was damaged."""
    adapter(base, tmp_path / "adapter")
    out = tmp_path / "merged"
    first = merge_in_child(base, tmp_path / "adapter", out, "one")
    whole = (out / "model.safetensors").read_bytes()
    stamp = (out / "model.safetensors").stat().st_mtime_ns
    assert merge_in_child(base, tmp_path / "adapter", out, "one") == first
    assert (out / "model.safetensors").stat().st_mtime_ns == stamp
    (out / "model.safetensors").write_bytes(whole[:-4])
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"damaged too")
    with pytest.raises(ModelError, match="cannot be loaded onto"):
        merge_in_child(base, tmp_path / "adapter", out, "one")


def test_the_adapters_own_tokenizer_is_taken(base, tmp_path):
    """A chat template that came with the adapter replaces the base's; one too large is refused."""
    adapter(base, tmp_path / "adapter")
    tokenizer, settings = hf.qwen_tokenizer()
    hf.save_tokenizer(tokenizer, settings, tmp_path / "adapter", "{{ 'other' }}")
    merge(base, tmp_path / "adapter", tmp_path / "merged")
    assert (tmp_path / "merged" / "chat_template.jinja").read_text("utf-8") == "{{ 'other' }}"
    tokenizer.add_special_tokens(["<|more|>"])
    hf.save_tokenizer(tokenizer, settings, tmp_path / "adapter")
    with pytest.raises(ModelError, match="embedding"):
        merge(base, tmp_path / "adapter", tmp_path / "larger")
    assert not (tmp_path / "larger").exists()


def test_an_adapter_of_another_base_is_refused_before_any_work(base, tmp_path):
    """Another width or more layers: the layer and the numbers are named, without loading torch."""
    other = tmp_path / "other"
    shutil.copytree(base, other)
    hf.save_model("Llama", other, hidden_size=32, num_hidden_layers=3, tie_word_embeddings=True)
    for kind, words in (("LORA", "32 numbers, where the base has 64"), ("OFT", "has 64")):
        adapter(other, tmp_path / kind, kind)
        with pytest.raises(ModelError, match=words) as caught:
            resolve(Source(hf=str(base), adapter=tmp_path / kind))
        assert "adapter_config.json" in str(caught.value.hint)
    hf.save_model("Llama", other, num_hidden_layers=3, tie_word_embeddings=True)
    adapter(other, tmp_path / "deeper")
    with pytest.raises(ModelError, match=r"layers\.2\..*does not have"):
        resolve(Source(hf=str(base), adapter=tmp_path / "deeper"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shutil.rmtree, "no such adapter directory"),
        (lambda d: (d / "adapter_config.json").unlink(), r"no adapter_config\.json"),
        (lambda d: (d / "adapter_config.json").write_text("{"), "is no JSON"),
        (lambda d: (d / "adapter_config.json").write_text("[]"), "no JSON object"),
        (
            lambda d: (d / "adapter_config.json").write_text('{"peft_type": "IA3"}'),
            "type IA3 is not merged here; LORA, OFT are",
        ),
        (
            lambda d: (d / "adapter_model.safetensors").rename(d / "adapter_model.bin"),
            r"no adapter_model\.safetensors",
        ),
        (
            lambda d: (d / "adapter_model.safetensors").write_bytes(b"\0" * 40),
            "its header cannot be read|ends before|claims a header",
        ),
    ],
)
def test_what_is_no_adapter_is_refused(change, words, base, tmp_path):
    """A directory that is missing, damaged, of another kind or pickled says so, with a way out."""
    adapter(base, tmp_path / "adapter")
    change(tmp_path / "adapter")
    with pytest.raises(ModelError, match=words) as caught:
        resolve(Source(hf=str(base), adapter=tmp_path / "adapter"))
    assert caught.value.hint


def test_an_adapter_that_changes_nothing_or_is_broken_is_refused(base, tmp_path):
    """All zeros, NaN, or a part that is missing: refused by name, and nothing is written."""
    adapter(base, tmp_path / "adapter")
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(weights)
    broken = {
        "changes no weight": {name: 0 * tensor for name, tensor in tensors.items()},
        "cannot be merged: NaN": {name: tensor * float("nan") for name, tensor in tensors.items()},
        "1 parts do not match": dict(list(tensors.items())[1:]),
    }
    for words, changed in broken.items():
        save_file(changed, weights)
        with pytest.raises(ModelError, match=words):
            merge(base, tmp_path / "adapter", tmp_path / "merged")
        assert not (tmp_path / "merged").exists()
