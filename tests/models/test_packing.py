"""Several examples in one row."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hf_models as hf
from so8t.errors import ModelError
from so8t.models import packing
from so8t.models import training_data as data
from so8t.models.packing import attention_mask, pack
from so8t.models.training_data import IGNORED, Example


def examples(lengths, vocabulary=500):
    generator = torch.Generator().manual_seed(4)
    out = []
    for length in lengths:
        ids = torch.randint(1, vocabulary, (length,), generator=generator).tolist()
        asked = length // 2
        out.append(Example(tuple(ids), (IGNORED,) * asked + tuple(ids[asked:])))
    return out


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=30), st.integers(20, 50))
def test_every_token_is_there_once(lengths, width):
    """Rows hold each example whole, once, with its own positions, and are no wider than asked."""
    given_examples = examples(lengths)
    batch = pack(given_examples, width, 0)
    found = []
    for ids, labels, positions, segments in zip(
        batch.ids, batch.labels, batch.positions, batch.segments, strict=True
    ):
        assert len(ids) == len(labels) == len(positions) == len(segments) <= width
        for number in range(1, max(segments) + 1):
            at = [i for i, segment in enumerate(segments) if segment == number]
            assert [positions[i] for i in at] == list(range(len(at)))
            assert labels[at[0]] == IGNORED
            found.append(tuple(ids[i] for i in at))
        assert all(labels[i] == IGNORED for i, segment in enumerate(segments) if segment == 0)
    assert sorted(found) == sorted(one.ids for one in given_examples)
    assert len(batch.ids) <= len(lengths)


def test_fewer_tokens_are_computed():
    """Short and long examples fill each other's gaps."""
    mixed = examples([60, 5, 4, 30, 28, 3, 58, 2])
    packed = pack(mixed, 64, 0)
    padded = data.pad(mixed, 0)
    assert sum(map(len, packed.ids)) < 0.5 * sum(map(len, padded.ids))


def losses(model, layout):
    """Sum of the loss over all labels, and the gradients that it gives."""
    model.zero_grad()
    labels = torch.tensor(layout.labels)[:, 1:]
    if isinstance(layout, packing.PackedBatch):
        more = {
            "attention_mask": attention_mask(torch.tensor(layout.segments), torch.float32),
            "position_ids": torch.tensor(layout.positions),
        }
    else:
        more = {"attention_mask": torch.tensor(layout.mask)}
    logits = model(input_ids=torch.tensor(layout.ids), **more).logits
    loss = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    loss.backward()
    return loss.item(), {name: one.grad.clone() for name, one in model.named_parameters()}


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3", "Phi3"])
def test_packed_examples_do_not_see_each_other(family, tmp_path):
    """Loss and gradients of packed examples are those of the same examples one to a row."""
    tokenizer, options = hf.qwen_tokenizer()
    hf.save_tokenizer(tokenizer, options, tmp_path)
    model = (
        hf.save_model(family, tmp_path, sliding_window=None)
        if family == "Mistral"
        else (hf.save_model(family, tmp_path))
    )
    mixed = examples([9, 21, 4, 16, 30, 5, 2])
    loss, gradients = losses(model, data.pad(mixed, 0))
    packed = pack(mixed, 32, 0)
    assert len(packed.ids) < len(mixed)
    same, others = losses(model, packed)
    assert same == pytest.approx(loss, rel=1e-5)
    for name, gradient in gradients.items():
        assert torch.allclose(others[name], gradient, atol=1e-3, rtol=1e-3), name
    # Without segments of their own they would see each other, and the loss would say so.
    merged = packing.PackedBatch(
        packed.ids, packed.labels, packed.positions, [[1] * len(row) for row in packed.ids]
    )
    assert abs(losses(model, merged)[0] - loss) > 1e-3 * loss


def test_a_sliding_window_is_not_packed_over(tmp_path):
    """A model with a window shorter than a row is refused; one that does not use it is not."""
    tokenizer, options = hf.qwen_tokenizer()
    hf.save_tokenizer(tokenizer, options, tmp_path)
    config = hf.save_model("Mistral", tmp_path, sliding_window=64).config
    packing.check_window(config, 64)
    with pytest.raises(ModelError, match="last 64 tokens") as caught:
        packing.check_window(config, 65)
    assert "packing to false" in str(caught.value.hint)
    unused = hf.save_model("Qwen2", tmp_path, sliding_window=64, use_sliding_window=False).config
    packing.check_window(unused, 512)
