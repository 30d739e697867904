"""A child process answers, dies with its parent, and is never waited for without a limit."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from processes import gone
from so8t.errors import EngineCrashed
from so8t.system.child import Child, ChildTimeoutError

HERE = {"PYTHONPATH": str(Path(__file__).parent)}
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="real-time signals, PR_SET_PDEATHSIG")


@pytest.fixture
def child():
    with Child("child_under_test", environment=HERE) as child:
        yield child


def test_messages_come_back_as_they_went(child):
    """Any text survives both directions, also line ends and what UTF-8 cannot hold."""
    for text in ("", "日本語", "two\nlines\r\u2028", "\ud800 alone", "\0", "x" * 300_000):
        message = {"op": "echo", "text": text, "list": [1, None, 2.5]}
        child.send(message)
        assert child.receive(timeout=20) == message


def test_noise_on_standard_output_tears_nothing(child):
    """What native code prints is kept for the crash report and is no message."""
    child.send({"op": "print"})
    assert child.receive(timeout=20) == {"op": "printed"}
    child.close()
    assert {"native noise", "and on stderr", "python noise"} <= set(child.tail())


def test_a_library_that_looks_at_standard_input_finds_nothing(child):
    """Descriptor 0 is at its end and no pipe: nobody there waits for the next message."""
    child.send({"op": "look at input"})
    found = child.receive(timeout=20)
    assert found["read"] == ""
    assert found["kind"] != stat.S_IFIFO
    child.send({"op": "echo"})
    assert child.receive(timeout=20) == {"op": "echo"}


def test_the_current_directory_is_not_imported_from(tmp_path, monkeypatch):
    """A file in the current directory named like a module of ours or Python's changes nothing."""
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    monkeypatch.chdir(tmp_path)
    with Child("child_under_test", environment=HERE) as other:
        other.send({"op": "where"})
        path = other.receive(timeout=20)["path"]
    assert "" not in path
    assert str(tmp_path) not in path


def test_an_exit_is_reported_with_code_and_last_words(child):
    """The end of a child is an EngineCrashed with exit code and last lines, each time."""
    child.send({"op": "exit", "code": 7})
    for _ in range(2):
        with pytest.raises(EngineCrashed, match="exit code 7") as caught:
            child.receive(timeout=20)
        assert "last words" in caught.value.message
        assert caught.value.retryable
    with pytest.raises(EngineCrashed, match="exit code 7"):
        child.send({"op": "echo"})


def test_an_error_in_a_thread_ends_the_child(child):
    """What nobody foresaw in a thread of the child is a crash with its traceback, not silence."""
    child.send({"op": "fail in a thread"})
    with pytest.raises(EngineCrashed, match=r"(?s)exit code 70.*ZeroDivisionError"):
        child.receive(timeout=20)


@POSIX
def test_messages_before_a_crash_are_received_first(child):
    """What was said before the end is received before the end is raised."""
    for number in range(50):
        child.send({"op": "echo", "n": number})
    child.send({"op": "signal", "number": int(signal.SIGKILL)})
    received = [child.receive(timeout=20)["n"] for _ in range(50)]
    assert received == list(range(50))
    with pytest.raises(EngineCrashed, match="SIGKILL"):
        child.receive(timeout=20)


@LINUX
def test_a_signal_without_a_name_is_reported(child):
    """A real-time signal is reported by its number."""
    number = signal.SIGRTMIN + 3
    child.send({"op": "signal", "number": int(number)})
    with pytest.raises(EngineCrashed, match=f"signal {int(number)}"):
        child.receive(timeout=20)


def test_silence_has_a_deadline(child):
    """receive() raises ChildTimeoutError after its timeout, and the child lives on."""
    with pytest.raises(ChildTimeoutError, match="said nothing"):
        child.receive(timeout=0.1)
    child.send({"op": "echo"})
    assert child.receive(timeout=20) == {"op": "echo"}


