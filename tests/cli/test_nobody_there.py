"""A terminal that is closed, a reader that has left: the run stops in order, or goes on unheard."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from commands import write_suite

from so8t.journal.store import Journal
from tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="terminals and hang-ups are Unix's")

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}
HUNG_UP = 128 + signal.SIGHUP


@pytest.fixture(autouse=True)
def heard():
    """A closed terminal is heard here, even where these tests are started with `nohup`."""
    if sys.platform == "win32":
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def write_config(directory, questions):
    """Two tiny models, `questions` questions."""
    for seed, name in enumerate(("a.gguf", "b.gguf"), start=1):
        write_tiny_gguf(directory / name, seed=seed)
    write_suite(directory, questions)
    path = directory / "so8t.yaml"
    path.write_text(
        "name: r\na: {source: {gguf: a.gguf}}\nb: {source: {gguf: b.gguf}}\n"
        "engine: {slots: 1, threads: 1, context: 256}\ngeneration: {max_tokens: 8}\n"
        "benchmark: {suites: [suite.jsonl], noise_floor: 4}\nverdict: {stop: full}\n"
    )
    return path


def command(*arguments):
    return [sys.executable, "-m", "so8t", *map(str, arguments)]


def answers(directory):
    """How many answers are committed; 0 while there is no journal yet."""
    if not (directory / "journal.sqlite").exists():
        return 0
    try:
        with Journal(directory, readonly=True) as journal:
            return sum(journal.answer_counts().values())
    except Exception:  # noqa: BLE001 - it is only just being made
        return 0


def until(true, process, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_closed_terminal_stops_a_run_in_order_and_it_goes_on(tmp_path):
    """The terminal goes in phase 4: exit 129, the session says how it ended; then all answers."""
    config, run = write_config(tmp_path, 200), tmp_path / "runs" / "r"
    ours, theirs = os.openpty()

    def take_terminal():
        import fcntl  # noqa: PLC0415 - in the child, on Unix
        import termios  # noqa: PLC0415

        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        command("run", config, "--output", tmp_path / "runs"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=ENVIRONMENT,
        preexec_fn=take_terminal,  # noqa: PLW1509 - no threads are started before it
    )
    os.close(theirs)
    os.set_blocking(ours, False)

    def some_answers():
        with suppress(BlockingIOError):
            os.read(ours, 65536)
        return answers(run) > 5

    until(some_answers, process)
    os.close(ours)
    assert process.wait(60) == HUNG_UP
    with Journal(run, readonly=True) as journal:
        assert journal.events("session_ended")[-1].data["how"] == "Interrupted"
        done = sum(journal.answer_counts().values())
        assert 5 < done < 400
    again = subprocess.run(
        command("run", config, "--output", tmp_path / "runs"),
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    with Journal(run, readonly=True) as journal:
        assert sum(journal.answer_counts().values()) == 400
        assert not journal.events("interruption")


@pytest.mark.slow
def test_what_nohup_ignores_stays_ignored(tmp_path):
    """With SIGHUP ignored at the start, a hang-up changes nothing."""
    config, run = write_config(tmp_path, 60), tmp_path / "runs" / "r"
    process = subprocess.Popen(
        command("run", config, "--output", tmp_path / "runs"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # noqa: PLW1509
    )  # fmt: skip
    until(lambda: answers(run) > 2, process)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 0
    assert answers(run) == 120


@pytest.mark.slow
def test_a_run_whose_messages_nobody_reads_goes_on_to_its_end(tmp_path):
    """Both streams are pipes whose reader leaves at once: the verdict is there all the same."""
    config, run = write_config(tmp_path, 8), tmp_path / "runs" / "r"
    process = subprocess.Popen(
        command("run", config, "--output", tmp_path / "runs"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip
    process.stdout.close()
    process.stderr.close()
    assert process.wait(60) == 0
    assert answers(run) == 16
    assert (run / "report.html").exists()
    status = subprocess.Popen(
        command("status", run), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    status.stdout.close()
    assert status.wait(30) == 0
    assert status.stderr.read() == b""
    status.stderr.close()


def test_a_live_view_ends_with_its_reader():
    """`so8t monitor | head -1` ends by itself, without a word, as a program that SIGPIPE ended."""
    process = subprocess.Popen(
        command("monitor", "--interval", "0.1"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 128 + signal.SIGPIPE
    assert process.stderr.read() == b""
    process.stderr.close()


ASKED = """
import os, signal, sys, time
from so8t.pipeline.run.progress import StopRequest
with StopRequest().on_signals() as stop:
    for name in sys.argv[1:]:
        os.kill(os.getpid(), getattr(signal, name))
        time.sleep(0.05)
    print("in order", stop.asked)
"""


@pytest.mark.parametrize(
    ("signals", "in_order"),
    [
        ("SIGHUP", True),
        ("SIGHUP SIGHUP", True),
        ("SIGHUP SIGTERM", True),
        ("SIGTERM SIGHUP", True),
        ("SIGHUP SIGTERM SIGHUP", True),
        ("SIGHUP SIGINT SIGINT", False),
        ("SIGTERM SIGTERM", False),
        ("SIGINT SIGINT", False),
    ],
)
def test_what_a_closing_terminal_sends_twice_is_one_request(signals, in_order):
    """Only a person who asks a second time ends at once; SIGHUP comes in company by itself."""
    found = subprocess.run(
        [sys.executable, "-c", ASKED, *signals.split()], capture_output=True, text=True, check=False
    )
    assert (found.stdout == "in order True\n") is in_order, found.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_every_command_ends_in_order(tmp_path, name):
    """Before a run listens, and in commands that never do: no traceback, the documented code."""
    process = subprocess.Popen(
        command("monitor", "--interval", "0.2", "--history", tmp_path / "h.jsonl"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout.readline()
    process.send_signal(getattr(signal, name))
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0  # a watch that is ended has done what it should
    assert b"memory" in out
    assert errors == b""
    assert (tmp_path / "h.jsonl").read_text().count("\n") >= 1


@pytest.mark.slow
def test_closed_streams_are_as_good_as_open_ones(tmp_path):
    """Started without standard input, output and error, commands do all that they do with them."""
    config = write_config(tmp_path, 6)

    def closed(*arguments):
        shell = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command(*arguments)]
        return subprocess.run(shell, cwd=tmp_path, env=ENVIRONMENT, check=False).returncode

    assert closed("notify", "--pending") == 0
    code = closed("run", config, "--output", tmp_path / "runs")
    (written,) = (tmp_path / "runs").glob("*/report.html")
    assert written.stat().st_size
    assert code == closed("report", written.parent) == 0
    assert closed("verify", written.parent) == 0
