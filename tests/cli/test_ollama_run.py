"""The whole product over the Ollama engine, against the fake that recordings hold to truth."""

from __future__ import annotations

import json
import os
import re

import pytest
from commands import so8t, write_suite
from tokenizers import Tokenizer

from excerpts import excerpt
from fake_ollama import FakeOllama, Toy
from so8t.domain.exchange import Arm
from so8t.domain.measured import ChoiceMethod, read_measured
from so8t.engines.ollama import OllamaClient
from so8t.examples import DEMO
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
    write_suite(directory, 40)
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


def write_training_config(directory, url):
    """A from weights, B fine-tuned from it, both registered with the server as GGUF files."""
    excerpt(directory, "suite.jsonl", 16)
    excerpt(directory, "train.jsonl", 100)
    path = directory / "so8t.yaml"
    path.write_text(
        f"""\
name: so8t-live
a: {{source: {{hf: {json.dumps(str(DEMO.parent / "base"))}}}}}
b: {{finetune: {{data: [train.jsonl], steps: 1, threads: 1}}}}
engine: {{kind: ollama, url: "{url}", slots: 1, context: 256, overwrite: true}}
generation: {{max_tokens: 8}}
benchmark: {{suites: [suite.jsonl], noise_floor: 2}}
verdict: {{stop: full}}
"""
    )
    return path


def count_as_trained():
    """Count a prompt as a server does that loaded the quickstart's model."""
    tokenizer = Tokenizer.from_file(str(DEMO.parent / "base" / "tokenizer.json"))
    return lambda prompt: len(tokenizer.encode(prompt, add_special_tokens=False).ids)


def whole_pipeline(capsys, directory, url):
    """All four phases on a server, from weights to verdict; then again, without a question."""
    config = write_training_config(directory, url)
    code, out, err = so8t(capsys, "run", str(config), "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["state"] == "complete"
    for arm in ("a", "b"):
        assert result["coverage"][arm]["answered"] + result["coverage"][arm]["failed"] == 16
    modelfiles = list((directory / "runs" / "so8t-live" / "artifacts").glob("Modelfile.*"))
    assert len(modelfiles) == 2
    code, _, err = so8t(capsys, "run", str(config))
    assert (code, err.count("skipped")) == (0, 4)


@pytest.mark.slow
def test_models_made_here_are_registered_and_benchmarked(capsys, tmp_path, fake):
    """The pipeline's own GGUF files are uploaded, verified by rendering, and asked."""
    fake.count = count_as_trained()
    whole_pipeline(capsys, tmp_path, fake.url)
    with Journal(tmp_path / "runs" / "so8t-live", readonly=True) as journal:
        assert not journal.events("ollama.prompt_not_counted")
    assert sorted(fake.store.models) == [
        "cyc:latest", "rep:latest", "so8t-so8t-live-a:latest", "so8t-so8t-live-b:latest",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_server_that_cuts_prompts_is_a_stop(capsys, tmp_path, fake):
    """Fewer tokens read than we count: the run stops with the reason, and it is in the journal."""
    whole = count_as_trained()
    fake.count = lambda prompt: whole(prompt) // 2
    code, _, err = so8t(capsys, "run", str(write_training_config(tmp_path, fake.url)))
    assert code != 0
    assert "The prompt was cut: the server read" in err
    with Journal(tmp_path / "runs" / "so8t-live", readonly=True) as journal:
        (event,) = journal.events("ollama.prompt_truncated")
        assert event.data["counted"] < event.data["expected"]
        assert not any(list(journal.answers(arm)) for arm in Arm)


@pytest.mark.ollama
@pytest.mark.skipif("SO8T_OLLAMA_URL" not in os.environ, reason="SO8T_OLLAMA_URL is not set")
def test_the_whole_pipeline_on_a_real_server(capsys, tmp_path, monkeypatch):
    """The same, where a real server is named."""
    monkeypatch.chdir(tmp_path)
    url = os.environ["SO8T_OLLAMA_URL"]
    client = OllamaClient(url)
    try:
        whole_pipeline(capsys, tmp_path, url)
    finally:
        for arm in ("a", "b"):
            client.delete(f"so8t-so8t-live-{arm}")
        client.close()


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
        assert {body["engine"]["name"] for body in journal.all_settings().values()} == {"ollama"}
    assert all(body["truncate"] is False for body in fake.asked("/api/chat"))


def write_choices_config(directory, server):
    """COPA in its authors' layout, asked of a toy that picks a letter and one that never does."""
    (directory / "COPA").mkdir()
    rows = [
        {"premise": f"The cat {n} was wet.", "choice1": f"It rained {n}.", "choice2": "It slept.",
         "question": "cause", "label": n % 2}
        for n in range(40)
    ]  # fmt: skip
    (directory / "COPA" / "val.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    path = directory / "so8t.yaml"
    path.write_text(
        f"""\
name: choices
a: {{label: abc, source: {{ollama: abc}}}}
b: {{label: cyc, source: {{ollama: cyc}}}}
engine: {{kind: ollama, url: "{server.url}", slots: 1, context: 512}}
generation: {{max_tokens: 8}}
benchmark: {{hf: [{{name: superglue/copa, data_dir: .}}], noise_floor: 4}}
verdict: {{stop: full}}
"""
    )
    return path


@pytest.mark.slow
def test_choices_are_scored_by_lanes_that_are_named(capsys, tmp_path, fake):
    """A task of lm-eval is asked by chatting: each answer, each reason and the report name how."""
    pytest.importorskip("lm_eval")
    fake.add("abc:latest", Toy(kind="abc", weights="2" * 64))
    code, out, err = so8t(capsys, "run", str(write_choices_config(tmp_path, fake)), "--json")
    assert code == 0, err
    result = json.loads(out)
    assert [result["coverage"][arm]["answered"] for arm in "ab"] == [40, 40]
    directory = tmp_path / "runs" / "choices"
    with Journal(directory, readonly=True) as journal:
        said = {arm: [read_measured(a.reply.text) for a in journal.answers(arm)] for arm in Arm}
    assert {one.method for one in said[Arm.A]} == {ChoiceMethod.FIRST_TOKEN}
    assert {one.choice for one in said[Arm.A]} == {0, 1}
    assert {(one.method, one.choice) for one in said[Arm.B]} == {(ChoiceMethod.CONSTRAINED, 0)}
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert re.search("acc, method first_token: option [12]", page)
    assert "acc, method constrained: option 1" in page
    # Every second reference is the first option, which is all that B ever says.
    assert result["mean"]["b"] == 0.5


@pytest.mark.slow
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
