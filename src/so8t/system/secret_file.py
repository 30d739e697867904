"""Secrets in files that only their owner can read."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from so8t.errors import PrerequisiteError
from so8t.system.files import move_once, remove_file, sync_directory

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
    """Return the secret in `path`, made at random (256 bits, as hex) where there is none yet.

    It is there whole or not at all, whatever cuts this off.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        new = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        remove_file(new)
        try:
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_hex(_BYTES).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            # Of two that start at once one gives the file its name; both read it.
            with suppress(FileExistsError):
                _name_once(new, path)
        finally:
            remove_file(new)
        sync_directory(path.parent)
    return read_secret(path)


def _name_once(new: Path, path: Path) -> None:
    """Give a file its name. Raises FileExistsError where another one has it."""
    if sys.platform == "win32":
        move_once(new, path)  # there it replaces nothing
        return
    try:
        path.hardlink_to(new)
    except FileExistsError:
        raise
    except OSError:
        # A file system without links (FAT); two first starts at one moment are not expected there.
        move_once(new, path)
