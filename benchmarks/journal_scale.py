"""What a million answers in the journal cost: the start, a commit, a look, the memory.

    python benchmarks/journal_scale.py                    # 1,000,000 answers; about 1.5 GB of disk
    python benchmarks/journal_scale.py --answers 100000

The journal is made through the same rows and links as a run makes them (many answers to a commit,
where a run commits each), so that its chain verifies. What is timed is the product's own code:
opening, restoring phase 4's place, the first question, commits of single answers, a look at the
evidence, a backup. The engine answers at once: its time is not ours.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from so8t.config.schema import RunConfig
from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm, EngineReply, Message, Status
from so8t.domain.sample import Origin, Sample, Score
from so8t.engines.scripted import ScriptedEngine
from so8t.journal.evidence import freeze, gather
from so8t.journal.restore import open_journal
from so8t.journal.rows import GradedReply
from so8t.journal.store import Journal, request_key, system_now
from so8t.pipeline.benchmark.phase4 import Phase4BenchmarkRunner
from so8t.pipeline.plan.planning import samples_in_block
from so8t.pipeline.run.progress import Silent, StopRequest
from so8t.tasks.graders import grader_digest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "pipeline"))

from scripted_run import registration

if TYPE_CHECKING:
    from collections.abc import Iterator

_BATCH = 10_000
_TASKS = 8
_WORDS = "the answer to this question is likely yes because of what was said before in the text"


class Timer:
    """Prints what each step took."""

    def __init__(self) -> None:
        self._cpu = time.process_time()

    def step(self, name: str, began: float) -> None:
        """Print the seconds since `began`, the CPU time of this process, the memory now."""
        seconds, cpu = time.perf_counter() - began, time.process_time()
        used, self._cpu = cpu - self._cpu, cpu
        print(
            f"{name:<44} {seconds:>9.3f} s {used:>9.3f} s CPU {memory() / 1e6:>7.0f} MB", flush=True
        )


def memory() -> int:
    """Resident bytes of this process."""
    return int(psutil.Process().memory_info().rss)


def config(*, stop: str) -> RunConfig:
    """Return the config of the run."""
    return RunConfig.model_validate(
        {
            "name": "scale",
            "a": {"source": {"gguf": "a.gguf"}},
            "b": {"source": {"gguf": "b.gguf"}},
            "benchmark": {"suites": ["s.jsonl"], "noise_floor": 0},
            "verdict": {"stop": stop},
        }
    )


def samples(count: int) -> Iterator[Sample]:
    """Yield questions of some 300 characters in several tasks."""
    for n in range(count):
        task = f"task-{n % _TASKS}"
        yield Sample(
            f"{task}/{n}", task, Origin.SUITE, f"category-{n % 4}", "en",
            (Message("user", f"question {n}: {_WORDS} {_WORDS} {_WORDS}"),),
            {"type": "exact"}, "yes",
        )  # fmt: skip


def build(directory: Path, answers: int, asked: RunConfig) -> None:
    """Make a journal with `answers` answers and room for a tenth more."""
    questions = answers // 2 + answers // 20
    dice = random.Random(1)
    with Journal(directory) as journal:
        journal.create_run("scale", asked.model_dump(mode="json"), "0")
        journal.freeze(list(samples(questions)))
        freeze(journal, binary=True, look_every=samples_in_block(asked, questions))
        journal.event("session_started", pid=0)
        runner = make_runner(asked, journal, lambda: None)
        settings = {arm: runner.settings_of(arm) for arm in Arm}
        for arm, digest in settings.items():
            journal.event(EventKind.SETTINGS_IN_FORCE, arm=arm.value, settings=digest)
        grader = grader_digest({"type": "exact"})
        block = samples_in_block(asked, questions)
        looked = {"settings": list(settings.values()), "deadline": None}
        done = 0
        for start in range(0, questions, block):
            for arm in Arm:
                stop = min(start + block, questions)
                for first in range(start, stop, _BATCH):
                    rows = [
                        reply(arm, position, settings[arm], grader, dice)
                        for position in range(first, min(first + _BATCH, stop))
                    ][: answers - done]
                    journal.record(rows)
                    done += len(rows)
                    if done >= answers:
                        return
            # A run with early stopping remembers each look that said to go on.
            journal.event(
                EventKind.INTERIM_ANALYSIS,
                after=min(start + block, questions),
                what=looked,
                tasks=None,
            )


def reply(arm: Arm, position: int, settings: str, grader: str, dice: random.Random) -> GradedReply:
    """Make an answer of some 250 characters; both arms are right in half of the questions."""
    right = bool(dice.getrandbits(1))
    text = f"{'yes' if right else 'no'} {_WORDS} {_WORDS} {_WORDS}"
    given = EngineReply(
        request_key(arm, position, 0), Status.COMPLETED, text,
        prompt_tokens=60, completion_tokens=50, seconds=0.5,
    )  # fmt: skip
    return GradedReply(arm, position, 0, given, settings, Score.number(float(right)), grader)


class _Asked(Exception):
    """The first question was asked."""


def make_runner(asked: RunConfig, journal: Journal, first: Any) -> Phase4BenchmarkRunner:
    """Return phase 4 over an engine that calls `first` and says yes."""

    def answer(_request: Any) -> str:
        first()
        return "yes"

    return Phase4BenchmarkRunner(
        asked, journal, ScriptedEngine(answer), registration(1),
        reporter=Silent(), stop=StopRequest(),
    )  # fmt: skip


def time_to_first_question(directory: Path, asked: RunConfig, timer: Timer, name: str) -> None:
    """Open as a start does, and go on until a question reaches the engine."""
    began = time.perf_counter()

    def asked_now() -> None:
        timer.step(name, began)
        raise _Asked

    journal, _ = open_journal(directory, now=system_now)
    with journal:
        try:
            make_runner(asked, journal, asked_now).run()
        except _Asked:
            return


def commits(directory: Path, number: int) -> list[float]:
    """Commit answers one by one; return the seconds of each."""
    grader, dice = grader_digest({"type": "exact"}), random.Random(2)
    taken = []
    with Journal(directory) as journal:
        asked = config(stop="full")
        settings = make_runner(asked, journal, lambda: None).settings_of(Arm.B)
        for position in journal.open_positions(Arm.B, 0, journal.sample_count())[:number]:
            row = reply(Arm.B, position, settings, grader, dice)
            began = time.perf_counter()
            journal.record([row])
            taken.append(time.perf_counter() - began)
    return taken


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=int, default=1_000_000)
    parser.add_argument("--commits", type=int, default=2000)
    parser.add_argument("--keep", type=Path, help="build here, or use what was built here")
    parser.add_argument("--look", action="store_true", help="time a look too: many minutes")
    asked = parser.parse_args()
    place = asked.keep or Path(tempfile.mkdtemp(prefix="so8t-scale-"))
    directory, timer = place / "scale", Timer()
    try:
        measure(directory, asked.answers, asked.commits, timer, look=asked.look)
    finally:
        if asked.keep is None:
            shutil.rmtree(place)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"most memory: {peak / 1e3:.0f} MB")
    sys.exit(0)


def measure(directory: Path, answers: int, number: int, timer: Timer, *, look: bool) -> None:
    """Build, then measure each in turn."""
    full, early = config(stop="full"), config(stop="early")
    if not directory.exists():
        began = time.perf_counter()
        build(directory, answers, full)
        timer.step("building the journal", began)
    size = sum(file.stat().st_size for file in directory.iterdir())
    print(f"{answers} answers, {size / 1e6:.0f} MB")
    time_to_first_question(directory, full, timer, "start to first question, stop: full")
    time_to_first_question(directory, early, timer, "start to first question, stop: early")
    before = memory()
    taken = commits(directory, number)
    cuts = statistics.quantiles(taken, n=100)
    print(
        f"one answer committed: median {cuts[49] * 1e3:.2f} ms, p99 {cuts[98] * 1e3:.2f} ms, "
        f"most {max(taken) * 1e3:.1f} ms; memory {(memory() - before) / 1e6:+.1f} MB "
        f"over {len(taken)} answers"
    )
    with Journal(directory) as journal:
        began = time.perf_counter()
        journal.secure()
        timer.step("a backup", began)
        began = time.perf_counter()
        journal.verify()
        timer.step("every row verified", began)
        if look:
            began = time.perf_counter()
            gather(journal)
            timer.step("a look at the evidence", began)


if __name__ == "__main__":
    main()
