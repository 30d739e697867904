"""One run with everything that can go into B: an adapter, thinking data, packing, a leak."""

from __future__ import annotations

import json
import re

import peft
import pytest
import torch
from tiny_run import QUICKSTART, run, run_directory
from transformers import AutoModelForCausalLM, AutoTokenizer

from excerpts import excerpt
from so8t.domain.plan import Phase
from so8t.domain.thinking_format import TAGS
from so8t.journal.store import Journal
from so8t.system.files import file_digest


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The config of a run of base plus adapter and fourfold data, which has ended."""
    tmp_path = tmp_path_factory.mktemp("made")
    torch.manual_seed(1)
    adapted = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(QUICKSTART / "base"),
        peft.LoraConfig(r=2, target_modules=["q_proj"]),
    )
    for name, value in adapted.named_parameters():
        if "lora_" in name:
            value.data = 0.1 * torch.randn_like(value)
    adapted.save_pretrained(tmp_path / "adapter")
    suite = excerpt(tmp_path, "suite.jsonl", 16).read_text("utf-8").splitlines()
    thinking = {"task": "a", "safety": "b", "policy": "c"}
    asked = [f"question {n}" for n in range(60)]
    asked[7] = json.loads(suite[0])["prompt"]
    rows = [{"prompt": text, "thinking": thinking, "final": "d"} for text in asked]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    config = tmp_path / "so8t.yaml"
    config.write_text(
        f"""\
name: tiny
a: {{source: {{hf: {json.dumps(str(QUICKSTART / "base"))}, adapter: adapter}}}}
b:
  label: thinks in parts
  finetune: {{data: [train.jsonl], steps: 2, batch_size: 8, threads: 1, packing: true, pet: true,
              held_out: 0.2, max_length: 128}}
engine: {{slots: 1, threads: 1, context: 256}}
generation: {{max_tokens: 8}}
benchmark: {{suites: [suite.jsonl], noise_floor: 0}}
verdict: {{stop: full}}
""",
        "utf-8",
    )
    done = run(config)
    assert done.returncode == 0, done.stderr
    return config


@pytest.mark.slow
def test_adapter_thinking_packing_and_leaks_go_through_a_run(made):
    """To a verdict, with every part in the journal and in the report."""
    tmp_path, config = made.parent, made
    with Journal(run_directory(config), readonly=True) as journal:
        a, b = (journal.phase(phase).result for phase in (Phase.PREPARE_A, Phase.PREPARE_B))
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    assert a["source"]["adapter_kind"] == "LORA"
    assert a["source"]["adapter_tensors"] == 4
    assert a["source"]["adapter_digest"] != file_digest(weights)  # its settings count too
    training = b["training"]
    assert training["leaks"]["listed"][0]["line"] == 8
    assert (training["leaks"]["found"], training["leaks"]["dropped"]) == (1, 1)
    assert training["conversations"] + training["held_out_conversations"] == 59
    assert training["leaks"]["data_digests"] == {
        str(tmp_path / "train.jsonl"): file_digest(tmp_path / "train.jsonl")
    }
    merged = run_directory(config) / "artifacts" / "b" / "merged"
    tokenizer = AutoTokenizer.from_pretrained(merged, local_files_only=True)
    ids = [tokenizer(tag, add_special_tokens=False)["input_ids"] for tag in TAGS]
    assert ids == [[training["thinking_tokens"]["ids"][tag]] for tag in TAGS]
    assert not (merged.parent / "with-tokens").exists()
    card = (merged / "README.md").read_text("utf-8")
    assert "# thinks in parts" in card
    assert a["source"]["adapter_digest"] in card
    report = (run_directory(config) / "report.html").read_text("utf-8")
    assert "1 of 60 lines" in report
    assert training["packing"] is True
    assert training["pet"] == [0.01, 0.05]  # of two steps, the second is beyond 20 %
    assert "several conversations in one row" in report
    assert "PET: weight 0.01, 0.05 in turn" in re.sub(r"<[^>]+>\s*<[^>]+>", ": ", report)


@pytest.mark.slow
def test_the_merged_weights_go_and_come_back_where_they_are_needed(made):
    """Once B is made nothing is left of them; a damaged A is made again from base and adapter."""
    artifacts = run_directory(made) / "artifacts"

    def files():
        return sorted(path.name for path in (artifacts / "a").iterdir())

    assert files() == ["model-q8_0.gguf"]
    before = (artifacts / "a" / "model-q8_0.gguf").read_bytes()
    # As a kill in the middle of the removal leaves it, and as a damaged disk leaves A.
    (artifacts / "a" / "with-adapter").mkdir()
    (artifacts / "a" / "with-adapter" / "config.json").write_text("{}", "utf-8")
    (artifacts / "a" / "model-q8_0.gguf").write_bytes(b"damaged")
    again = run(made)
    assert again.returncode == 0, again.stderr
    assert "phase 1 (prepare A) done" in again.stderr
    assert "phase 2 (prepare B) skipped" in again.stderr
    assert (artifacts / "a" / "model-q8_0.gguf").read_bytes() == before
    assert files() == ["model-q8_0.gguf"]
