"""What the server tells about models, as plain data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_BLOB = re.compile(r"sha256[-:]([0-9a-f]{64})")


def full_name(name: str) -> str:
    """Return the name as the server lists it: with a tag, `latest` where none is given."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def bare_digest(digest: str) -> str:
    """Return the hex digits of a digest, with or without `sha256:` before them."""
    return digest.removeprefix("sha256:").removeprefix("sha256-")


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that the server has. `size` in bytes; `digest` as 64 hex digits."""

    name: str
    digest: str
    size: int | None
    quantization: str | None


@dataclass(frozen=True, slots=True)
class ServerModel:
    """A model that is loaded. Sizes in bytes; None where the server does not tell."""

    name: str
    digest: str
    size: int | None
    gpu_size: int | None
    context: int | None

    @property
    def gpu_share(self) -> float | None:
        """Share of the model on the GPU, 0 to 1; None where the server does not tell."""
        if not self.size or self.gpu_size is None:
            return None
        return self.gpu_size / self.size


@dataclass(frozen=True, slots=True)
class Shown:
    """What `show` tells of a model."""

    template: str
    parameters: str
    modelfile: str
    capabilities: tuple[str, ...]
    quantization: str | None
    architecture: str | None
    trained_context: int | None

    @property
    def weights(self) -> str | None:
        """Digest (hex) of the weights blob, from the FROM line; None if the line has none.

        Two names on one blob can share a model process, and with it the wrong template.
        """
        for line in self.modelfile.split("\n"):
            if line.startswith("FROM ") and (found := _BLOB.search(line)):
                return found.group(1)
        return None


def local_model(item: dict[str, Any]) -> LocalModel:
    """Read one entry of `/api/tags`."""
    details = _dict(item, "details")
    return LocalModel(
        name=full_name(_text(item, "model") or _text(item, "name")),
        digest=bare_digest(_text(item, "digest")),
        size=_number(item, "size"),
        quantization=_text(details, "quantization_level") or None,
    )


def loaded_model(item: dict[str, Any]) -> ServerModel:
    """Read one entry of `/api/ps`."""
    return ServerModel(
        name=full_name(_text(item, "model") or _text(item, "name")),
        digest=bare_digest(_text(item, "digest")),
        size=_number(item, "size"),
        gpu_size=_number(item, "size_vram"),
        context=_number(item, "context_length"),
    )


def shown(item: dict[str, Any]) -> Shown:
    """Read the answer of `/api/show`."""
    info = _dict(item, "model_info")
    architecture = _text(info, "general.architecture") or None
    capabilities = item.get("capabilities")
    return Shown(
        template=_text(item, "template"),
        parameters=_text(item, "parameters"),
        modelfile=_text(item, "modelfile"),
        capabilities=tuple(str(c) for c in capabilities) if isinstance(capabilities, list) else (),
        quantization=_text(_dict(item, "details"), "quantization_level") or None,
        architecture=architecture,
        trained_context=_number(info, f"{architecture}.context_length"),
    )


def entries(item: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the `models` of a list; both `[]` and `null` are an empty one."""
    found = item.get("models")
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _text(item: dict[str, Any], key: str) -> str:
    value = item.get(key)
    return value if isinstance(value, str) else ""


def _dict(item: dict[str, Any], key: str) -> dict[str, Any]:
    value = item.get(key)
    return value if isinstance(value, dict) else {}


def _number(item: dict[str, Any], key: str) -> int | None:
    value = item.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
