"""At boot: what is unfinished goes on, one after the other; what cannot is left alone and said."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from excerpts import excerpt
from so8t.autostart.resume import AutoStartCompleteABPipeline
from so8t.autostart.waiting import WaitingLimits, clock_is_sane, removed, wait_for
from so8t.cli import invoke as cli
from so8t.config.load import load_config
from so8t.domain.plan import Phase
from so8t.errors import Interrupted
from so8t.examples import DEMO
from so8t.journal.lease import Lease
from so8t.journal.store import Journal, system_now
from so8t.notify.pending import Pending
from so8t.pipeline.run.progress import Silent, StopRequest
from so8t.pipeline.run.registry import Registry
from so8t.pipeline.run.rundir import identity, run_directory
from so8t.pipeline.run.sessions import crashes_in_a_row
from so8t.report.text import Text
from so8t.system.state import boot_id

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.config.schema import RunConfig

LIMITS = WaitingLimits(disk=0.2, engine=0.2, clock=0.2, look=0.05)


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A state directory of the test's own."""
    monkeypatch.setenv("SO8T_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", "/nonexistent")  # no player: sounds wait for a person
    return tmp_path / "state"


class Boot:
    """The boot service with what it said."""

    def __init__(self, state: Path, which="all", stop=None, now=system_now) -> None:
        self.registry = Registry(state)
        self.said: list[str] = []
        text = Text("en")
        self.service = AutoStartCompleteABPipeline(
            self.registry,
            starter=None,
            text=text,
            listen=lambda: nullcontext(Silent()),
            say=lambda key, **values: self.said.append(text(key, **values)),
            which=which,
            limits=LIMITS,
            stop=stop,
            now=now,
        )

    def __call__(self) -> int:
        return self.service.check_and_resume()


def config(directory: Path, name: str = "one", **changes) -> RunConfig:
    """A real run without training: the quickstart's base against itself, a few questions."""
    directory.mkdir(parents=True, exist_ok=True)
    excerpt(directory, "suite.jsonl", 12)
    source = {"source": {"hf": str(DEMO.parent / "base")}}
    asked = {
        "name": name,
        "a": source,
        "b": source,
        "engine": {"slots": 1, "threads": 1, "context": 128},
        "generation": {"max_tokens": 4},
        "benchmark": {"suites": ["suite.jsonl"], "noise_floor": 0},
        "verdict": {"stop": "full"},
    }
    path = directory / f"{name}.yaml"
    path.write_text(json.dumps(asked | changes))
    return load_config(path, {"output": str(directory / "runs")})


def unfinished(asked: RunConfig, state: Path, sessions: int = 0) -> Path:
    """Register a run whose journal holds `sessions` sessions that never ended in order."""
    directory = run_directory(asked)
    with Journal(directory) as journal:
        journal.create_run(asked.name, identity(asked), "0")
        for number in range(sessions):
            journal.event("session_started", pid=1, host="x", version="0", boot=f"boot {number}")
    Registry(state).start(asked, directory, "all", system_now())
    return directory


def states(directory: Path) -> list[str]:
    with Journal(directory, readonly=True) as journal:
        return [step.state for step in journal.phases()]


