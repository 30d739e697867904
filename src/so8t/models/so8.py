"""Exact SO(8) rotations on the input side of linear layers, merged into the weights at the end.

A rotated layer computes `linear(x R)`, where R is block-diagonal with 8 x 8 blocks in SO(8). Each
block is the Cayley transform R = (I - S/2)^-1 (I + S/2) of a skew-symmetric S with 28 free
parameters. The transform is solved exactly: a truncated Neumann series is cheaper but its blocks
are not orthogonal (2.7e-3 off, determinants down to 0.993). Cayley reaches every rotation without
an angle of 180 degrees.

Imports torch; import it late.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from so8t.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

BLOCK = 8
# So many blocks are multiplied as one: half the time of 8 x 8 products on a CPU, 8 times the work.
_GROUP = 4
PARAMETERS_A_BLOCK = BLOCK * (BLOCK - 1) // 2


def skew_symmetric(parameters: torch.Tensor) -> torch.Tensor:
    """Spread (blocks, 28) parameters over (blocks, 8, 8) skew-symmetric matrices.

    The parameters fill the upper triangle row by row.
    """
    rows, columns = torch.triu_indices(BLOCK, BLOCK, offset=1, device=parameters.device)
    matrix = parameters.new_zeros((*parameters.shape[:-1], BLOCK, BLOCK))
    matrix[..., rows, columns] = parameters
    return matrix - matrix.transpose(-1, -2)


def cayley(parameters: torch.Tensor) -> torch.Tensor:
    """Turn (blocks, 28) parameters into (blocks, 8, 8) rotations; zeros give the identity."""
    half = skew_symmetric(parameters) / 2
    identity = torch.eye(BLOCK, dtype=half.dtype, device=half.device)
    rotation: torch.Tensor = torch.linalg.solve(identity - half, identity + half)
    return rotation


def rotate(hidden: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Multiply x of shape (..., 8 blocks) by block-diagonal R of shape (blocks, 8, 8), as x R."""
    blocks = rotation.shape[0]
    group = next(size for size in range(min(_GROUP, blocks), 0, -1) if blocks % size == 0)
    wide = rotation.new_zeros(blocks // group, group, BLOCK, group, BLOCK)
    diagonal = torch.arange(group, device=rotation.device)
    wide[:, diagonal, :, diagonal, :] = rotation.reshape(-1, group, BLOCK, BLOCK).transpose(0, 1)
    wide = wide.reshape(-1, group * BLOCK, group * BLOCK).to(hidden.dtype)
    parts = hidden.reshape(-1, blocks // group, group * BLOCK).transpose(0, 1)
    return torch.bmm(parts, wide).transpose(0, 1).reshape(hidden.shape)


class RotatedLinear(nn.Module):
    """A frozen linear layer whose input is rotated first.

    Attributes:
        linear: the layer of the base, unchanged.
        skew: (in_features / 8, 28) parameters, zero at the start, so that nothing changes yet.
        rotation: their Cayley transform where somebody computed it for the whole step, else None.

    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        self.rotation: torch.Tensor | None = None
        blocks = linear.in_features // BLOCK
        weight = linear.weight
        self.skew = nn.Parameter(
            torch.zeros(blocks, PARAMETERS_A_BLOCK, dtype=torch.float32, device=weight.device)
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Compute linear(x R) for x of shape (..., in_features)."""
        rotation = cayley(self.skew) if self.rotation is None else self.rotation
        return self.linear(rotate(hidden, rotation))  # type: ignore[no-any-return]

    def merged_weight(self, weight: torch.Tensor | None = None) -> torch.Tensor:
        """Return the weight, float32 (out, in), that gives the same output without a rotation.

        `weight`: the layer's weight as the base has it on disk, where the one in memory has less
        precision. Computed in float64. A layer that was never turned returns it bit for bit.
        """
        weight = self.linear.weight.detach() if weight is None else weight
        if not torch.any(self.skew):
            return weight.float().clone()
        with torch.no_grad():
            rotation = cayley(self.skew.double().to(weight.device))
            blocks = weight.double().reshape(weight.shape[0], -1, BLOCK)
            return torch.einsum("obj,bij->obi", blocks, rotation).reshape(weight.shape).float()


class SharedRotations:
    """The rotations of all layers, solved in one call and once a step.

    However many micro-batches a step has, and however often gradient checkpointing computes a
    layer again, the Cayley transform and its gradient are computed once.
    """

    def __init__(self, layers: Sequence[RotatedLinear]) -> None:
        self._layers = layers
        self._all: torch.Tensor | None = None

    def solve(self) -> None:
        """Compute the rotations from the parameters as they are now."""
        self._all = cayley(torch.cat([layer.skew for layer in self._layers]))
        sizes = [layer.skew.shape[0] for layer in self._layers]
        for layer, part in zip(self._layers, torch.split(self._all.detach(), sizes), strict=True):
            layer.rotation = part.clone().requires_grad_()

    def backward(self) -> None:
        """Carry the gradients of the rotations on to the parameters."""
        assert self._all is not None  # noqa: S101 - `solve` comes first
        gradients = [
            torch.zeros_like(layer.rotation) if layer.rotation.grad is None else layer.rotation.grad
            for layer in self._layers
            if layer.rotation is not None
        ]
        self._all.backward(torch.cat(gradients))  # type: ignore[no-untyped-call]

    def release(self) -> None:
        """Let each layer compute its own rotation again."""
        self._all = None
        for layer in self._layers:
            layer.rotation = None


@dataclass(frozen=True)
class RotationCheck:
    """How far the trained blocks are from what they claim to be.

    Attributes:
        blocks: number of 8 x 8 blocks.
        parameters: number of trained parameters.
        orthogonality_error: largest entry of |R R^T - I|, for R as trained in float32.
        determinant_min, determinant_max: of R as trained, in float64.
        largest_angle_degrees: the largest angle by which any block turns any plane, in degrees.

    """

    blocks: int
    parameters: int
    orthogonality_error: float
    determinant_min: float
    determinant_max: float
    largest_angle_degrees: float


def attach(model: nn.Module, targets: Sequence[str]) -> dict[str, RotatedLinear]:
    """Freeze `model` and rotate the input of each nn.Linear whose last name is in `targets`.

    Returns the rotated layers by their full names. Raises ModelError when a target names no layer
    or a layer that cannot be rotated; the model is then unchanged.
    """
    chosen = linear_layers(model, targets)
    for name, linear in chosen.items():
        if linear.in_features % BLOCK:
            raise ModelError(
                f"{name} has {linear.in_features} inputs, which 8 does not divide.",
                hint=f"leave {_last(name)!r} out of `targets`",
            )
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    rotated = {}
    for name, linear in chosen.items():
        rotated[name] = RotatedLinear(linear)
        model.set_submodule(name, rotated[name])
    return rotated


def merge(model: nn.Module, rotated: Mapping[str, RotatedLinear]) -> None:
    """Put the linear layers back in their places, with the rotations in their weights."""
    for name, layer in rotated.items():
        weight = layer.merged_weight()
        layer.linear.weight.data.copy_(weight)
        model.set_submodule(name, layer.linear)


def check(layers: Iterable[RotatedLinear]) -> RotationCheck:
    """Measure the rotations as they were trained."""
    with torch.no_grad():
        parameters = torch.cat([layer.skew.detach() for layer in layers])
        rotation = cayley(parameters).double()
        identity = torch.eye(BLOCK, dtype=torch.float64, device=rotation.device)
        error = (rotation @ rotation.transpose(-1, -2) - identity).abs().max()
        determinants = torch.linalg.det(rotation)
        # An eigenvalue of a rotation is exp(i angle); eigenvalues of the identity are exactly 1.
        angles = torch.linalg.eigvals(rotation).angle().abs()
    return RotationCheck(
        blocks=parameters.shape[0],
        parameters=parameters.numel(),
        orthogonality_error=error.item(),
        determinant_min=determinants.min().item(),
        determinant_max=determinants.max().item(),
        largest_angle_degrees=torch.rad2deg(angles.max()).item(),
    )


def linear_layers(model: nn.Module, targets: Sequence[str]) -> dict[str, nn.Linear]:
    """Return each nn.Linear whose last name is in `targets`, by full name.

    Raises ModelError when a target names no layer, one of another class, or an output layer that is
    tied to the embedding.
    """
    modules = dict(model.named_modules())
    tied = _tied_output(model)
    chosen: dict[str, nn.Linear] = {}
    for target in targets:
        named = {name: module for name, module in modules.items() if _last(name) == target}
        if not named:
            linears = {_last(name) for name, one in modules.items() if isinstance(one, nn.Linear)}
            raise ModelError(
                f"The model has no layer named {target!r}.",
                hint=f"choose `targets` among: {', '.join(sorted(linears))}",
            )
        for name, module in named.items():
            if module is tied:
                raise ModelError(
                    f"{name} is tied to the embedding: the two share one table, so an update of "
                    "the one would change the other too.",
                    hint=f"leave {target!r} out of `targets`, or train a model that is not tied "
                    "(tie_word_embeddings: false, with an lm_head of its own)",
                )
            if not isinstance(module, nn.Linear):
                raise ModelError(
                    f"{name} is a {type(module).__name__}, and only nn.Linear can be trained.",
                    hint=f"leave {target!r} out of `targets`",
                )
            chosen[name] = module
    return chosen


def _tied_output(model: nn.Module) -> nn.Module | None:
    """Return the output layer of a model of transformers whose table is the embedding's, if any."""
    embedding = getattr(model, "get_input_embeddings", lambda: None)()
    output = getattr(model, "get_output_embeddings", lambda: None)()
    if embedding is None or output is None or embedding is output:
        return None
    return output if output.weight is embedding.weight else None


def _last(name: str) -> str:
    return name.rpartition(".")[2]
