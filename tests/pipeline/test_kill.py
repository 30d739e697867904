"""Ends and starts of a run, in order and out of it. Kills at random: tests/lab."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from tiny_run import ENVIRONMENT, command, run, run_directory, write_config

from so8t.domain.plan import Phase
from so8t.journal.store import Journal
from so8t.pipeline.selftest.killing import outcome, phase_now

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is Unix's own")


def test_a_finished_run_is_not_run_again(tmp_path):
    """The same command again skips every phase, asks nothing and shows the same verdict."""
    config = write_config(tmp_path, questions=16, steps=1)
    first = run(config)
    assert first.returncode == 0, first.stderr
    before = outcome(run_directory(config))
    again = run(config)
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
    config = write_config(tmp_path, questions=40, steps=8)
    with subprocess.Popen(
        command(config), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as first:
        while phase_now(run_directory(config)) is None:
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.02)
        for _ in range(2):
            second = run(config)
            assert second.returncode == 5
            assert str(first.pid) in second.stderr
            (run_directory(config) / "run.lock").unlink()  # even so nobody else gets in
        _, messages = first.communicate(timeout=300)
    assert first.returncode == 0, messages
