"""What is trained beside a frozen base: SO(8) rotations, or low-rank updates (LoRA, QLoRA).

Each is attached to a model, trained, and merged into plain weights at the end, so that B is an
ordinary model. Imports torch; import it late.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import nn

from so8t.errors import ModelError
from so8t.models import so8
from so8t.models.token_rows import WithTokenRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.config.schema import Finetune

_PEFT_NAME = "default"


class Method(Protocol):
    """The trained part of a model."""

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The trained parameters by name, in a fixed order."""

    @property
    def layers(self) -> list[str]:
        """Full names of the layers of the base that are trained."""

    def prepare(self) -> None:
        """Compute what all micro-batches of a step share, from the present parameters."""

    def backward(self) -> None:
        """Complete the gradients of a step once those of its micro-batches have been added up."""

    def train(self, mode: bool) -> None:
        """Switch dropout on (for a step) or off (for measuring)."""

    def changed(self, name: str) -> bool:
        """Whether the layer's weight differs from the base's at all."""

    def merged(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """Return `weight` (out, in), the base's own, with the training in it, in float32."""

    def merge(self, model: nn.Module) -> None:
        """Put plain layers with merged weights, in their present type, in their places."""

    def facts(self) -> dict[str, Any]:
        """Measure what the method promises; the keys are fields of FinetuneResult."""


def attach(model: nn.Module, settings: Finetune, token_ids: Sequence[int] = ()) -> Method:
    """Freeze `model` and attach what `settings.method` trains, and the rows of new tokens.

    Raises ModelError.
    """
    made: Method = (So8Method if settings.method == "so8" else LoraMethod)(model, settings)
    return WithTokenRows(made, model, token_ids, settings.rate) if token_ids else made


class So8Method:
    """Block-diagonal SO(8) rotations of the inputs; see `so8t.models.so8`."""

    def __init__(self, model: nn.Module, settings: Finetune) -> None:
        self._rotated = so8.attach(model, settings.targets)
        self._shared = so8.SharedRotations(list(self._rotated.values()))

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The skew parameters of each layer."""
        return {f"{name}.skew": layer.skew for name, layer in self._rotated.items()}

    @property
    def layers(self) -> list[str]:
        """Full names of the rotated layers."""
        return list(self._rotated)

    def prepare(self) -> None:
        """Solve for all rotations at once."""
        self._shared.solve()

    def backward(self) -> None:
        """Carry the gradients of the rotations on to the parameters."""
        self._shared.backward()

    def train(self, mode: bool) -> None:
        """Do nothing: rotations know no dropout."""

    def changed(self, name: str) -> bool:
        """Whether any block of the layer turns."""
        return bool(torch.any(self._rotated[name].skew))

    def merged(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """Return the rotated weight."""
        return self._rotated[name].merged_weight(weight)

    def merge(self, model: nn.Module) -> None:
        """Absorb the rotations."""
        self._shared.release()
        so8.merge(model, self._rotated)

    def facts(self) -> dict[str, Any]:
        """Measure orthogonality, determinants and angles."""
        found = so8.check(self._rotated.values())
        return {
            "trainable_parameters": found.parameters,
            "blocks": found.blocks,
            "orthogonality_error": found.orthogonality_error,
            "determinant_min": found.determinant_min,
            "determinant_max": found.determinant_max,
            "largest_angle_degrees": found.largest_angle_degrees,
        }


class LoraMethod:
    """Low-rank updates W + (alpha / rank) B A by PEFT; B is zero at the start."""

    def __init__(self, model: nn.Module, settings: Finetune) -> None:
        from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415 - lora only, slow

        chosen = so8.linear_layers(model, settings.targets)
        for name, linear in chosen.items():
            if settings.rank > min(linear.in_features, linear.out_features):
                raise ModelError(
                    f"{name} has {linear.in_features} inputs and {linear.out_features} outputs; "
                    f"an update of rank {settings.rank} would be no low-rank update.",
                    hint="lower `rank`",
                )
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        self._settings = settings
        self._scale = settings.alpha / settings.rank
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=cast(
                "int", settings.alpha
            ),  # PEFT divides by the rank; it need not be whole
            lora_dropout=settings.dropout,
            target_modules=list(chosen),
            bias="none",
        )
        inject_adapter_in_model(config, model, adapter_name=_PEFT_NAME)
        self._layers: dict[str, Any] = {name: model.get_submodule(name) for name in chosen}
        for one in self.parameters.values():
            one.data = one.data.float()  # PEFT takes the base's type; updates are smaller than that
        self.train(mode=False)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """A and B of each layer."""
        found = {}
        for name, layer in self._layers.items():
            found[f"{name}.lora_A"] = layer.lora_A[_PEFT_NAME].weight
            found[f"{name}.lora_B"] = layer.lora_B[_PEFT_NAME].weight
        return found

    @property
    def layers(self) -> list[str]:
        """Full names of the layers with an update."""
        return list(self._layers)

    def prepare(self) -> None:
        """Do nothing: an update is applied as it is."""

    def backward(self) -> None:
        """Do nothing: gradients reach A and B by themselves."""

    def train(self, mode: bool) -> None:
        """Switch the dropout in front of A; the base stays as it is."""
        for layer in self._layers.values():
            layer.lora_dropout[_PEFT_NAME].train(mode)

    def changed(self, name: str) -> bool:
        """Whether B A is anything but zero."""
        layer = self._layers[name]
        return bool(torch.any(layer.lora_B[_PEFT_NAME].weight))

    def merged(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight with its update, computed in float64."""
        if not self.changed(name):
            return weight.float().clone()
        layer = self._layers[name]
        with torch.no_grad():
            down = layer.lora_A[_PEFT_NAME].weight.double().to(weight.device)
            up = layer.lora_B[_PEFT_NAME].weight.double().to(weight.device)
            merged: torch.Tensor = weight.double() + self._scale * (up @ down)
            return merged.float()

    def merge(self, model: nn.Module) -> None:
        """Put the updates into the base's weights."""
        for name, layer in self._layers.items():
            linear: nn.Linear = layer.get_base_layer()
            linear.weight.data.copy_(self.merged(name, linear.weight.detach()))
            model.set_submodule(name, linear)

    def facts(self) -> dict[str, Any]:
        """Count the parameters, and measure how far the weights moved."""
        moved = 0.0
        with torch.no_grad():
            for layer in self._layers.values():
                down = layer.lora_A[_PEFT_NAME].weight.double()
                up = layer.lora_B[_PEFT_NAME].weight.double()
                # |B A|^2 = trace((B^T B)(A A^T)): rank x rank, whatever the layer's size.
                square = torch.trace((up.T @ up) @ (down @ down.T)).item()
                moved = max(moved, self._scale * math.sqrt(max(0.0, square)))
        return {
            "trainable_parameters": sum(one.numel() for one in self.parameters.values()),
            "rank": self._settings.rank,
            "largest_update": moved,
        }
