"""Power cuts: a disk that forgets, reorders or tears what was not synced.

A SQLite VFS passes everything on and remembers each write, truncation and sync in their order,
with a mark where an answer was acknowledged. From that log the state of the disk after a cut at
any moment can be made: what was synced is there; of the rest some, in any order, in whole sectors.

    python tests/lab/power.py --cuts 5000                # synchronous=FULL, as the product has it
    python tests/lab/power.py --cuts 5000 --normal       # the same with NORMAL: rows are lost
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
from workload import Row, answer_rest, answered, begin, fast_directory, outcome, shown, undisturbed

from so8t.domain.canonical import canonical_json
from so8t.errors import JournalError
from so8t.journal.chained import WITNESS_NAME
from so8t.journal.restore import open_journal
from so8t.journal.store import Journal, system_now

if TYPE_CHECKING:
    from collections.abc import Callable

SECTOR = 512
MODES = ("forgotten", "cut off", "reordered", "torn")
_NORMAL = 1
_NAME = "so8t-power"
# Small, so that the log is moved into the file many times in a short run.
_CHECKPOINT_PAGES = 24


@dataclass
class Log:
    """Everything that reached the disk's door, in order: (kind, file, ...)."""

    entries: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, *entry: Any) -> None:
        """Remember one."""
        self.entries.append(entry)


class _File(apsw.VFSFile):
    def __init__(self, log: Log, name: str, flags: list[int]) -> None:
        self._log = log
        given = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name = Path(given).name
        super().__init__("", name, flags)

    def xWrite(self, data, offset):  # noqa: N802 - SQLite's name
        self._log.add("write", self._name, offset, bytes(data))
        return super().xWrite(data, offset)

    def xTruncate(self, newsize):  # noqa: N802 - SQLite's name
        self._log.add("truncate", self._name, newsize)
        return super().xTruncate(newsize)

    def xSync(self, flags):  # noqa: N802 - SQLite's name
        super().xSync(flags)
        self._log.add("sync", self._name)


