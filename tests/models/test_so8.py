from __future__ import annotations

import pytest
import torch
from torch import nn

from so8t.errors import ModelError
from so8t.models import so8


def network(inputs: int = 32) -> nn.Module:
    torch.manual_seed(3)
    return nn.ModuleDict({"first": nn.Linear(inputs, 24), "second": nn.Linear(24, 16, bias=False)})


def turn(layer: so8.RotatedLinear, size: float) -> None:
    generator = torch.Generator().manual_seed(5)
    layer.skew.data = size * torch.randn(layer.skew.shape, generator=generator)


def test_a_new_rotation_changes_nothing():
    """Before training a rotated layer gives exactly the output of the layer it wraps."""
    model = network()
    hidden = torch.randn(5, 7, 32)
    expected = model["first"](hidden)
    so8.attach(model, ["first"])
    assert torch.equal(model["first"](hidden), expected)


@pytest.mark.parametrize("size", [0.01, 0.3, 3.0])
def test_blocks_are_rotations(size):
    """However far it is trained, every block is orthogonal with determinant 1, to float32."""
    rotated = so8.attach(network(), ["first", "second"])
    for layer in rotated.values():
        turn(layer, size)
    checked = so8.check(rotated.values())
    assert checked.blocks == 32 // 8 + 24 // 8
    assert checked.parameters == 28 * checked.blocks
    assert checked.orthogonality_error < 5e-6
    assert 1 - 1e-5 < checked.determinant_min <= checked.determinant_max < 1 + 1e-5


def test_the_angle_is_that_of_a_known_rotation():
    """A block that turns one plane by 90 degrees is reported as 90 degrees."""
    rotated = so8.attach(network(), ["first"])
    rotated["first"].skew.data[0, 0] = 2.0  # tan(angle / 2) is half of the parameter
    checked = so8.check(rotated.values())
    assert checked.largest_angle_degrees == pytest.approx(90, abs=1e-4)
    plane = so8.cayley(rotated["first"].skew[0])[:2, :2]
    assert torch.allclose(plane, torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), atol=1e-6)


def test_merged_equals_unmerged():
    """With the rotation in its weight a plain linear layer gives the same output."""
    model = network()
    rotated = so8.attach(model, ["first", "second"])
    for layer in rotated.values():
        turn(layer, 0.5)
    hidden = torch.randn(9, 32)
    expected = model["second"](model["first"](hidden))
    so8.merge(model, rotated)
    assert type(model["first"]) is nn.Linear
    assert torch.allclose(model["second"](model["first"](hidden)), expected, atol=2e-6)


def test_an_unturned_layer_merges_to_its_own_bits():
    """Merging a rotation that is the identity returns the weight bit for bit."""
    rotated = so8.attach(network(), ["first"])
    merged = rotated["first"].merged_weight()
    assert torch.equal(
        merged.view(torch.int32), rotated["first"].linear.weight.data.view(torch.int32)
    )


def test_only_the_rotations_are_trained():
    """The base is frozen; a gradient reaches the 28 parameters of each block and nothing else."""
    model = network()
    rotated = so8.attach(model, ["first"])
    model["second"](model["first"](torch.randn(4, 32))).square().sum().backward()
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    assert trained == {"first.skew"}
    assert rotated["first"].skew.grad.abs().min() > 0


def test_the_convention_is_that_of_peft():
    """The same skew parameters give the same output and merged weight as PEFT's exact OFT."""
    peft = pytest.importorskip("peft")
    ours, theirs = network(), network()
    rotated = so8.attach(ours, ["first"])
    turn(rotated["first"], 0.4)
    config = peft.OFTConfig(
        oft_block_size=8, target_modules=["first"], use_cayley_neumann=False, coft=False
    )
    wrapped = peft.get_peft_model(_Chain(theirs), config)
    layer = wrapped.base_model.model.parts["first"]
    (parameters,) = layer.oft_R.values()
    # PEFT builds (I - Q)(I + Q)^-1 from its parameters, so its Q is our -S/2.
    parameters.weight.data = -rotated["first"].skew.data / 2
    hidden = torch.randn(6, 32)
    with torch.no_grad():
        assert torch.allclose(layer(hidden), rotated["first"](hidden), atol=2e-6)
    merged = wrapped.merge_and_unload().parts["first"].weight
    assert torch.allclose(merged, rotated["first"].merged_weight(), atol=2e-6)


class _Chain(nn.Module):
    def __init__(self, parts):
        super().__init__()
        self.parts = parts

    def forward(self, hidden):
        return self.parts["second"](self.parts["first"](hidden))


def test_a_size_that_8_does_not_divide_is_refused():
    """An input of 30 is refused by name and size, and the model stays as it was."""
    model = network(30)
    with pytest.raises(ModelError, match="first has 30 inputs, which 8 does not divide"):
        so8.attach(model, ["second", "first"])
    assert type(model["second"]) is nn.Linear


def test_an_unknown_target_is_refused_with_the_known_ones():
    """A target that the model does not have is refused, and the hint lists what there is."""
    with pytest.raises(ModelError) as caught:
        so8.attach(network(), ["third"])
    assert caught.value.hint == "choose `targets` among: first, second"


def test_a_target_that_is_no_linear_layer_is_refused():
    """A layer of another class is refused instead of being rotated wrongly."""
    model = nn.ModuleDict({"norm": nn.LayerNorm(8)})
    with pytest.raises(ModelError, match=r"norm is a LayerNorm, and only nn\.Linear"):
        so8.attach(model, ["norm"])
