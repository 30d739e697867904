"""In which form a model is there."""

from __future__ import annotations

from enum import StrEnum


class ModelForm(StrEnum):
    """What there is of a model. The values stand in journals.

    WEIGHTS: a directory in Hugging Face format; FILE: a GGUF file; SERVED: a name that a server
    of models knows it by.
    """

    WEIGHTS = "hf"
    FILE = "gguf"
    SERVED = "served"

    @classmethod
    def _missing_(cls, value: object) -> ModelForm | None:
        """Read what earlier versions wrote."""
        return {"safetensors": cls.WEIGHTS, "ollama": cls.SERVED}.get(str(value))
