"""The whole product over the Ollama lane, against the fake server that recordings hold to truth."""

from __future__ import annotations

import json

import pytest

from so8t.cli import run
from so8t.domain.exchange import Arm
from so8t.engines.ollama.fake import FakeOllama, Toy
from so8t.journal.store import Journal


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A server with two toys: `cyc` says the alphabet, `rep` repeats itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    with FakeOllama() as server:
        server.add("cyc:latest")
        server.add("rep:latest", Toy(kind="rep", weights="1" * 64))
        yield server


def write_config(directory, server, a="cyc", b="rep"):
    lines = [
        {"id": str(n), "category": "letters", "prompt": f"{n}: say the alphabet", "grader": "exact",
         "reference": "abc"}
        for n in range(40)
    ]  # fmt: skip
    (directory / "suite.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    path = directory / "so8t.yaml"
    path.write_text(
        f"""\
name: tags
a: {{label: {a}, source: {{ollama: {a}}}}}
b: {{label: {b}, source: {{ollama: {b}}}}}
engine: {{kind: ollama, url: "{server.url}", slots: 1, context: 256}}
generation: {{max_tokens: 8, stop: [d]}}
benchmark: {{suites: [suite.jsonl], noise_floor: 4}}
verdict: {{stop: full}}
"""
    )
    return path


def so8t(capsys, *arguments):
    code = run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_two_tags_are_compared(capsys, tmp_path, fake):
    """The model that says what was asked for is found to be better, with the server's digests."""
    config = write_config(tmp_path, fake)
    code, out, err = so8t(capsys, "run", str(config), "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["verdict"]["outcome"] == "a_better"
    assert (result["mean"]["a"], result["mean"]["b"]) == (1.0, 0.0)
    with Journal(tmp_path / "runs" / "tags", readonly=True) as journal:
        models = {body["arm"]: body["model"]["digest"] for body in journal.all_settings().values()}
        assert models == {arm.value: fake.store.models[f"{name}:latest"].digest
                          for arm, name in ((Arm.A, "cyc"), (Arm.B, "rep"))}  # fmt: skip
        assert {body["engine"]["lane"] for body in journal.all_settings().values()} == {"ollama"}
    assert all(body["truncate"] is False for body in fake.asked("/api/chat"))


def test_a_crash_and_a_cut_connection_change_nothing(capsys, tmp_path, fake):
    """Troubles of the server cost retries; the answers are the same and none is a wrong one."""
    config = write_config(tmp_path, fake)
    fake.trouble.extend([None, None, None, "crash", None, "drop", "unfinished", None, "busy"])
    code, out, err = so8t(capsys, "run", str(config), "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["verdict"]["outcome"] == "a_better"
    assert result["coverage"]["a"]["failed"] == 0
    assert (result["mean"]["a"], result["mean"]["b"]) == (1.0, 0.0)


def test_a_tag_that_is_not_there_is_named(capsys, tmp_path, fake):
    """Exit code 3, the tag, and the command that brings it."""
    config = write_config(tmp_path, fake, b="absent")
    code, _, err = so8t(capsys, "run", str(config))
    assert code == 3
    assert "absent" in err
    assert "ollama pull" in err


def test_doctor_examines_the_server(capsys, fake):
    """--ollama adds the server's own checks."""
    code, out, _ = so8t(capsys, "doctor", "--ollama", fake.url, "--json")
    names = [check["name"] for check in json.loads(out)["checks"]]
    assert len(names) > 8
    assert code in (0, 3)


def test_without_a_server_the_hint_is_how_to_start_one(capsys, tmp_path, fake):
    """No server and no Ollama installed: exit code 3 and what to do, no traceback."""
    config = write_config(tmp_path, fake)
    fake.stop()
    code, _, err = so8t(capsys, "run", str(config))
    assert code in (3, 4)
    assert "hint:" in err
    assert "Traceback" not in err
