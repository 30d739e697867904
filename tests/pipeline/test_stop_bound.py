"""A stop that is asked for ends within its grace, whatever is in flight, and loses nothing."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace

import pytest
from scripted_run import Listener, config, prepared_journal, registration, samples

from so8t.domain.exchange import Arm, LoadProfile, Status
from so8t.engines.embedded import EmbeddedEngine
from so8t.errors import Interrupted
from so8t.pipeline.benchmark.phase4 import Phase4BenchmarkRunner
from so8t.pipeline.run.progress import StopRequest
from tiny_gguf import write_tiny_gguf

QUESTIONS = 6


def endless_runner(tmp_path, journal, stop, listener, asked):
    """Phase 4 over llama.cpp with a model that never ends an answer by itself."""
    path = write_tiny_gguf(tmp_path / "endless.gguf", end_weight=0.0)
    found = registration()
    arms = {
        name: replace(arm, model=replace(arm.model, location=str(path)))
        for name, arm in found.arms.items()
    }
    profile = LoadProfile(slots=2, context=4096, threads=1)
    return Phase4BenchmarkRunner(
        asked, journal, EmbeddedEngine(), replace(found, arms=arms, profile=profile),
        reporter=listener, stop=stop, back_off=(0.0,),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="raises a signal as Unix does")
def test_after_the_grace_the_engine_is_ended_and_its_answers_are_asked_again(tmp_path):
    """SIGTERM while the engine hangs: out in seconds, none failed, none lost."""
    long = config(generation={"max_tokens": 4000}, benchmark={"noise_floor": 0})
    stop, listener = StopRequest(grace=0.3), Listener()
    with prepared_journal(tmp_path, long, samples(QUESTIONS)) as journal:
        runner = endless_runner(tmp_path, journal, stop, listener, long)
        read = runner._asker._sample

        def hang_at(position):
            if position == 3:
                # Two answers are in flight or done; from now on the engine does nothing at all.
                os.kill(runner._loaded.session(Arm.A).pid, signal.SIGSTOP)
                signal.raise_signal(signal.SIGTERM)
            return read(position)

        runner._asker._sample = hang_at
        began = time.monotonic()
        with stop.on_signals(), pytest.raises(Interrupted, match="SIGTERM"):
            runner.run()
        assert time.monotonic() - began < 60
        counts = journal.answer_counts()
        assert all(status is not Status.FAILED for _, status in counts)
        assert sum(counts.values()) < 2 * QUESTIONS
        assert journal.open_positions(Arm.B, 0, QUESTIONS)
        short = config(generation={"max_tokens": 4}, benchmark={"noise_floor": 0})
        again = endless_runner(tmp_path, journal, StopRequest(), Listener(), short)
        again.run()
        assert not journal.open_positions(Arm.A, 0, QUESTIONS, failed=True)
        assert journal.verify()
    assert [kind for kind, _ in listener.notes] == ["stop_overdue"]


def test_a_stop_without_anything_in_flight_needs_no_grace():
    """Nobody is told to give up when the work has ended before."""
    told = []
    stop = StopRequest(grace=0.0)
    with stop.on_signals():
        with stop.when_overdue(lambda: told.append(True)):
            pass
        stop.ask(signal.SIGTERM)
        time.sleep(0.6)
        assert stop.overdue
    assert told == []
