"""Files that are whole or absent, and the digests that name them."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from contextlib import contextmanager
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, TextIO

from so8t.system.attempt import reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK = 1 << 20


def sync_directory(path: Path) -> None:
    """Make a rename in `path` survive a power cut. Windows has no such call and needs none."""
    if sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Write a file's data through to the disk."""
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace `path` by `data`: after a crash the old content is there, or the new, never a part.

    Temporary name, fsync, rename, fsync of the directory.
    """
    with _replacing(path) as temporary, temporary.open("wb") as handle:
        handle.write(data.encode() if isinstance(data, str) else data)
        handle.flush()
        os.fsync(handle.fileno())


def make_directory(path: Path) -> None:
    """Make a directory and those above it; each survives a power cut. It may be there already."""
    new = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for one in reversed(new):
        sync_directory(one.parent)


def check_writable(path: Path) -> None:
    """Raise OSError where `write_atomic` could put no file at `path`. Nothing is left there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
        pass


@contextmanager
def atomic_text(path: Path) -> Iterator[TextIO]:
    """Yield a file for UTF-8 text that takes the place of `path` on success, as `write_atomic`."""
    with _replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        yield handle
        handle.flush()
        os.fsync(handle.fileno())


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a name of this process alone beside `path`; on success the file takes its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and takes the final name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary directory; on success it is synced and replaces `path`.

    A directory cannot be exchanged in one step: between the removal of an old one and the
    rename `path` may be absent, never half-written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                sync_file(file)
            else:
                sync_directory(file)
        sync_directory(temporary)
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
        sync_directory(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as `sha256:<hex>`."""
    hasher = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            hasher.update(chunk)
    return f"sha256:{hasher.hexdigest()}"


def tree_digest(path: Path) -> str:
    """Digest of a file, or of a directory's relative names and contents in sorted order.

    Hidden files and directories (caches, version control) do not count.
    """
    if path.is_file():
        return file_digest(path)
    hasher = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path)
        if file.is_file() and not any(part.startswith(".") for part in relative.parts):
            hasher.update(f"{relative.as_posix()}\0{file_digest(file)}\n".encode())
    return f"sha256:{hasher.hexdigest()}"


def free_bytes(path: Path) -> int | None:
    """Bytes free for us on the file system that holds `path` or its nearest existing parent.

    None where the system does not tell.
    """
    probe = path
    while not probe.exists():
        probe = probe.parent
    return reading(lambda: shutil.disk_usage(probe).free)