@pytest.mark.slow
def test_a_killed_run_goes_on_by_itself_with_the_config_that_it_had(tmp_path, state):
    """A run that SIGKILL ended is found in the register and brought to its end and report."""
    asked = config(tmp_path)
    directory = run_directory(asked)
    command = [sys.executable, "-m", "so8t", "run", str(tmp_path / "one.yaml"), "--output"]
    with subprocess.Popen(
        [*command, str(tmp_path / "runs")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not (state / "runs").exists() or not list((state / "runs").glob("*.json")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    time.sleep(0.2)
    (tmp_path / "one.yaml").unlink()  # the config file is not needed any more
    boot = Boot(state)
    assert [entry.name for entry in boot.registry.entries()] == ["one"]
    assert boot() == 0
    assert (directory / "report.html").exists()
    with Journal(directory, readonly=True) as journal:
        assert sum(journal.answer_counts().values()) == 24
        assert journal.phases()[-1].state == "done"
        gone = journal.events("interruption")[0]
        assert gone.data["away_seconds"] > 0.1  # the check of the journal is no sign of life
    assert boot.registry.entries() == []
    again = Boot(state)
    assert again() == 0
    assert again.said == ["no unfinished runs"]


@pytest.mark.slow
def test_all_in_the_order_of_their_start_or_the_newest_alone(tmp_path, state):
    """`all` does the first one first; `newest` leaves the others to another time."""
    for name in ("first", "second"):
        unfinished(config(tmp_path, name), state)
    newest = Boot(state, which="newest").service.candidates()
    assert [entry.name for entry in newest] == ["second"]
    boot = Boot(state)
    assert boot() == 0
    assert [line.split()[0] for line in boot.said if "is done" in line] == ["first", "second"]


def test_a_run_that_is_at_work_is_left_alone(tmp_path, state):
    """Never two at once: the lease decides, the holder goes on, nothing is recorded against it."""
    directory = unfinished(config(tmp_path), state)
    with Lease(directory, now=system_now()):
        boot = Boot(state)
        assert boot() == 0
    assert "another process" in boot.said[0]
    assert states(directory) == []
    assert boot.registry.entries()[0].state == "open"


@pytest.mark.slow
def test_three_crashes_in_a_row_at_the_same_step_are_enough(tmp_path, state):
    """The run is not started a fourth time; journal, register and person are told; a person may."""
    directory = unfinished(config(tmp_path), state, sessions=3)
    boot = Boot(state)
    assert boot() == 0
    assert states(directory) == []
    entry = boot.registry.entries()[0]
    assert (entry.state, "3 times in a row" in entry.reason) == ("given_up", True)
    assert any(f"so8t run {directory}" in line for line in boot.said)
    with Journal(directory, readonly=True) as journal:
        event = journal.events("gave_up")[0]
        assert (event.data["count"], event.data["reboots"]) == (3, 2)
    assert [told.facts["error"] for _, told in Pending(state).take()] == ["gave_up"]
    assert Boot(state)() == 0  # and it is not said again at every boot
    assert len(Pending(state).take()) == 1
    boot.registry.start(entry.run_config(), directory, "all", system_now())  # a person's start
    assert Boot(state)() == 0
    assert states(directory)[-1] == "done"


def test_two_crashes_are_not_enough_and_progress_starts_the_count_again(tmp_path, state):
    """A session that finished a phase was not stuck at the step of the one before."""
    directory = unfinished(config(tmp_path), state, sessions=2)
    with Journal(directory) as journal:
        assert crashes_in_a_row(journal).count == 2
        journal.phase_step(Phase.PREPARE_A, 1, "done", "x", {})
        assert crashes_in_a_row(journal).count == 1
        journal.event("session_started", pid=1, host="x", version="0", boot="b")
        assert crashes_in_a_row(journal).count == 2
        journal.event("session_ended", how="Interrupted")
        assert crashes_in_a_row(journal).count == 0


@pytest.mark.slow
def test_what_a_restart_cannot_help_waits_for_the_next_boot(tmp_path, state):
    """A model that is gone blocks its run for this boot, not the runs after it."""
    asked = config(tmp_path, "gone")
    lost = asked.model_copy(
        update={"a": asked.a.model_copy(update={"source": asked.a.source.model_copy(
            update={"hf": str(tmp_path / "no-such-model")})})}
    )  # fmt: skip
    unfinished(lost, state)
    other = unfinished(config(tmp_path, "whole"), state)
    boot = Boot(state)
    assert boot() == 3
    assert states(other)[-1] == "done"
    entry = Registry(state).entries()
    if entry:  # refused before any work: it is not a run yet
        assert (entry[0].state, entry[0].boot) == ("blocked", boot_id())


@pytest.mark.slow
def test_a_config_of_another_version_blocks_its_run_alone(tmp_path, state):
    """After an upgrade with other keys the run waits for a person, the next one goes on."""
    directory = unfinished(config(tmp_path, "old"), state)
    registry = Registry(state)
    entry = registry.find(directory)
    registry.enter(entry.model_copy(update={"config": entry.config | {"gone": 1}}))
    other = unfinished(config(tmp_path, "whole"), state)
    boot = Boot(state)
    assert boot() == 2
    assert any("another version" in line and "gone" in line for line in boot.said)
    assert states(other)[-1] == "done"
    assert (registry.find(directory).state, states(directory)) == ("blocked", [])


def test_a_blocked_run_is_tried_again_after_the_next_boot(tmp_path, state):
    """Blocked in this boot: no candidate. Blocked in another: a candidate."""
    directory = unfinished(config(tmp_path), state)
    registry = Registry(state)
    registry.mark(registry.find(directory), "blocked", "no disk", boot_id())
    assert Boot(state).service.candidates() == []
    registry.mark(registry.find(directory), "blocked", "no disk", "an earlier boot")
    assert len(Boot(state).service.candidates()) == 1


def test_a_disk_that_is_not_there_is_waited_for_and_not_forgotten(tmp_path, state):
    """Exit code 4, the entry stays; a run that was deleted beside others is forgotten."""
    directory = unfinished(config(tmp_path), state)
    (tmp_path / "runs").rename(tmp_path / "unplugged")
    boot = Boot(state)
    assert boot() == 4
    assert len(boot.registry.entries()) == 1
    (tmp_path / "unplugged").rename(tmp_path / "runs")
    (tmp_path / "runs" / "another").mkdir()
    directory.rename(tmp_path / "deleted")
    assert removed(directory)
    assert Boot(state)() == 0
    assert Registry(state).entries() == []


def test_a_disk_that_comes_late_is_enough(tmp_path):
    """What is waited for may come while one waits."""
    late = tmp_path / "late"
    timer = threading.Timer(0.2, late.mkdir)
    timer.start()
    assert wait_for(late.exists, 20, StopRequest(), 0.05)
    timer.join()


@pytest.mark.slow
def test_a_clock_before_the_journal_is_waited_for_then_recorded(tmp_path, state):
    """The run goes on all the same, and its journal says that the clock stood behind."""
    directory = unfinished(config(tmp_path), state, sessions=1)
    boot = Boot(state, now=lambda: system_now() - timedelta(days=30))
    assert boot() == 0
    assert any("clock" in line for line in boot.said)
    with Journal(directory, readonly=True) as journal:
        assert len(journal.events("clock_behind")) == 1
    assert clock_is_sane(system_now(), system_now() + timedelta(seconds=30))
    assert not clock_is_sane(system_now(), system_now() + timedelta(hours=1))


def test_an_engine_that_does_not_answer_is_waited_for(tmp_path, state, monkeypatch):
    """Without Ollama the run stays as it is, and another start may find it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = config(tmp_path, engine={"kind": "ollama", "url": "http://127.0.0.1:9", "slots": 1})
    directory = unfinished(asked, state)
    boot = Boot(state)
    assert boot() == 4
    assert any("no server answers at http://127.0.0.1:9" in line for line in boot.said)
    assert states(directory) == []


def test_a_stop_ends_the_waiting_at_once(tmp_path, state):
    """SIGTERM while the disk is waited for is an orderly end."""
    unfinished(config(tmp_path), state)
    stop = StopRequest()
    stop.ask(signal.SIGTERM)
    with pytest.raises(Interrupted):
        Boot(state, stop=stop)()


@pytest.mark.slow
def test_a_runs_directory_is_enough_to_go_on(tmp_path, state, capsys):
    """`so8t run DIRECTORY` needs no config file, whether the run is registered or not."""
    directory = unfinished(config(tmp_path), state)
    (tmp_path / "one.yaml").unlink()
    assert cli(["run", str(directory)]) == 0
    assert Registry(state).entries() == []
    assert cli(["run", str(directory)]) == 0  # out of the register: from the journal
    assert cli(["run", str(directory), "--set", "seed=2"]) == 2
    directory.rename(tmp_path / "runs" / "other")
    assert cli(["run", str(tmp_path / "runs" / "other")]) == 3
    assert "rename it to one" in capsys.readouterr().err


def test_the_register_is_private_and_survives_what_it_cannot_read(tmp_path, state):
    """Only the owner reads it; a file that is damaged hides no other."""
    unfinished(config(tmp_path), state)
    registry = Registry(state)
    (state / "runs" / "damaged.json").write_text("{")
    assert [path.name for path in registry.damaged()] == ["damaged.json"]
    entry = registry.entries()[0]
    assert entry.run_config() == config(tmp_path)
    if sys.platform != "win32":
        assert {
            path.stat().st_mode & 0o077 for path in (state / "runs").glob("?" * 24 + ".json")
        } == {0}
    assert registry.leave(entry.directory)
    assert not registry.leave(entry.directory)
