"""What the end of a run, `so8t report` and `so8t status` cost at many answers: memory and time.

    python benchmarks/end_of_run.py                     # 200,000 questions; 1 GB of disk
    python benchmarks/end_of_run.py --samples 20000
    python benchmarks/end_of_run.py --samples 20000 --hf

A journal in which both models have answered every question in 300 characters is made through the
rows and links that a run makes. Then a fresh process each does, with the product's own code:

- the end of phase 4, from the last answer on: what failed is looked for, the evidence gathered,
  the phase closed, the report and the result files written, the verdict shown;
- `so8t report`, which verifies every row before it writes;
- `so8t status`.

Printed are the seconds, and the highest resident memory of the process, beside the goals at
200,000 questions. With `--hf` the questions are of a task of lm-eval, whose own files are written
at the end as well. Linux and macOS.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from journal_scale import config, make_runner, registration
from so8t.cli.console import Console
from so8t.cli.run import show_result
from so8t.cli.status import command as status
from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm, EngineReply, Message, Status
from so8t.domain.measured import Likelihood, write_likelihoods
from so8t.domain.plan import Phase
from so8t.domain.sample import Origin, Sample, Score
from so8t.engines.scripted import ScriptedEngine
from so8t.journal.evidence import freeze
from so8t.journal.rows import GradedReply
from so8t.journal.store import Journal, request_key
from so8t.pipeline.complete import CompleteAutomatedABPipeline
from so8t.pipeline.plan.planning import samples_in_block
from so8t.tasks.graders import grader_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

GOAL_BYTES = 300e6
GOAL_SECONDS = 180.0
_UNIT = 1 if sys.platform == "darwin" else 1024
_BATCH = 5_000
_TASKS = 8
_WORDS = "because of what was said before in the text the answer to this question is likely that "


def suite_samples(count: int) -> Iterator[Sample]:
    """Yield questions of some 300 characters in several tasks."""
    for n in range(count):
        task = f"task-{n % _TASKS}"
        yield Sample(
            f"{task}/{n}", task, Origin.SUITE, f"category-{n % 4}", "en",
            (Message("user", f"question {n}: " + 3 * _WORDS),), {"type": "exact"}, "yes",
        )  # fmt: skip


def hf_samples(count: int, directory: Path) -> list[Sample]:
    """Return questions of lm-eval's arc_easy over a set of our own making."""
    from so8t.tasks.hf.bridge import load_hf_task  # noqa: PLC0415 - of the extra `hf`

    dice = random.Random(1)
    folder = directory / "arc_easy"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for n in range(count if split == "test" else 8):
                doc = {
                    "id": str(n),
                    "question": f"question {n}: " + 3 * _WORDS,
                    "answerKey": dice.choice("ABCD"),
                    "choices": {"text": ["yes", "no", _WORDS, "none"], "label": list("ABCD")},
                }
                file.write(json.dumps(doc) + "\n")
    return load_hf_task("arc_easy", data_dir=directory)


def build(directory: Path, samples: Iterable[Sample]) -> None:
    """Make the journal of a run whose questions are all answered; phase 4 is not closed."""
    asked = config(stop="full")
    with Journal(directory) as journal:
        journal.create_run("scale", asked.model_dump(mode="json"), "0")
        journal.freeze(samples)
        count = journal.sample_count()
        freeze(journal, binary=True, look_every=samples_in_block(asked, count))
        journal.event("session_started", pid=0, host="here", version="0")
        runner = make_runner(asked, journal, lambda: None)
        dice = random.Random(2)
        for arm in Arm:
            settings = runner.settings_of(arm)
            journal.event(EventKind.SETTINGS_IN_FORCE, arm=arm.value, settings=settings)
            for start in range(0, count, _BATCH):
                questions = enumerate(journal.samples(start, start + _BATCH), start)
                journal.record([reply(arm, n, one, settings, dice) for n, one in questions])