class PowerVFS(apsw.VFS):
    """Passes all on to the system's own VFS, and keeps the log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        super().__init__(_NAME, "")

    def xOpen(self, name, flags):  # noqa: N802 - SQLite's name
        return _File(self._log, name, flags)

    def xDelete(self, filename, syncdir):  # noqa: N802 - SQLite's name
        self._log.add("delete", Path(filename).name, bool(syncdir))
        return super().xDelete(filename, syncdir)


@dataclass
class Disk:
    """One moment: what each file durably is, and what was done to it since."""

    durable: dict[str, bytes] = field(default_factory=dict)
    pending: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    deleted: dict[str, bytes] = field(default_factory=dict)
    acknowledged: list[Any] = field(default_factory=list)
    given: int = 0

    def apply(self, entry: tuple[Any, ...]) -> None:
        """Go on by one entry of the log."""
        kind, name, *rest = entry
        if kind == "sync":
            if name not in self.durable:
                self.deleted.clear()  # the first sync of a new file is one of its directory too
            content = bytearray(self.durable.get(name, b""))
            for change in self.pending.pop(name, []):
                _change(content, change)
            self.durable[name] = bytes(content)
        elif kind == "delete":
            gone = self.durable.pop(name, None)
            self.pending.pop(name, None)
            if gone is not None and not rest[0]:
                self.deleted[name] = gone
        elif kind == "asked":
            self.given += 1
        elif kind == "acknowledged":
            self.acknowledged.append(rest[0])
        elif kind == "whole":  # written through, synced and renamed before it is seen
            self.durable[name] = rest[0]
        else:
            self.pending.setdefault(name, []).append((kind, *rest))

    def after_cut(self, mode: str, dice: random.Random) -> dict[str, bytes]:
        """Return the files as the next start finds them."""
        files = {}
        for name in self.durable.keys() | self.pending.keys():
            changes = _survivors(self.pending.get(name, []), mode, dice)
            if name not in self.durable and not changes:
                continue  # made, never synced: the directory does not know it
            content = bytearray(self.durable.get(name, b""))
            for change in changes:
                _change(content, change)
            files[name] = bytes(content)
        for name, content in self.deleted.items():
            # The directory may not know of it yet; then the file is there as it was.
            if name not in files and (mode == "forgotten" or dice.random() < 0.5):
                files[name] = content
        return files


def _change(content: bytearray, change: tuple[Any, ...]) -> None:
    kind, *rest = change
    if kind == "truncate":
        (size,) = rest
        del content[size:]
        content.extend(bytes(size - len(content)))
        return
    offset, data = rest
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _survivors(
    changes: list[tuple[Any, ...]], mode: str, dice: random.Random
) -> list[tuple[Any, ...]]:
    """Choose what of the un-synced changes the disk kept, and in which order."""
    if mode == "forgotten":
        return []
    if mode == "cut off":
        return changes[: dice.randint(0, len(changes))]
    kept = [change for change in changes if dice.random() < 0.5]
    if mode == "reordered":
        dice.shuffle(kept)
        return kept
    torn: list[tuple[Any, ...]] = []
    for change in kept:
        if change[0] != "write":
            torn.append(change)
            continue
        _, offset, data = change
        torn.extend(
            ("write", offset + start, data[start : start + SECTOR])
            for start in range(0, len(data), SECTOR)
            if dice.random() < 0.7
        )
    return torn


def record(directory: Path, *, normal: bool) -> Log:
    """Do the work once over the remembering VFS."""
    log = Log()
    vfs = PowerVFS(log)
    try:
        journal = Journal(directory, vfs=_NAME)
        if normal:
            journal._connection.pragma("synchronous", _NORMAL)
        journal._connection.wal_autocheckpoint(_CHECKPOINT_PAGES)
        witness = directory / WITNESS_NAME
        with journal:
            begin(journal)
            journal.event("session_started", pid=0)
            told = None
            log.add("asked", "")
            for key in answer_rest(journal):
                log.add("acknowledged", "", key)
                if witness.exists() and (now := witness.read_bytes()) != told:
                    log.add("whole", WITNESS_NAME, now)
                    told = now
                log.add("asked", "")
    finally:
        vfs.unregister()
    return log


def cuts(number: int, *, normal: bool = False, seed: int = 1) -> Row:
    """Cut the power `number` times at random moments; compare each end with an undisturbed run."""
    row = Row(f"power cut, synchronous={'NORMAL' if normal else 'FULL'}")

    def moments(log: Log, dice: random.Random) -> list[int]:
        return sorted(dice.randrange(len(log.entries)) for _ in range(number))

    return _cut(row, moments, normal=normal, seed=seed)


def first_cuts(step: int = 1, *, seed: int = 1) -> Row:
    """Cut at every moment (or each `step`-th) of a beginning, up to its first answer, each mode."""

    def moments(log: Log, _: random.Random) -> list[int]:
        begun = next(n for n, entry in enumerate(log.entries) if entry[0] == "asked")
        return sorted([*range(0, begun, step)] * len(MODES))

    return _cut(Row("power cut at each moment of a beginning"), moments, normal=False, seed=seed)


def _cut(
    row: Row, choose: Callable[[Log, random.Random], list[int]], *, normal: bool, seed: int
) -> Row:
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=fast_directory(), prefix="so8t-lab-") as scratch:
        root = Path(scratch)
        truth = undisturbed(root / "undisturbed")
        log = record(root / "recorded", normal=normal)
        disk, done = Disk(), 0
        for count, moment in enumerate(choose(log, dice)):
            for entry in log.entries[done : moment + 1]:
                disk.apply(entry)
            done = moment + 1
            place = root / "cut"
            place.mkdir()
            mode = MODES[count % len(MODES)]
            for name, content in disk.after_cut(mode, dice).items():
                (place / name).write_bytes(content)
            _start_again(place, disk, truth, row)
            shutil.rmtree(place)
    return row


def _start_again(place: Path, disk: Disk, truth: dict[str, Any], row: Row) -> None:
    """Start on what the cut left, count, go on to the end, and compare."""
    row.times += 1
    try:
        journal, restored = open_journal(place, now=system_now)
        with journal:
            found = answered(journal)
            begin(journal)
            again = len(list(answer_rest(journal)))
            end = outcome(journal)
        # What a start made of it has to be a journal for everybody after it.
        with Journal(place, readonly=True) as left:
            left.verify()
    except JournalError as error:
        row.lost += len(disk.acknowledged)
        row.same = False
        row.note = row.note or f"first: {error.message}"
        return
    acknowledged = set(disk.acknowledged)
    row.lost += len(acknowledged - set(found))
    row.twice += len(found) - len(set(found))
    row.redone += max(0, disk.given - len(set(found)))
    if restored is not None:
        row.note = row.note or f"restored: {restored.reason}"
    missing = len(truth["answers"]) - len(set(found))
    row.same &= canonical_json(_plain(end)) == canonical_json(_plain(truth)) and again == missing


def _plain(end: dict[str, Any]) -> dict[str, Any]:
    return end | {"answers": sorted([*key, *said] for key, said in end["answers"].items())}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuts", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--normal", action="store_true")
    asked = parser.parse_args()
    row = cuts(asked.cuts, normal=asked.normal, seed=asked.seed)
    sys.stdout.write(shown([row]) + "\n")
    sys.exit(0 if row.good else 1)


if __name__ == "__main__":
    main()
