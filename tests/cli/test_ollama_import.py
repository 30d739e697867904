"""A model that nothing here converts, imported by the Ollama server itself."""

from __future__ import annotations

import json

import pytest
from commands import write_suite

from fake_ollama import FakeOllama
from hf_directories import plain
from so8t.cli import invoke as run
from so8t.domain.plan import Phase
from so8t.journal.store import Journal


@pytest.fixture
def neox(tmp_path):
    """A directory of an architecture that is not built in."""
    plain(tmp_path / "neox", architectures=["GPTNeoXForCausalLM"])
    template = (tmp_path / "neox" / "chat_template.jinja").read_text("utf-8")
    (tmp_path / "neox" / "chat_template.jinja").unlink()
    settings = tmp_path / "neox" / "tokenizer_config.json"
    plain_settings = json.loads(settings.read_text("utf-8")) | {"chat_template": template}
    settings.write_text(json.dumps(plain_settings), "utf-8")
    return tmp_path / "neox"


def config(directory, engine):
    write_suite(directory, 16)
    path = directory / "so8t.yaml"
    path.write_text(
        f"""\
name: neox
a: {{source: {{hf: ./neox}}, quantization: q4_k_m}}
b: {{source: {{hf: ./neox}}, quantization: q8_0}}
engine: {engine}
generation: {{max_tokens: 8}}
benchmark: {{suites: [suite.jsonl], noise_floor: 2}}
verdict: {{stop: full}}
"""
    )
    return path


def test_the_server_imports_what_is_not_converted_here(neox, tmp_path, monkeypatch, capsys):
    """The directory itself is registered, quantized by the server to each arm's type."""
    monkeypatch.chdir(tmp_path)
    with FakeOllama() as server:
        path = config(tmp_path, f'{{kind: ollama, url: "{server.url}", slots: 1, context: 256}}')
        code = run(["run", str(path), "--json"])
        assert code == 0, capsys.readouterr().err
        kinds = [server.store.find(f"so8t-neox-{arm}:latest").quantization for arm in "ab"]
    assert kinds == ["Q4_K_M", "Q8_0"]
    with Journal(tmp_path / "runs" / "neox", readonly=True) as journal:
        prepared = journal.phase(Phase.PREPARE_A).result
    assert (prepared["kind"], prepared["location"]) == ("hf", str(neox))


@pytest.mark.usefixtures("neox")
def test_without_either_way_both_are_named_before_any_work(tmp_path, monkeypatch, capsys):
    """The embedded engine and no checkout: exit code 3, both ways out, and no run is begun."""
    monkeypatch.chdir(tmp_path)
    path = config(tmp_path, "{kind: embedded}")
    assert run(["run", str(path)]) == 3
    said = capsys.readouterr().err
    assert "GPTNeoXForCausalLM" in said
    assert "llama_cpp: DIR" in said
    assert "`engine: {kind: ollama}`" in said
