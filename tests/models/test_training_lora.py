from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from so8t.config.schema import Finetune
from so8t.errors import ModelError
from so8t.examples import quickstart
from so8t.models import so8
from so8t.models.finetune import finetune

BASE = quickstart.paths().base


def settings(**changes):
    plain = {"data": [quickstart.paths().train], "method": "lora", "steps": 30, "batch_size": 8}
    plain |= {"warmup_steps": 2, "threads": 1, "max_length": 96, "learning_rate": 0.005}
    return Finetune(**{**plain, **changes})


@pytest.mark.slow
def test_lora_learns_and_merges(tmp_path):
    """The held-out loss falls, B is an ordinary directory, and merged equals unmerged."""
    targets = ["q_proj", "v_proj", "up_proj"]
    chosen = settings(targets=targets)
    result = finetune(BASE, tmp_path / "b", chosen, progress=lambda _: None)
    assert result.method == "lora"
    assert result.held_out_loss_after < 0.9 * result.held_out_loss_before
    assert 0 < result.merge_error < 1e-3
    assert (result.rank, result.blocks, result.orthogonality_error) == (8, None, None)
    assert result.largest_update > 0
    a, b = load_file(BASE / "model.safetensors"), load_file(tmp_path / "b" / "model.safetensors")
    changed = {name for name in a if not torch.equal(a[name], b[name])}
    assert changed == {name for name in a if any(target in name for target in targets)}
    for name in changed:  # an update of rank 8, up to the rounding to half precision
        update = b[name].float() - a[name].float()
        sizes = torch.linalg.svdvals(update)
        assert sizes[8] < 0.05 * sizes[0]


def test_zero_steps_give_the_base(tmp_path):
    """An update that was never trained changes no bit."""
    finetune(BASE, tmp_path / "b", settings(steps=0), progress=lambda _: None)
    a, b = load_file(BASE / "model.safetensors"), load_file(tmp_path / "b" / "model.safetensors")
    assert all(torch.equal(a[n].view(torch.int16), b[n].view(torch.int16)) for n in a)


def test_a_rank_that_is_no_low_rank_is_refused(tmp_path):
    """A rank beyond the layer's size is refused with the layer's name."""
    with pytest.raises(ModelError, match=r"q_proj has 128 inputs and \d+ outputs") as caught:
        finetune(BASE, tmp_path / "b", settings(rank=1000), progress=lambda _: None)
    assert caught.value.hint == "lower `rank`"


def test_rotations_solved_once_give_the_gradients_of_each_micro_batch():
    """One solve for all layers and micro-batches gives the gradients of solving in each layer."""
    torch.manual_seed(2)
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(24, 32), "b": torch.nn.Linear(32, 8)})
    rotated = so8.attach(model, ["a", "b"])
    for layer in rotated.values():
        layer.skew.data.normal_(std=0.3)
    parts = [torch.randn(5, 24), torch.randn(3, 24)]

    def loss(hidden):
        return model["b"](model["a"](hidden).tanh()).square().sum()

    for part in parts:
        loss(part).backward()
    expected = [layer.skew.grad.clone() for layer in rotated.values()]
    for layer in rotated.values():
        layer.skew.grad = None
    shared = so8.SharedRotations(list(rotated.values()))
    shared.solve()
    for part in parts:
        loss(part).backward()
    assert all(layer.skew.grad is None for layer in rotated.values())
    shared.backward()
    for layer, gradient in zip(rotated.values(), expected, strict=True):
        assert torch.allclose(layer.skew.grad, gradient, rtol=1e-4, atol=1e-4)
