"""A server of our own: started where none runs, and gone at the end with all it started."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from ollama_engine import FAST
from wire import closed_port

from processes import alive
from so8t.engines.ollama import ManagedServer, OllamaClient, server_environment
from so8t.errors import EngineError, PrerequisiteError

TESTS = Path(__file__).resolve().parents[2]
# As `ollama serve` does it: a server, and a model process that outlives a killed server.
PROGRAM = """\
    #!{python}
    import json, os, subprocess, sys, time
    sys.path.insert(0, {tests!r})
    from fake_ollama import FakeOllama
    assert sys.argv[1:] == ["serve"]
    runner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    kept = ("OLLAMA_HOST", "OLLAMA_NUM_PARALLEL", "OLLAMA_NO_CLOUD", "LLAMA_ARG_CACHE_RAM")
    with open({seen!r}, "w") as out:
        json.dump({{"runner": runner.pid, "pid": os.getpid(),
                    **{{k: os.environ.get(k) for k in kept}}}}, out)
    FakeOllama(port=int(os.environ["OLLAMA_HOST"].rpartition(":")[2])).start()
    time.sleep(300)
"""


@pytest.fixture
def seen(tmp_path):
    return tmp_path / "seen.json"


@pytest.fixture
def program(tmp_path, seen):
    if sys.platform == "win32":
        pytest.skip("the stand-in for ollama is a script with a shebang")
    path = tmp_path / "ollama"
    path.write_text(
        textwrap.dedent(PROGRAM).format(python=sys.executable, seen=str(seen), tests=str(TESTS))
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def patient():
    """Deadlines as short as the others', but for a start that imports Python."""
    from dataclasses import replace  # noqa: PLC0415 - beside its use

    return replace(FAST, restart=20.0)


def _managed(tmp_path, program, timing, port=None, grace=10.0):
    url = f"http://127.0.0.1:{port or closed_port()}"
    state = tmp_path / "state"
    return ManagedServer(state, url=url, program=program, parallel=3, timing=timing, grace=grace)


def test_it_is_started_with_the_right_environment_and_stopped_with_its_runners(
    tmp_path, program, seen, patient
):
    """The server answers while it is needed; afterwards neither it nor its runner lives."""
    with _managed(tmp_path, program, patient) as server:
        assert server.managed
        with OllamaClient(server.url, timing=FAST) as client:
            assert client.version() == "0.33.0-rc2"
        told = json.loads(seen.read_text())
        assert told["OLLAMA_NUM_PARALLEL"] == "3"
        assert (told["OLLAMA_NO_CLOUD"], told["LLAMA_ARG_CACHE_RAM"]) == ("1", "0")
        assert alive(told["runner"])
    assert not alive(told["pid"])
    assert not alive(told["runner"])


@pytest.mark.slow
def test_runners_of_a_killed_server_end_too(tmp_path, program, seen, patient):
    """A server killed with SIGKILL leaves its runner; the stop finds and ends it."""
    with _managed(tmp_path, program, patient) as server:
        told = json.loads(seen.read_text())
        os.kill(told["pid"], signal.SIGKILL)
        time.sleep(0.1)
        assert alive(told["runner"])
        server.restart()
        again = json.loads(seen.read_text())
        assert again["pid"] != told["pid"]
        assert not alive(told["runner"])
    assert not alive(again["runner"])


@pytest.mark.slow
def test_a_runner_that_does_not_listen_is_killed(tmp_path, program, seen, patient):
    """A model process that ignores the request to end is killed when its time is over."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
    program.write_text(
        program.read_text().replace("import time; time.sleep(300)", deaf.replace('"', "'"))
    )
    with _managed(tmp_path, program, patient, grace=1.0):
        told = json.loads(seen.read_text())
        time.sleep(1.0)  # the runner is a Python that has to get to its first line
    assert not alive(told["runner"])
    assert not alive(told["pid"])


def test_the_next_run_takes_over_what_a_killed_run_left(tmp_path, program, seen, patient):
    """A run that was killed leaves its server; the next one uses it, and ends it."""
    port = closed_port()
    code = (
        "import sys, os, signal\n"
        "from pathlib import Path\n"
        "from so8t.engines.ollama import ManagedServer\n"
        "state, port, program = sys.argv[1:]\n"
        "ManagedServer(Path(state), url='127.0.0.1:' + port, program=Path(program)).ensure()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "state"), str(port), str(program)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    told = json.loads(seen.read_text())
    assert alive(told["pid"])
    with _managed(tmp_path, program, patient, port) as server:
        assert server.managed
    assert not alive(told["pid"])
    assert not alive(told["runner"])


def test_a_server_that_runs_already_is_left_alone(tmp_path, fake):
    """A person's own server is used and never stopped."""
    with ManagedServer(tmp_path, url=fake.url, program=tmp_path / "none", timing=FAST) as server:
        assert not server.managed
    with OllamaClient(fake.url, timing=FAST) as client:
        assert client.reachable()


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path, patient):
    """A start that fails is an EngineError with the tail of the log, not a wait."""
    if sys.platform == "win32":
        pytest.skip("the stand-in for ollama is a script with a shebang")
    program = tmp_path / "ollama"
    program.write_text(f"#!{sys.executable}\nprint('no room', flush=True)\nraise SystemExit(1)\n")
    program.chmod(0o755)
    with pytest.raises(EngineError, match="no room"):
        _managed(tmp_path, program, patient).ensure()


def test_not_installed_is_a_prerequisite(tmp_path, monkeypatch):
    """Without the program there is a hint where to get it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    server = _managed(tmp_path, None, FAST)
    with pytest.raises(PrerequisiteError, match="neither running nor installed"):
        server.ensure()


def test_another_machines_server_is_not_started(tmp_path):
    """A server elsewhere cannot be started from here."""
    server = _managed(tmp_path, tmp_path / "ollama", FAST)
    server.url = "http://gpu-box:11434"  # after the client was made, so nothing leaves this machine
    with pytest.raises(PrerequisiteError, match="another machine"):
        server.ensure()


def test_the_environment_of_a_benchmark():
    """Address, parallelism, two loaded models, no cloud and no prompt cache are all set."""
    assert server_environment("http://127.0.0.1:9", parallel=2) == {
        "OLLAMA_HOST": "127.0.0.1:9",
        "OLLAMA_NUM_PARALLEL": "2",
        "OLLAMA_MAX_LOADED_MODELS": "2",
        "OLLAMA_NO_CLOUD": "1",
        "LLAMA_ARG_CACHE_RAM": "0",
    }
