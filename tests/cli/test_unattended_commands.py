"""watch, notify and autostart on the command line: what a person and a program read there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import so8t

from so8t.config.schema import RunConfig
from so8t.domain.plan import Phase
from so8t.journal.lease import Lease
from so8t.journal.store import Journal, system_now
from so8t.notify.channels import Notification
from so8t.notify.pending import Pending
from so8t.pipeline.run.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "name": "night",
    "a": {"source": {"gguf": "a.gguf"}},
    "b": {"source": {"gguf": "b.gguf"}},
    "benchmark": {"suites": ["s.jsonl"]},
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A current directory, a state directory and a language of the test's own; no player."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SO8T_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def begun(here):
    """A run that stopped in phase 2."""
    directory = here / "runs" / "night"
    with Journal(directory) as journal:
        journal.create_run("night", RunConfig.model_validate(CONFIG).model_dump(mode="json"), "0")
        journal.event("session_started", pid=1, host="x", version="0", boot="b")
        journal.phase_step(Phase.PREPARE_A, 1, "started", "in", {})
        journal.phase_step(Phase.PREPARE_A, 1, "done", "in", {"phase_seconds": 61.0})
        journal.phase_step(Phase.PREPARE_B, 1, "started", "in", {})
    return directory


def test_watch_prints_plain_lines_and_ends_when_nothing_is_at_work(capsys, begun):
    """Without a terminal: lines without control characters, and an end for a run that stopped."""
    code, out, _ = so8t(capsys, "watch", str(begun))
    assert code == 0
    assert "phase 1: prepare A (done), 1 min 1 s" in out
    assert "phase 2: prepare B (interrupted)" in out
    assert "\x1b" not in out


def test_watch_goes_on_while_a_process_holds_the_run(begun):
    """It prints what changed, and ends once the holder is gone."""
    command = [sys.executable, "-m", "so8t", "watch", str(begun), "--every", "0.2", "--json"]
    with Lease(begun, now=system_now()), Journal(begun) as journal:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert json.loads(process.stdout.readline())["state"] == "running"
        journal.phase_step(Phase.PREPARE_B, 1, "done", "in", {"phase_seconds": 2.0})
    rest, _ = process.communicate(timeout=60)
    last = json.loads(rest.splitlines()[-1])
    assert last["state"] == "stopped"
    assert last["phases"][1]["state"] == "done"


def test_status_as_json_has_a_numbered_form(capsys, begun):
    """Programs read `progress`; unknown is null, never zero."""
    code, out, _ = so8t(capsys, "status", str(begun), "--json")
    progress = json.loads(out)["progress"]
    assert (code, progress["format"]) == (0, 1)
    assert progress["per_second"] is progress["eta_seconds"] is progress["prompt_tokens"] is None


def test_what_stopped_names_the_command_that_goes_on(capsys, begun):
    """status (also as JSON) and watch of a stopped run end with the command to type next."""
    command = f"so8t run {begun}"
    assert f"next: {command}" in so8t(capsys, "status", str(begun))[1].splitlines()
    assert json.loads(so8t(capsys, "status", str(begun), "--json")[1])["next"] == command
    assert so8t(capsys, "watch", str(begun))[1].splitlines()[-1] == f"next: {command}"
    asked = RunConfig.model_validate(CONFIG)
    Registry(begun.parents[1] / "state").start(asked, begun, "suite", system_now())
    assert f"{command} --origin suite" in so8t(capsys, "status", str(begun))[1]
    with Lease(begun, now=system_now()):
        assert f"next: so8t watch {begun}" in so8t(capsys, "status", str(begun))[1]


def test_what_waits_is_told_and_stays_until_it_was_heard(capsys, here):
    """Without a device the queue stays; the words are told all the same."""
    assert "nothing is waiting" in so8t(capsys, "notify")[1]
    told = Notification("failed", "night", "night: stopped", "no disk", {})
    Pending(here / "state").add(told, system_now())
    code, out, err = so8t(capsys, "notify", "--pending")
    assert code == 0
    assert "night: stopped: no disk" in out
    assert "no player" in err
    assert len(json.loads(so8t(capsys, "notify", "--json")[1])["pending"]) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="the player here is a shell script")
def test_what_was_heard_is_forgotten(capsys, here, monkeypatch):
    """The gravest news is played first, each kind once; then the queue is empty."""
    player = here / "aplay"
    player.write_text(f'#!/bin/sh\necho "${{1##*/}}" >> {here}/heard\n')
    player.chmod(0o755)
    monkeypatch.setenv("PATH", str(here))
    for occasion in ("phase", "done", "failed", "failed"):
        told = Notification(occasion, "night", "title", "text", {})
        Pending(here / "state").add(told, system_now())
    assert so8t(capsys, "notify", "--pending")[0] == 0
    heard = (here / "heard").read_text().split()
    assert [name.split("-")[0] for name in heard] == ["failed", "done", "phase"]
    assert "nothing is waiting" in so8t(capsys, "notify")[1]


def test_the_dry_run_names_what_would_be_resumed_and_starts_nothing(capsys, here, begun):
    """As JSON and for people; a run that is forgotten is not named any more."""
    asked = RunConfig.model_validate(CONFIG | {"output": str(here / "runs")})
    Registry(here / "state").start(asked, begun, "all", system_now())
    before = (begun / "journal.sqlite").read_bytes()
    code, out, _ = so8t(capsys, "autostart", "resume", "--dry-run", "--json")
    assert code == 0
    assert [entry["name"] for entry in json.loads(out)["runs"]] == ["night"]
    assert (begun / "journal.sqlite").read_bytes() == before
    assert so8t(capsys, "autostart", "forget", str(begun))[0] == 0
    assert json.loads(so8t(capsys, "autostart", "resume", "--dry-run", "--json")[1])["runs"] == []


def test_what_a_task_says_goes_to_its_log(capsys, here):
    """A task of Windows has no output of its own."""
    log = here / "logs" / "autostart.log"
    code, out, err = so8t(capsys, "autostart", "resume", "--log", str(log))
    assert (code, out, err) == (0, "", "")
    assert "no unfinished runs" in log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("flag", "words"), [("--run", "no unfinished runs"), ("--help", "Usage")])
def test_the_script_of_the_design_document_is_the_command(flag, words):
    """`--run` resumes, from any directory."""
    script = ROOT / "scripts" / "pipelines" / "auto_start_complete_ab_pipeline.py"
    answer = subprocess.run(
        [sys.executable, str(script), flag], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0
    assert words in answer.stdout + answer.stderr
