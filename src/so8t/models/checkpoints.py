"""Checkpoints of a training: whole, verified, or not there.

A checkpoint is a directory `step-000000042` with the tensors (safetensors), the rest of the state
(JSON) and the digests of both. It is written under a temporary name, synced, renamed, and the
directory above synced. Nothing is pickled: reading one runs no code.

Imports torch; import it late.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from so8t.domain.canonical import canonical_json
from so8t.errors import PrerequisiteError
from so8t.system.files import atomic_directory, file_digest, remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Skipped = Callable[[str, str], None]

_TENSORS, _STATE, _DIGESTS = "tensors.safetensors", "state.json", "digests.json"
_IDENTITY_DIGITS = 16


class _DamagedError(Exception):
    """Why a checkpoint cannot be used."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: its step, its plain data and its tensors (on the CPU)."""

    step: int
    state: dict[str, Any]
    tensors: dict[str, torch.Tensor]


class CheckpointStore:
    """The checkpoints of one training below a directory.

    `identity` is the digest of all that decides the weights (base, data, settings); checkpoints of
    another identity are neither read nor touched.
    """

    def __init__(self, directory: Path, identity: str, kept: int) -> None:
        self._root = directory
        self._directory = directory / identity.removeprefix("sha256:")[:_IDENTITY_DIGITS]
        self._kept = kept

    def save(
        self, step: int, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
    ) -> None:
        """Write one durably, then remove the oldest beyond the number to be kept.

        Raises PrerequisiteError when the disk refuses it; those from before stay.
        """
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            with atomic_directory(self._directory / _name(step)) as folder:
                save_file(contiguous, folder / _TENSORS)
                (folder / _STATE).write_text(canonical_json(dict(state)), encoding="utf-8")
                digests = {name: file_digest(folder / name) for name in (_TENSORS, _STATE)}
                (folder / _DIGESTS).write_text(canonical_json(digests), encoding="utf-8")
        except (OSError, SafetensorError) as error:
            # safetensors has its own class for a write that the disk refused.
            raise PrerequisiteError(
                f"The checkpoint of step {step} cannot be written to {self._directory}: {error}.",
                hint="make room on the disk, then run the same command again",
            ) from error
        for old in self._all()[self._kept :]:
            remove_tree(old)

    def newest(self, skipped: Skipped) -> Checkpoint | None:
        """Return the newest that verifies, or None.

        `skipped(name, reason)` hears of each that does not; it is removed.
        """
        for folder in self._all():
            try:
                return _read(folder)
            except _DamagedError as error:
                skipped(folder.name, str(error))
                remove_tree(folder)
        return None

    def others(self) -> bool:
        """Whether there are checkpoints of another identity."""
        if not self._root.is_dir():
            return False
        return any(one.is_dir() and one != self._directory for one in self._root.iterdir())

    def _all(self) -> list[Path]:
        """Return the finished ones, newest first; half-written ones have another name."""
        return sorted(self._directory.glob("step-*"), reverse=True)


def _name(step: int) -> str:
    return f"step-{step:09d}"


def _read(folder: Path) -> Checkpoint:
    try:
        digests = json.loads((folder / _DIGESTS).read_bytes())
        for name in (_TENSORS, _STATE):
            if digests[name] != file_digest(folder / name):
                raise _DamagedError(f"{name} is not what was written")
        state = json.loads((folder / _STATE).read_bytes())
        tensors = load_file(folder / _TENSORS)
    except OSError as error:
        raise _DamagedError(f"a file cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _DamagedError(f"{_DIGESTS} is damaged") from error
    except SafetensorError as error:
        raise _DamagedError(f"{_TENSORS} is damaged: {error}") from error
    return Checkpoint(int(folder.name.rpartition("-")[2]), state, tensors)
