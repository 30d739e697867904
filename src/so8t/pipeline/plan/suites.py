"""Suite files as they were when the run began: an edit afterwards is noticed, never mixed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from so8t.domain.canonical import digest_of
from so8t.domain.events import EventKind
from so8t.errors import PrerequisiteError
from so8t.system.files import file_digest
from so8t.tasks.suite import suite_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from so8t.config.schema import RunConfig
    from so8t.journal.store import Journal


def digests(config: RunConfig) -> dict[str, str | None]:
    """Digest of each suite that the config names; None for one that is gone."""
    return {str(path): _digest(path) for path in config.benchmark.suites}


def changed(journal: Journal, config: RunConfig) -> Iterator[dict[str, str]]:
    """Yield each suite that is no longer what the run has frozen, once for each new state.

    The run goes on with the questions that it froze: asking others in its middle would make two
    tests out of one. Whoever wants the new ones starts a new run.
    """
    read = journal.events(EventKind.SUITES_READ)
    if not read:
        return
    known: dict[str, str | None] = dict(read[0].data["digests"])
    told = {
        (event.data["suite"], event.data["digest"])
        for event in journal.events(EventKind.SUITE_CHANGED)
    }
    for suite, digest in digests(config).items():
        if digest != known.get(suite) and (suite, digest or "") not in told:
            yield {"suite": suite, "digest": digest or ""}


def _digest(path: Path) -> str | None:
    try:
        files = suite_files(path)
        return digest_of([[file.name, file_digest(file)] for file in files])
    except (PrerequisiteError, FileNotFoundError):
        return None
