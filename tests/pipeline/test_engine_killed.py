"""A real run with the balancer on, beside which somebody kills the engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from tiny_run import ENVIRONMENT, command, run_directory, write_config

from so8t.domain.plan import Phase
from so8t.journal.store import Journal
from so8t.pipeline.selftest.killing import phase_now

WORKER = "so8t.engines.embedded_worker"
QUESTIONS, KILLS = 120, 2
NICE = 5


def engines(pid: int) -> list[psutil.Process]:
    """Children of a run that serve a model now."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            if WORKER in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def answers(directory) -> int:
    with Journal(directory, readonly=True) as journal:
        return sum(journal.answer_counts().values())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="SIGKILL, and priorities as Linux tells them")
def test_killed_engines_lose_nothing_and_run_at_low_priority(tmp_path):
    """SIGKILL hits the engine twice amid answers: the run ends well, with each answer once.

    The engine's process has the lower priorities of the CPU and of the disk that the run took.
    """
    config = write_config(tmp_path, questions=QUESTIONS)
    directory = run_directory(config)
    killed: list[int] = []
    known = 0
    with subprocess.Popen(
        command(config), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT,
    ) as process:  # fmt: skip
        until = time.monotonic() + 300
        while len(killed) < KILLS:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.02)
            if phase_now(directory) is not Phase.BENCHMARK or answers(directory) < known + 10:
                continue
            for engine in engines(process.pid):
                assert engine.nice() >= NICE
                assert engine.ionice() == (psutil.IOPRIO_CLASS_BE, 7)
                os.kill(engine.pid, signal.SIGKILL)
                killed.append(engine.pid)
            known = answers(directory)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    with Journal(directory, readonly=True) as journal:
        crashes = journal.events("engine_crashed")
        kept = list(journal.answers())
        lowered = journal.events("priority_lowered")
        summary = journal.events("resources_summary")
        assert journal.verify()
        assert journal.sample_count() == QUESTIONS
    assert crashes
    assert all("SIGKILL" in event.data["message"] for event in crashes)
    places = [(answer.arm, answer.position) for answer in kept]
    assert len(places) == len(set(places)) == 2 * QUESTIONS
    assert "ionice best-effort 7" in lowered[0].data["how"]
    assert summary[-1].data
