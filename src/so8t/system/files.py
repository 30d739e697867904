"""Files that are whole or absent, and the digests that name them."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
import time
from contextlib import contextmanager, suppress
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, TextIO, TypeVar

from so8t.system.attempt import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Value = TypeVar("Value")

_CHUNK = 1 << 20
# Windows' numbers for "another program has this open just now": sharing violation, lock violation,
# a mapped section. Access denied may mean it too, and "directory not empty" where a file that was
# deleted in it is still open.
_OPEN_ELSEWHERE = frozenset({32, 33, 1224})
_HELD = _OPEN_ELSEWHERE | {5, 145}
_PATIENCE_SECONDS = 10.0
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.01, 0.5


def patiently(action: Callable[[], Value], seconds: float = _PATIENCE_SECONDS) -> Value:
    """Do `action`, again and again for `seconds` while another program holds what it touches.

    On Windows a file that somebody has open can be neither replaced nor renamed nor deleted, and
    virus scanners, indexers and backup programs open each new file for a moment. A read-only
    attribute refuses it as well; what counts elsewhere is the right to the directory, so it is
    taken away. Other systems know no such refusal: there an error is raised at once.
    """
    until, wait = time.monotonic() + seconds, _FIRST_WAIT_SECONDS
    while True:
        try:
            return action()
        except OSError as error:
            if getattr(error, "winerror", None) not in _HELD or time.monotonic() >= until:
                raise
            for name in (error.filename, error.filename2):
                _make_writable(name)
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


def is_held(error: OSError) -> bool:
    """Whether Windows refused for another program that has the file open."""
    return getattr(error, "winerror", None) in _OPEN_ELSEWHERE


def move(source: Path, target: Path) -> None:
    """Rename `source` to `target`; a file there is replaced. Patient, see `patiently`."""
    patiently(lambda: source.replace(target))


def move_once(source: Path, target: Path) -> None:
    """Rename `source` to `target`, which on Windows must not exist (FileExistsError). Patient."""
    patiently(lambda: source.rename(target))


def remove_file(path: Path) -> None:
    """Delete a file, if it is there. Patient, see `patiently`."""
    patiently(lambda: path.unlink(missing_ok=True))


def remove_tree(path: Path) -> None:
    """Delete a directory with all that is in it, if it is there. Patient, see `patiently`."""

    def remove() -> None:
        # What another one deletes at the same time is gone, which is what was wanted.
        with suppress(FileNotFoundError):
            shutil.rmtree(path)

    patiently(remove)


def _make_writable(name: object) -> None:
    if isinstance(name, str | os.PathLike):
        with suppress(OSError):
            os.chmod(name, stat.S_IWRITE | stat.S_IREAD)  # noqa: PTH101 - as the error names it


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
        move(temporary, path)
    finally:
        remove_file(temporary)
    sync_directory(path.parent)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and takes the final name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    remove_file(temporary)
    try:
        yield temporary
        sync_file(temporary)
        move(temporary, path)
        sync_directory(path.parent)
    finally:
        remove_file(temporary)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary directory; on success it is synced and replaces `path`.

    A directory cannot be exchanged in one step: between the removal of an old one and the
    rename `path` may be absent, never half-written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    remove_tree(temporary)
    temporary.mkdir()
    try:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                sync_file(file)
            else:
                sync_directory(file)
        sync_directory(temporary)
        remove_tree(path)
        move(temporary, path)
        sync_directory(path.parent)
    finally:
        # Never in the place of the error that led here; the next attempt removes it first.
        with suppress(OSError):
            remove_tree(temporary)


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
