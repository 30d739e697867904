"""A converted file is held against transformers before its phase passes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import hf_models as hf
from hf_directories import FAMILIES, build
from so8t.errors import ModelError
from so8t.models.gguf_convert import convert
from so8t.pipeline.prepare.parity import held_against_transformers, largest_difference


def silent(*_):
    """Tell nobody how far it is."""


@pytest.fixture
def model(tmp_path):
    """A small Qwen 2 in a directory."""
    name, changes = FAMILIES["Qwen2"]
    build(tmp_path, "Qwen2", name, initializer_range=0.05, **changes)
    return tmp_path


@pytest.mark.slow
def test_a_true_conversion_passes_with_its_figures(model):
    """An F16 file gives the figures: nats, positions, texts, none of them split otherwise."""
    result = convert(model, model / "model.gguf", "f16")
    facts = held_against_transformers(model, result, 1, silent)
    assert 0 < facts["log_probability_difference"] < 0.05
    assert facts["positions"] == 12
    assert facts["texts"] > 150
    assert facts["texts_with_other_tokens"] == 0
    assert facts["texts_normalized"] > 0
    json.dumps(facts)


@pytest.mark.slow
def test_other_weights_do_not_pass(model):
    """A file of other weights than the directory's ends with both places and the figure."""
    result = convert(model, model / "model.gguf", "f16")
    hf.save_model("Qwen2", model, seed=5, tie_word_embeddings=True, initializer_range=0.05)
    with pytest.raises(ModelError, match=r"nats off, where 0\.05 are allowed") as caught:
        held_against_transformers(model, result, 1, silent)
    assert str(model) in str(caught.value)
    assert caught.value.hint


@pytest.mark.slow
def test_another_tokenizer_does_not_pass(model):
    """A file whose tokens are others ends with a text that shows it, in any quantization."""
    result = convert(model, model / "model.gguf", "q8_0")
    source = json.loads((model / "tokenizer.json").read_text("utf-8"))
    source["model"]["merges"] = source["model"]["merges"][:50]
    (model / "tokenizer.json").write_text(json.dumps(source), "utf-8")
    with pytest.raises(ModelError, match="other tokens than transformers"):
        held_against_transformers(model, result, 1, silent)


@pytest.mark.slow
def test_fewer_bits_may_be_further_off_but_not_broken(model):
    """A quantized file passes with its figure; one that answers at random does not."""
    result = convert(model, model / "model.gguf", "q4_0")
    assert held_against_transformers(model, result, 1, silent)["kl_mean"] < 0.5
    hf.save_model("Qwen2", model, seed=5, tie_word_embeddings=True, initializer_range=0.3)
    with pytest.raises(ModelError, match="divergence"):
        held_against_transformers(model, replace(result, quantization="q4_0"), 1, silent)


@pytest.mark.slow
def test_what_transformers_cannot_load_is_said(model):
    """Where transformers cannot be asked, the figure is the reason."""
    result = convert(model, model / "model.gguf", "f16")
    config = json.loads((model / "config.json").read_text("utf-8"))
    (model / "config.json").write_text(json.dumps(config | {"model_type": "unheard_of"}), "utf-8")
    assert (
        "transformers cannot load" in held_against_transformers(model, result, 1, silent)["skipped"]
    )


def test_only_likely_tokens_count():
    """An improbable token's logarithm may be off; a likely one's may not."""
    expected = np.log(np.full((1, 100), 0.01, np.float32))
    expected[0, 30:] -= 9
    off = expected.copy()
    off[0, 99] += 5
    assert largest_difference(expected, off) == 0
    off[0, :30] += 0.25
    assert largest_difference(expected, off) == pytest.approx(0.25, abs=1e-5)