@POSIX
def test_a_stopped_child_blocks_nobody(child):
    """Sending more than a pipe holds to a stopped child returns at once, and close() ends it."""
    child.send({"op": "echo"})
    child.receive(timeout=20)
    os.kill(child.pid, signal.SIGSTOP)
    started = time.monotonic()
    for _ in range(8):
        child.send({"op": "echo", "text": "x" * 200_000})
    assert time.monotonic() - started < 1
    with pytest.raises(ChildTimeoutError):
        child.receive(timeout=0.1)
    child.close(grace=0.3)
    assert time.monotonic() - started < 5
    assert gone(child.pid)


@POSIX
def test_close_ends_a_child_that_ignores_everything(child):
    """close() goes from the end of input over SIGTERM to SIGKILL."""
    child.send({"op": "ignore terminate"})
    child.receive(timeout=20)
    child.send({"op": "sleep", "seconds": 60})
    child.close(grace=0.3)
    assert gone(child.pid)


def test_close_twice_and_after_kill(child):
    """close() may be called again, also after kill(), and leaves no pipe open."""
    child.kill()
    child.close()
    child.close()
    assert gone(child.pid)
    assert child._process.stdout.closed
    assert child._process.stderr.closed


@POSIX
def test_below_normal_priority():
    """A child that is asked to be nice is."""
    with Child("child_under_test", environment=HERE, below_normal=True) as child:
        child.send({"op": "where"})
        assert child.receive(timeout=20)["nice"] >= 5


@POSIX
def test_a_child_is_never_raised_above_a_nicer_parent():
    """A parent started with nice 12 starts its child too, without any right to raise priorities."""
    program = (
        "import os; os.nice(12 - os.nice(0)); from so8t.system.child import Child;"
        f"child = Child('child_under_test', environment={HERE!r}, below_normal=True);"
        "child.send({'op': 'where'}); print(child.receive(20)['nice']); child.close()"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(said.stdout) >= 12


def _orphan(message):
    """Start a parent with a child that got `message`, SIGKILL it, return the child's pid."""
    program = (
        "import time; from so8t.system.child import Child;"
        f"child = Child('child_under_test', environment={HERE!r});"
        "child.send({'op': 'echo'}); child.receive(20);"
        f"child.send({message!r}); print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        return int(parent.stdout.readline())
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


def test_an_idle_child_dies_with_its_parent():
    """The end of input ends a child that waits for messages, on every platform."""
    assert gone(_orphan({"op": "echo"}))


@LINUX
def test_a_busy_child_dies_with_its_parent():
    """On Linux also a child that is busy, and reads nothing, ends with its parent."""
    assert gone(_orphan({"op": "sleep", "seconds": 60}))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the end of input ends it")
@pytest.mark.parametrize(("parent", "worked"), [("1", False), (None, True)])
def test_a_child_whose_parent_died_as_it_started_does_no_work(parent, worked):
    """The kernel tells of deaths to come alone; a first message may be waiting all the same."""
    script = (
        "import sys; from so8t.system.child import serve_messages\n"
        "serve_messages(lambda message, reply: reply({'worked': True}))"
    )
    environment = {**os.environ, "SO8T_PARENT_PID": parent or str(os.getpid())}
    said = subprocess.run(
        [sys.executable, "-c", script],
        input=b'{"op": "x"}\n', capture_output=True, check=False, env=environment, timeout=60,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert (b"worked" in said.stdout) is worked


@LINUX
def test_a_child_dies_with_the_thread_that_started_it():
    """On Linux "the parent" is a thread: a child started in one that ends is ended with it."""
    started = []

    def start():
        started.append(Child("child_under_test", environment=HERE))
        # The kernel is asked for this by the child, so it must be up before the thread ends.
        started[0].send({"op": "echo"})
        started[0].receive(timeout=20)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    with started[0] as child, pytest.raises(EngineCrashed, match="SIGKILL"):
        child.receive(timeout=20)
