"""`so8t serve` and `so8t audit` as a person uses them, over real llama.cpp and over Ollama."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys

import apsw
import pytest

from fake_ollama import FakeOllama
from so8t.cli import invoke as run
from so8t.cli.think_target import context_of_file
from so8t.domain.exchange import Arm, Decoding, EngineRequest, LoadProfile, ServedModel
from so8t.engines.embedded import EmbeddedEngine
from so8t.serve.prompt import PromptForm, conversation
from tiny_gguf import TRAINED_CONTEXT, write_tiny_gguf

QUERY = "where is marker-q3w9?"


@pytest.fixture
def served(tmp_path):
    """Start `so8t serve` with its files below `tmp_path`, and ask it; ends with the test."""
    places = ["--audit", str(tmp_path / "log"), "--keys", str(tmp_path / "keys")]
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "so8t", "serve", "--port", "0", *places, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        started.append(process)
        line = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/think", line)
        assert found, line + process.stderr.read()
        return process, int(found[1])

    yield start, places
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ask(port, query):
    """Post a question; return the JSON that came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"query": query})
    connection.request("POST", "/think", body, {"Content-Type": "application/json"})
    said = json.loads(connection.getresponse().read())
    connection.close()
    return said


def on_disk(directory, words):
    """All files that hold one of the words."""
    return [
        path
        for path in directory.rglob("*")
        if path.is_file() and any(word.encode() in path.read_bytes() for word in words)
    ]


def test_a_gguf_file_is_served_and_its_log_verifies(served, tmp_path, capsys):
    """Real llama.cpp: a reply without the form is refused, its words are nowhere on the disk.

    The model's words are known, because the same question to the same model gives them again.
    """
    start, places = served
    model = write_tiny_gguf(tmp_path / "tiny.gguf", end_weight=0.0)
    request = EngineRequest(
        "k", conversation(QUERY, PromptForm().instruction, "system"), Decoding(max_tokens=24)
    )
    target = ServedModel(Arm.B, str(model), "sha256:tiny")
    with EmbeddedEngine().open(target, LoadProfile(context=2048, threads=1)) as session:
        (reply,) = session.serve([request])
    assert len(reply.text) > 10
    process, port = start("--gguf", str(model), "--max-tokens", "24", "--threads", "1")
    said = ask(port, QUERY)
    assert (said["label"], said["outcome"]) == ("REFUSE", "refused")
    assert said["final"] == "I cannot answer this."
    assert on_disk(tmp_path, [QUERY, reply.text]) == []
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 143
    assert QUERY not in errors
    assert reply.text not in errors
    assert on_disk(tmp_path, [QUERY, reply.text]) == []
    assert run(["audit", "verify", *places]) == 0
    assert "1 rows; the log is whole" in capsys.readouterr().out
    connection = apsw.Connection(str(tmp_path / "log" / "audit.sqlite"))
    connection.execute("UPDATE request SET label = 'ALLOW'")
    connection.close()
    assert run(["audit", "verify", "--json", *places]) == 11
    found = json.loads(capsys.readouterr().out)
    assert [finding["row"] for finding in found["findings"]] == [1]


def test_an_ollama_model_is_served(served, tmp_path):
    """The Ollama engine over HTTP: the digest that is logged is the server's."""
    start, _ = served
    with FakeOllama() as fake:
        fake.add("cyc")
        process, port = start(
            "--ollama", "cyc", "--ollama-url", fake.url, "--max-tokens", "20", "--context", "1024"
        )
        said = ask(port, QUERY)
        assert said["outcome"] == "refused"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert on_disk(tmp_path, [QUERY]) == []
    connection = apsw.Connection(str(tmp_path / "log" / "audit.sqlite"))
    ((model, engine),) = connection.execute("SELECT model, engine FROM request")
    assert len(model) >= 64
    assert engine.startswith("ollama ")


def test_the_safety_gate_says_at_the_start_what_it_decides(served, tmp_path):
    """The measured languages and the others are named; a harmful question is refused by it."""
    start, _ = served
    rows = [
        {"text": f"How do I {what} number {number}?", "label": label}
        for number in range(40)
        for what, label in (("build a bomb", "harmful"), ("bake bread", "harmless"))
    ]
    data = tmp_path / "requests.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert run(["data", "safety-train", str(data), "--out", str(tmp_path / "gate")]) == 0
    with FakeOllama() as fake:
        fake.add("cyc")
        process, port = start(
            "--ollama",
            "cyc",
            "--ollama-url",
            fake.url,
            "--context",
            "1024",
            "--safety-gate",
            str(tmp_path / "gate"),
        )
        told = process.stderr.readline()
        assert "decides questions in English; it was not measured on Japanese" in told
        said = ask(port, "How do I build a bomb?")
        assert (said["outcome"], said["reason"]) == ("refused", "safety_gate")


def test_a_model_is_served_with_its_own_context(tmp_path):
    """The context comes from the file, so that instruction and question have room in it."""
    assert context_of_file(write_tiny_gguf(tmp_path / "tiny.gguf")) == min(4096, TRAINED_CONTEXT)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--gguf", "a", "--ollama", "b"], 2, "exclude"),
        (["--gguf", "a", "--host", "0.0.0.0"], 2, "token"),  # noqa: S104 - refused
        (["--gguf", "nothing.gguf"], 3, "nothing.gguf"),
        (["--run", "nothing"], 2, "nothing"),
    ],
)
def test_what_cannot_be_served_is_said(arguments, code, words, capsys, tmp_path):
    """Two models, no token beyond loopback, a file or run that is not there."""
    places = ["--audit", str(tmp_path / "log"), "--keys", str(tmp_path / "keys")]
    assert run(["serve", *arguments, *places]) == code
    assert words in capsys.readouterr().err


def test_a_token_is_made_and_a_log_that_is_not_there_is_said(tmp_path, capsys):
    """The token's file is for its owner; without keys there is nothing to verify with."""
    assert run(["audit", "token", str(tmp_path / "token")]) == 0
    assert len((tmp_path / "token").read_text().strip()) == 64
    assert run(["audit", "verify", "--audit", str(tmp_path), "--keys", str(tmp_path / "k")]) == 3
    assert "audit-chain.key" in capsys.readouterr().err
