"""Rows of new tokens, trained beside a frozen model."""

from __future__ import annotations

import hf_models as hf
import pytest
import torch
from transformers import AutoModelForCausalLM

from so8t.models.token_rows import TokenRows

IDS = [9, 3, 40]
TEXT = torch.tensor([[3, 8, 9, 3, 40, 41], [1, 2, 4, 5, 6, 7]])


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def model(request, tmp_path):
    tokenizer, settings = hf.qwen_tokenizer()
    hf.save_tokenizer(tokenizer, settings, tmp_path)
    hf.save_model("Qwen2", tmp_path, tie_word_embeddings=request.param)
    model = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    return model.requires_grad_(requires_grad=False)


def logits(model):
    return model(input_ids=TEXT).logits


def test_untrained_rows_change_nothing(model):
    """Before a step the logits are the model's own, bit for bit."""
    before = logits(model)
    TokenRows(model, IDS, 0.01)
    assert torch.equal(logits(model), before)


def test_merged_rows_answer_as_trained_ones(model):
    """After training, tables with the updates in them give the same logits; other rows stay."""
    weights = {name: value.clone() for name, value in model.named_parameters()}
    rows = TokenRows(model, IDS, 0.01)
    optimizer = torch.optim.AdamW(list(rows.parameters.values()), lr=0.01, weight_decay=0.0)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits(model)[0, :-1], TEXT[0, 1:])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    trained = logits(model)
    tables = rows.merged(weights)
    assert set(tables) == set(rows.parameters)
    rows.merge(model)
    assert torch.allclose(logits(model), trained, atol=1e-4)
    for name, value in model.named_parameters():
        assert torch.equal(value, tables.get(name, weights[name]))
        changed = (value != weights[name]).reshape(len(value), -1).any(dim=1).nonzero().flatten()
        assert changed.tolist() == (sorted(IDS) if name in tables else [])
