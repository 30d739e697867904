"""A kill changes nothing: SIGKILL at random moments of every phase, for real."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from tiny_run import (
    ENVIRONMENT,
    command,
    kill_in,
    outcome,
    phase_now,
    run,
    run_directory,
    write_config,
)

from so8t.domain.plan import Phase
from so8t.journal.store import Journal

# Kills in each phase, and the most seconds after its start: about as long as it takes here.
KILLS = {
    Phase.PREPARE_A: (4, 0.05),
    Phase.PREPARE_B: (8, 6.0),
    Phase.REGISTER: (6, 0.3),
    Phase.BENCHMARK: (24, 0.2),
}
QUESTIONS = 120
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is Unix's own")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The outcome of a run that nothing interrupted."""
    config = write_config(tmp_path_factory.mktemp("undisturbed"), questions=QUESTIONS)
    answer = run(config)
    assert answer.returncode == 0, answer.stderr
    return outcome(run_directory(config))


@pytest.mark.slow
def test_at_least_thirty_kills_in_all_phases_change_nothing(tmp_path, undisturbed):
    """The same answers, none lost, none twice, the same models and verdict as without a kill."""
    config = write_config(tmp_path, questions=QUESTIONS)
    seed = random.SystemRandom().randrange(2**32)
    dice = random.Random(seed)
    done: Counter[Phase] = Counter()
    for phase, (kills, longest) in KILLS.items():
        for _ in range(2 * kills):
            # Most kills come early: a phase that gets done cannot be killed again.
            hit = kill_in(config, phase, longest * dice.random() ** 2)
            if hit is None:
                break
            done[hit] += 1
            if hit is not phase or done[phase] >= kills:
                break
    last = run(config)
    assert last.returncode == 0, last.stderr
    assert sum(done.values()) >= 30, f"only {done} with seed {seed}"
    assert set(done) == set(Phase), f"only {done} with seed {seed}"
    found = outcome(run_directory(config))
    assert found == undisturbed, f"seed {seed}"
    with Journal(run_directory(config), readonly=True) as journal:
        assert len(journal.events("interruption")) == sum(done.values())


def test_a_finished_run_is_not_run_again(tmp_path):
    """The same command again skips every phase, asks nothing and shows the same verdict."""
    config = write_config(tmp_path, questions=16, steps=1)
    first = run(config)
    assert first.returncode == 0, first.stderr
    before = outcome(run_directory(config))
    started = time.monotonic()
    again = run(config)
    assert time.monotonic() - started < 20
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("skipped") == 4
    assert outcome(run_directory(config)) == before


def test_sigterm_ends_in_order_and_the_run_goes_on(tmp_path):
    """SIGTERM finishes the answers in flight, exits 143 and says that the same command goes on."""
    config = write_config(tmp_path, questions=40, steps=1)
    with subprocess.Popen(
        command(config), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        while phase_now(run_directory(config)) is not Phase.BENCHMARK:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, messages = process.communicate(timeout=40)
    assert process.returncode == 143, messages
    assert "answers saved" in messages
    with Journal(run_directory(config), readonly=True) as journal:
        assert journal.events("session_ended")[-1].data["how"] == "Interrupted"
    assert run(config).returncode == 0


def test_a_second_copy_says_who_holds_the_run(tmp_path):
    """Two copies at once: the second names the first's process and exits 5, the first goes on."""
    config = write_config(tmp_path, questions=16, steps=1)
    with subprocess.Popen(
        command(config), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as first:
        while phase_now(run_directory(config)) is None:
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.02)
        second = run(config)
        assert second.returncode == 5
        assert str(first.pid) in second.stderr
        _, messages = first.communicate(timeout=300)
    assert first.returncode == 0, messages
