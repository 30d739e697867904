"""A complete run in seconds: the quickstart's base model, three steps, a few questions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil

from so8t.domain.plan import Phase
from so8t.errors import PrerequisiteError
from so8t.examples import DEMO
from so8t.journal.chained import FILE_NAME
from so8t.journal.store import Journal

if TYPE_CHECKING:
    from pathlib import Path

QUICKSTART = DEMO.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}


def write_config(directory: Path, *, questions: int = 40, steps: int = 3, extra: str = "") -> Path:
    """Write a small config with its own excerpt of the quickstart's data."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, count in (("suite.jsonl", questions), ("train.jsonl", 64)):
        lines = (QUICKSTART / name).read_text(encoding="utf-8").splitlines()
        step = max(1, len(lines) // count)
        (directory / name).write_text("\n".join(lines[::step][:count]) + "\n", encoding="utf-8")
    path = directory / "so8t.yaml"
    path.write_text(
        f"""\
name: tiny
a:
  source: {{hf: {json.dumps(str(QUICKSTART / "base"))}}}
b:
  finetune: {{data: [train.jsonl], steps: {steps}, batch_size: 4, warmup_steps: 1, threads: 1}}
engine: {{slots: 1, threads: 1, context: 256}}
generation: {{max_tokens: 12}}
benchmark: {{suites: [suite.jsonl], noise_floor: 4}}
verdict: {{stop: full}}
{extra}""",
        encoding="utf-8",
    )
    return path


def command(config: Path, *arguments: str) -> list[str]:
    output = str(config.parent / "runs")
    return [sys.executable, "-m", "so8t", "run", str(config), "--output", output, *arguments]


def run(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(config, *arguments),
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
        timeout=600,
    )


def run_directory(config: Path) -> Path:
    return config.parent / "runs" / "tiny"


def kill_in(config: Path, phase: Phase, delay: float) -> Phase | None:
    """Start the run and SIGKILL it `delay` seconds after it is seen in `phase` or later.

    Returns the phase that the kill hit, as the journal says; None when the run was finished.
    """
    directory = run_directory(config)
    with subprocess.Popen(
        command(config),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
        start_new_session=True,
    ) as process:
        while process.poll() is None:
            state = phase_now(directory, process.pid)
            if state is not None and state.number >= phase.number:
                break
            time.sleep(0.02)
        time.sleep(delay)
        children = _children(process.pid)
        if process.poll() is not None:
            return None
        process.send_signal(signal.SIGKILL)
        process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, f"children outlived the killed run: {alive}"
    return phase_now(directory, process.pid)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def phase_now(directory: Path, pid: int | None = None) -> Phase | None:
    """The phase that the newest session (that of process `pid`) works on, as the journal says."""
    if not (directory / FILE_NAME).exists():
        return None
    try:
        journal = Journal(directory, readonly=True)
    except PrerequisiteError:
        return None  # only just begun
    with journal:
        sessions = journal.events("session_started")
        if not sessions or pid not in (None, sessions[-1].data["pid"]):
            return None
        steps = [step for step in journal.phases() if step.at >= sessions[-1].at]
        done = [step.phase for step in journal.phases() if step.state == "done"]
        started = [step.phase for step in steps if step.state == "started"]
        if started:
            return started[-1]
        return done[-1] if done and len(done) == len(Phase) else None


def outcome(directory: Path) -> dict:
    """Everything that must not depend on interruptions."""
    with Journal(directory, readonly=True) as journal:
        journal.verify()
        answers = {
            (a.arm.value, a.position, a.repeat): (
                a.reply.text,
                a.reply.status.value,
                a.score.value if a.score else None,
                a.settings,
                a.attempts,
            )
            for a in journal.answers(repeat=None)
        }
        prepared = {
            phase.value: journal.phase(phase).result.get("digest")
            for phase in (Phase.PREPARE_A, Phase.PREPARE_B)
        }
        return {
            "samples": [s.id for s in journal.samples()],
            "answers": answers,
            "models": prepared,
            "verdict": {
                key: journal.phase(Phase.BENCHMARK).result[key] for key in ("outcome", "ending")
            },
        }
