"""A run's process has one way to its journal: through SQLite. A look from outside loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tiny_run import ENVIRONMENT, QUICKSTART, write_config

from so8t.domain.plan import Phase
from so8t.journal.chained import FILE_NAME
from so8t.journal.store import Journal
from so8t.pipeline.selftest.killing import outcome, phase_now
from tiny_gguf import write_tiny_gguf

if TYPE_CHECKING:
    from collections.abc import Iterator

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

from look import look, ways

pytestmark = pytest.mark.skipif(
    not Path("/proc/locks").exists(), reason="only Linux shows who holds which lock"
)
WATCHED = Path(__file__).with_name("watched_run.py")


def two_files(directory: Path, name: str, questions: int) -> Path:
    """Write a config for two GGUF files, which no phase has to make first."""
    config = directory / f"{name}.yaml"
    suite = directory / "suite.jsonl"
    lines = (QUICKSTART / "suite.jsonl").read_text(encoding="utf-8").splitlines()
    suite.write_text("\n".join(lines[:questions]) + "\n", encoding="utf-8")
    models = [write_tiny_gguf(directory / f"{seed}.gguf", seed=seed) for seed in (1, 2)]
    a, b = (json.dumps(str(model)) for model in models)
    config.write_text(
        f"""\
name: {name}
a: {{source: {{gguf: {a}}}}}
b: {{source: {{gguf: {b}}}}}
engine: {{slots: 1, threads: 1, context: 4096}}
generation: {{max_tokens: 12}}
benchmark: {{suites: [suite.jsonl], noise_floor: 4}}
verdict: {{stop: full}}
""",
        encoding="utf-8",
    )
    return config


def start(config: Path, notes: Path) -> subprocess.Popen[str]:
    arguments = ["run", str(config), "--output", str(config.parent / "runs")]
    return subprocess.Popen(
        [sys.executable, str(WATCHED), str(notes), *arguments],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=ENVIRONMENT,
    )  # fmt: skip


def holds_lock(pid: int, inode: int) -> bool:
    """Whether a process has a POSIX lock on a file, as the kernel tells."""
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if "POSIX" in words and str(pid) in words and any(w.endswith(f":{inode}") for w in words):
            return True
    return False


def unguarded(process: subprocess.Popen[str], journal: Path) -> Iterator[float]:
    """Yield the moments at which a log was there and the process had no lock on its journal.

    SQLite deletes the log of its last connection while it holds the lock, and makes it with one.
    """
    log = journal.with_name(f"{FILE_NAME}-wal")
    began = time.monotonic()
    while process.poll() is None:
        try:
            before = log.stat().st_ino
            held = holds_lock(process.pid, journal.stat().st_ino)
            after = log.stat().st_ino
        except FileNotFoundError:
            continue
        if not held and before == after and process.poll() is None:
            yield time.monotonic() - began
        time.sleep(0.001)


def watched(config: Path, notes: Path, name: str) -> None:
    with start(config, notes) as process:
        lost = list(unguarded(process, config.parent / "runs" / name / FILE_NAME))
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert not lost, f"no lock {lost[:5]} s after the start"
    assert not notes.exists(), notes.read_text()


@pytest.mark.slow
def test_the_lock_is_there_through_a_whole_run(tmp_path):
    """Whenever there is a log, its run holds the lock; no file of a journal is opened plainly.

    The second run takes answers over from the first, beside which it lies.
    """
    for name in ("first", "second"):
        watched(two_files(tmp_path, name, 12), tmp_path / "opened", name)
    with Journal(tmp_path / "runs" / "second", readonly=True) as journal:
        assert any(answer.reused_from for answer in journal.answers())


@pytest.mark.slow
def test_the_lock_is_there_while_a_model_is_converted_and_trained(tmp_path):
    """The same with conversion and training."""
    watched(write_config(tmp_path, questions=40), tmp_path / "opened", "tiny")


def looked_at_and_killed(config: Path, directory: Path, way: str) -> None:
    journal, log = directory / FILE_NAME, directory / f"{FILE_NAME}-wal"
    with start(config, directory.parent.parent / "opened") as process:
        while phase_now(directory, process.pid) is not Phase.BENCHMARK:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        before = log.stat().st_ino
        seen = look(ways()[way](journal))
        assert log.stat().st_ino == before, f"{way} deleted the log of a run at work"
        assert holds_lock(process.pid, journal.stat().st_ino)
        process.kill()
    with Journal(directory, readonly=True) as left:
        assert len(list(left.answers(repeat=None))) >= seen


@pytest.mark.slow
@pytest.mark.parametrize("way", ["sqlite3", "Python's module"])
def test_a_look_at_a_run_and_a_kill_lose_nothing(tmp_path, way):
    """Another SQLite reads the journal of a run in phase 4, then SIGKILL: the end is the same."""
    if way not in ways():
        pytest.skip("there is no sqlite3 program here")
    undisturbed = two_files(tmp_path, "undisturbed", 40)
    watched(undisturbed, tmp_path / "opened", "undisturbed")
    truth = outcome(tmp_path / "runs" / "undisturbed")
    (tmp_path / "runs").replace(tmp_path / "earlier")  # nothing is to be taken over from it
    config = two_files(tmp_path, "looked-at", 40)
    looked_at_and_killed(config, tmp_path / "runs" / "looked-at", way)
    watched(config, tmp_path / "opened", "looked-at")
    assert outcome(tmp_path / "runs" / "looked-at") == truth