def reply(
    arm: Arm, position: int, sample: Sample, settings: str, dice: random.Random
) -> GradedReply:
    """Make an answer of 300 characters, or of four likelihoods; B is right a little more often.

    One in a hundred is cut, one in a thousand failed, one in a thousand could not be graded.
    """
    right = dice.random() < (0.52 if arm is Arm.B else 0.5)
    chance, status, reason = dice.random(), Status.COMPLETED, None
    if chance < 0.001 and sample.form is None:  # noqa: PLR2004 - as the docstring says
        status, reason = Status.FAILED, "the server did not answer within 60 s"
    elif chance < 0.011:  # noqa: PLR2004 - as above
        status, reason = Status.TRUNCATED, "the token budget ended"
    if status is Status.FAILED:
        text = ""
    elif sample.form is None:
        text = f"{'yes' if right else 'no'} {position} {4 * _WORDS}"[:300]
    else:
        found = [
            Likelihood(-20 * dice.random(), 5, greedy=False) for _ in sample.form.continuations
        ]
        text = write_likelihoods(found, "batch")
    score = None if status is Status.FAILED else Score.number(float(right))
    if chance > 0.999:  # noqa: PLR2004 - as above
        score = Score.unscored("no number in it")
    given = EngineReply(
        request_key(arm, position, 0), status, text, reason,
        prompt_tokens=60, completion_tokens=50, seconds=0.4 + 0.2 * dice.random(),
    )  # fmt: skip
    grader = None if score is None else grader_digest(sample.grader)
    return GradedReply(arm, position, 0, given, settings, score, grader)


def end_of_run(directory: Path) -> None:
    """Do what `so8t run` does from the last answer on."""
    with Journal(directory) as journal:
        asked = config(stop="full")
        pipeline = CompleteAutomatedABPipeline(
            asked, directory, journal, ScriptedEngine(lambda _: "yes")
        )
        # The first three phases need models; here they are done.
        pipeline._done[Phase.REGISTER] = registration(1)  # noqa: SLF001
        step("opened")
        pipeline.run_phase4()
        step("phase 4 closed")
    report(directory)


def report(directory: Path) -> None:
    """Do what `so8t report` does."""
    show_result(directory, _console(), (), 0.0)
    step("report and result files written")


def progress(directory: Path) -> None:
    """Do what `so8t status` does."""
    status.main([str(directory)], standalone_mode=False)
    step("status shown")


STEPS: dict[str, Callable[[Path], None]] = {
    "end of a run": end_of_run,
    "so8t report": report,
    "so8t status": progress,
}


def _console() -> Console:
    return Console("en", as_json=False, quiet=True, verbose=False)


_STARTED = time.monotonic()


def step(name: str) -> None:
    """Print the time and the most memory so far of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
    seconds, cpu = time.monotonic() - _STARTED, time.process_time()
    line = f"  {name:<32} {seconds:>7.1f} s {cpu:>7.1f} s CPU  at most {peak / 1e6:>5,.0f} MB"
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Build the journal, and do each in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--hf", action="store_true", help="questions of a task of lm-eval")
    parser.add_argument("--keep", type=Path, help="build here, or use what was built here")
    parser.add_argument("--only", choices=[*STEPS], action="append", help="only this")
    parser.add_argument("--child", choices=["build", *STEPS], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    place = asked.keep or Path(tempfile.mkdtemp(prefix="so8t-end-"))
    place.mkdir(parents=True, exist_ok=True)
    if asked.child == "build":
        made = hf_samples(asked.samples, place) if asked.hf else suite_samples(asked.samples)
        build(place, made)
        return
    if asked.child:
        STEPS[asked.child](place)
        return
    # Each in a process of its own: on Linux a child begins with the highest memory of its parent.
    child = [sys.executable, __file__, "--keep", str(place), "--samples", str(asked.samples)]
    child += ["--hf"] if asked.hf else []
    steps = [*(asked.only or STEPS)]
    if not (place / "journal.sqlite").exists():
        steps.insert(0, "build")
    goals = f"goals at 200,000: {GOAL_BYTES / 1e6:.0f} MB, {GOAL_SECONDS:.0f} s of CPU a step"
    print(f"{asked.samples:,} questions, two models; {goals}", file=sys.stderr)
    try:
        for name in steps:
            print(name, file=sys.stderr, flush=True)
            subprocess.run([*child, "--child", name], check=True, stdout=subprocess.DEVNULL)
    finally:
        if asked.keep is None:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
