"""What the phases hand to each other, as plain data through the journal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from so8t.domain.exchange import Arm, EngineInfo, LoadProfile, LoadReport, ServedModel
from so8t.domain.model_form import ModelForm
from so8t.engines.memory_needs import Shape, shape_of_facts


@dataclass(frozen=True, slots=True)
class Prepared:
    """Phases 1 and 2: a model that an engine can load.

    Attributes:
        arm: whose it is.
        kind: a GGUF file, a directory for a server, or a name on a server.
        location: the file, the directory or the tag.
        digest: of the bytes, as `sha256:<hex>`.
        size: bytes.
        quantization: type of the weights, where we chose it; where it is another than that of the
            conversion, the engine makes it.
        source: where it came from: kind, path or id, commit, digest, licence.
        conversion: what conversion said, None where there was none.
        training: what fine-tuning measured, None where there was none.

    """

    arm: Arm
    kind: ModelForm
    location: str
    digest: str
    size: int
    quantization: str | None
    source: dict[str, Any]
    conversion: dict[str, Any] | None = None
    training: dict[str, Any] | None = None

    @property
    def served(self) -> ServedModel:
        """The model as an engine knows it."""
        made = self.conversion["quantization"] if self.conversion else None
        quantize = self.quantization if self.quantization != made else None
        return ServedModel(self.arm, self.location, self.digest, quantize)


@dataclass(frozen=True, slots=True)
class Registered:
    """Phase 3 for one arm: the model was checked, loaded, and answered."""

    model: ServedModel
    load: LoadReport
    facts: dict[str, Any]
    first_answer: str
    first_answer_seconds: float | None

    @property
    def shape(self) -> Shape | None:
        """The figures that decide how much memory the model takes; None where they are unknown."""
        return shape_of_facts(self.facts)


@dataclass(frozen=True, slots=True)
class Registration:
    """Phase 3: both arms under one load profile, and how that profile was chosen.

    `asked` is the engine's section of the config that the profile was chosen for.
    """

    engine: EngineInfo
    profile: LoadProfile
    arms: dict[str, Registered]
    calibration: dict[str, Any] | None = None
    asked: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Benchmarked:
    """Phase 4: what was asked, what came back, and what it says."""

    samples: int
    answered: dict[str, int]
    failed: dict[str, int]
    outcome: str
    ending: str
    detail: dict[str, Any] = field(default_factory=dict)


def to_plain(result: Prepared | Registration | Benchmarked) -> dict[str, Any]:
    """Turn a phase's result into plain data for the journal."""
    plain: dict[str, Any] = TypeAdapter(type(result)).dump_python(result, mode="json")
    return plain


def read_prepared(plain: dict[str, Any]) -> Prepared:
    """Read a phase 1 or 2 result back."""
    return TypeAdapter(Prepared).validate_python(plain)


def read_registration(plain: dict[str, Any]) -> Registration:
    """Read a phase 3 result back."""
    return TypeAdapter(Registration).validate_python(plain)


def read_benchmarked(plain: dict[str, Any]) -> Benchmarked:
    """Read a phase 4 result back."""
    return TypeAdapter(Benchmarked).validate_python(plain)
