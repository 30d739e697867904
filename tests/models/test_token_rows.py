"""Rows of new tokens, trained beside a frozen model."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from test_training_data import write
from transformers import AutoModelForCausalLM

import hf_models as hf
from so8t.config.schema import Finetune
from so8t.domain.thinking_format import TAGS, FourfoldAnswer
from so8t.examples import quickstart
from so8t.models.finetune import finetune
from so8t.models.thinking_tokens import add_thinking_tokens
from so8t.models.token_rows import WithTokenRows
from so8t.models.training_methods import attach

IDS = [9, 3, 40]
TEXT = torch.tensor([[3, 8, 9, 3, 40, 41], [1, 2, 4, 5, 6, 7]])


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def model(request, tmp_path):
    tokenizer, settings = hf.qwen_tokenizer()
    hf.save_tokenizer(tokenizer, settings, tmp_path)
    hf.save_model("Qwen2", tmp_path, tie_word_embeddings=request.param)
    return AutoModelForCausalLM.from_pretrained(tmp_path).eval()


def settings(data=(), **changes):
    plain = {"data": list(data) or ["x"], "steps": 80, "batch_size": 8, "warmup_steps": 2}
    return Finetune(**plain | {"threads": 1, "max_length": 200, **changes})


def logits(model, method):
    method.prepare()
    return model(input_ids=TEXT).logits


@pytest.mark.parametrize("method", ["so8", "lora"])
def test_merged_rows_answer_as_trained_ones(method, model):
    """Zero at the start; after training, tables with the updates in them give the same logits."""
    weights = {name: value.clone() for name, value in model.named_parameters()}
    before = model(input_ids=TEXT).logits
    attached = attach(model, settings(method=method), IDS)
    assert isinstance(attached, WithTokenRows)
    assert torch.allclose(logits(model, attached), before, atol=1e-5)
    optimizer = torch.optim.AdamW(list(attached.parameters.values()), lr=0.01, weight_decay=0.0)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        found = logits(model, attached)
        loss = torch.nn.functional.cross_entropy(found[0, :-1], TEXT[0, 1:])
        loss.backward()
        attached.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    with torch.no_grad():
        trained = logits(model, attached)
        tables = [name for name in attached.layers if "proj" not in name]
        merged = {
            f"{name}.weight": attached.merged(name, weights[f"{name}.weight"])
            for name in attached.layers
            if attached.changed(name)
        }
        attached.merge(model)
        assert torch.allclose(model(input_ids=TEXT).logits, trained, atol=1e-3)
    assert len(tables) == (1 if model.config.tie_word_embeddings else 2)
    for name, value in model.named_parameters():
        assert torch.equal(value, merged.get(name, weights[name])), name
        rows = (value != weights[name]).reshape(len(value), -1).any(dim=1).nonzero().flatten()
        if name.removesuffix(".weight") in tables:
            assert rows.tolist() == sorted(IDS)


@pytest.mark.slow
def test_the_format_is_learnt(tmp_path):
    """Eighty steps teach the eight tags; of the tables only their rows change."""
    rows = [json.loads(line) for line in quickstart.paths().train.read_text("utf-8").splitlines()]
    answers = [
        {
            "prompt": row["messages"][0]["content"],
            "thinking": {"task": "a", "safety": "b", "policy": "c"},
            "final": "d",
        }
        for row in rows
        if len(row["messages"][0]["content"]) < 40
    ]
    base = tmp_path / "base"
    ids = add_thinking_tokens(quickstart.paths().base, base)["ids"]
    data = write(tmp_path / "data.jsonl", *answers)
    result = finetune(base, tmp_path / "b", settings([data]), progress=lambda _: None)
    assert result.held_out_loss_before > 5
    assert result.held_out_loss_after < 0.1
    assert result.merge_error < 1e-3
    name = "model.embed_tokens.weight"
    old, new = (load_file(d / "model.safetensors")[name] for d in (base, tmp_path / "b"))
    assert (old != new).any(dim=1).nonzero().flatten().tolist() == sorted(ids.values())
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "b", dtype=torch.float32).eval()
    prompt = f"<|im_start|>user\n{answers[0]['prompt']}<|im_end|>\n<|im_start|>assistant\n"
    tokenizer = hf.Tokenizer.from_file(str(tmp_path / "b" / "tokenizer.json"))
    asked = tokenizer.encode(prompt, add_special_tokens=False).ids
    said = model.generate(torch.tensor([asked]), max_new_tokens=40, do_sample=False)[0]
    text = tokenizer.decode(said[len(asked) :].tolist(), skip_special_tokens=True)
    assert text == FourfoldAnswer("a", "b", "c", "d").text()
    assert all(tag in text for tag in TAGS)
