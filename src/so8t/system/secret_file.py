"""Secrets in files that only their owner can read."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from so8t.errors import PrerequisiteError
from so8t.system.files import sync_directory

if TYPE_CHECKING:
    from pathlib import Path

_BYTES = 32


def read_secret(path: Path) -> bytes:
    """Return the text of a secret file, without white space around it.

    Raises PrerequisiteError for a file that is absent, empty, or that others can read (not
    checked on Windows, where the profile's directory keeps others out).
    """
    try:
        found = path.stat()
        text = path.read_bytes().strip()
    except OSError as error:
        raise PrerequisiteError(f"{path} cannot be read: {error.strerror}.") from error
    if sys.platform != "win32" and (
        found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077
    ):
        raise PrerequisiteError(
            f"{path} is not for its owner alone, so it is no secret.",
            hint=f"chmod 600 {path}, and make a new secret if others may have read it",
        )
    if not text:
        raise PrerequisiteError(f"{path} is empty.")
    return text


def make_secret(path: Path) -> bytes:
    """Return the secret in `path`, made at random (256 bits, as hex) where there is none yet."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Of two that start at once one makes the file; both read it.
    with suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_hex(_BYTES).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)
    return read_secret(path)
