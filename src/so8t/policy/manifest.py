"""manifest.jsonl: one line a document that was asked for, with where it came from or why not."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from so8t.errors import DataError
from so8t.system.files import file_digest, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

NAME = "manifest.jsonl"


@dataclass(frozen=True)
class ManifestEntry:
    """One line.

    Attributes:
        url, final_url: as asked for, and after redirects (None when nothing was asked there).
        time: UTC, ISO 8601.
        outcome: "saved" or "refused".
        reason: why it was refused, None when saved.
        retryable: whether a refused one may succeed later.
        status: of the last answer, None when there was none.
        licence: as the person gave it, else as the document states it, else None.
        licence_from: "person", "document" or None.
        licence_stated: what the document states, also where the person gave another.
        content_type: as the server gave it.
        digest: `sha256:<hex>` of the bytes.
        size: in bytes.
        file: relative to the manifest.
        robots: what was decided and why, None when it was not asked.

    """

    url: str
    final_url: str | None
    time: str
    outcome: str
    reason: str | None = None
    retryable: bool = False
    status: int | None = None
    licence: str | None = None
    licence_from: str | None = None
    licence_stated: str | None = None
    content_type: str | None = None
    digest: str | None = None
    size: int | None = None
    file: str | None = None
    robots: str | None = None


class Manifest:
    """The lines of one directory; appended to, never rewritten."""

    def __init__(self, directory: Path) -> None:
        """Read what is there. Raises DataError for a line that is none of ours.

        A last line without its end was cut by a crash: it is taken off, and its document is
        fetched again.
        """
        self._directory = directory
        self._path = directory / NAME
        self._saved: dict[str, ManifestEntry] = {}
        directory.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            self._read()

    def has(self, url: str) -> ManifestEntry | None:
        """Return the line of a document that is here with the digest that the line says."""
        entry = self._saved.get(url)
        if entry is None or entry.file is None:
            return None
        path = self._directory / entry.file
        return entry if path.is_file() and file_digest(path) == entry.digest else None

    def append(self, entry: ManifestEntry) -> None:
        """Write a line through to the disk."""
        line = json.dumps(asdict(entry), ensure_ascii=False) + "\n"
        fresh = not self._path.exists()
        with self._path.open("ab") as handle:
            handle.write(line.encode())
            handle.flush()
            os.fsync(handle.fileno())
        if fresh:
            sync_directory(self._directory)
        self._remember(entry)

    def _read(self) -> None:
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with self._path.open("rb+") as handle:
                handle.truncate(whole)
        for number, raw in enumerate(data[:whole].split(b"\n")[:-1], start=1):
            self._remember(self._entry(raw, number))

    def _entry(self, raw: bytes, number: int) -> ManifestEntry:
        try:
            row: Any = json.loads(raw)
            entry = ManifestEntry(**row)
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(
                f"The line is none of a manifest: {error}.",
                file=str(self._path),
                line=number,
                hint="set the directory aside, or choose another one with --out",
            ) from error
        inside = entry.file is None or self._is_inside(entry.file)
        if not isinstance(entry.url, str) or not inside:
            raise DataError(
                "The line names no address, or a file outside of the directory.",
                file=str(self._path),
                line=number,
                hint="set the directory aside, or choose another one with --out",
            )
        return entry

    def _is_inside(self, file: object) -> bool:
        if not isinstance(file, str):
            return False
        return (self._directory / file).resolve().is_relative_to(self._directory.resolve())

    def _remember(self, entry: ManifestEntry) -> None:
        if entry.outcome == "saved":
            self._saved[entry.url] = entry
