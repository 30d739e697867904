"""Whole runs of the product, from the command line, on real models and real data."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tiny_run import ENVIRONMENT, command, run_directory, write_config

from so8t.domain.exchange import Arm
from so8t.domain.plan import Phase
from so8t.examples import DEMO
from so8t.journal.store import Journal
from so8t.models.gguf_convert import convert


def so8t(*arguments: str) -> dict:
    """Run a command that must succeed, and return its JSON document."""
    answer = subprocess.run(
        [sys.executable, "-m", "so8t", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
        timeout=900,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.mark.slow
def test_with_no_fine_tuning_the_demo_does_not_say_that_b_is_better(tmp_path):
    """The control: zero steps make B's weights A's, and the verdict is not b_better."""
    steps = ("--set", "b.finetune.steps=0", "--set", "engine.slots=1", "--set", "engine.threads=1")
    result = so8t("run", str(DEMO), *steps, "--output", str(tmp_path))
    assert result["verdict"]["outcome"] == "undecided"
    assert result["verdict"]["items_used"] >= 400
    assert (
        result["verdict"]["discordant"]["b_only"] == result["verdict"]["discordant"]["a_only"] == 0
    )
    with Journal(tmp_path / "quickstart", readonly=True) as journal:
        models = [journal.phase(phase).result["digest"] for phase in list(Phase)[:2]]
        assert models[0] == models[1]
        training = journal.phase(Phase.PREPARE_B).result["training"]
    assert training["steps_done"] == 0
    assert result["mean"]["a"] > 0.05  # the base answers something right, or this proves nothing


@pytest.mark.slow
def test_real_benchmarks_run_through_and_are_reported_honestly(tmp_path, shared_data):
    """JCommonsenseQA, GSM8K, MGSM-ja and XSTest from their files, through the same pipeline."""
    write_config(tmp_path, steps=1)
    config = tmp_path / "so8t.yaml"
    sets = {
        "jcommonsenseqa": "jglue/jcommonsenseqa",
        "gsm8k": "gsm8k",
        "mgsm_ja": "mgsm",
        "xstest": "xstest",
    }
    tasks = [
        {"name": name, "data": str(shared_data / place), "limit": 6} for name, place in sets.items()
    ]
    text = config.read_text(encoding="utf-8")
    text = text.replace(
        "suites: [suite.jsonl], noise_floor: 4", f"tasks: {json.dumps(tasks)}, noise_floor: 0"
    )
    config.write_text(text, encoding="utf-8")
    result = so8t("run", str(config), "--output", str(tmp_path / "runs"))
    assert result["state"] == "complete"
    assert {task["name"] for task in result["tasks"]} == set(sets)
    coverage = result["coverage"]
    for arm in Arm:
        counts = coverage[arm.value]
        assert counts["answered"] + counts["failed"] == 24
    report = (tmp_path / "runs" / "tiny" / "report.html").read_text(encoding="utf-8")
    assert "jcommonsenseqa" in report


@pytest.mark.slow
def test_an_existing_gguf_can_be_either_arm(tmp_path):
    """Two GGUF files, no conversion and no training: one made by an earlier run's phase 1."""
    first = write_config(tmp_path / "first", questions=16, steps=1)
    subprocess.run(command(first), check=True, capture_output=True, env=ENVIRONMENT)
    models = sorted((run_directory(first) / "artifacts").rglob("*.gguf"))
    assert len(models) == 2
    second = tmp_path / "so8t.yaml"
    second.write_text(
        f"""\
name: pair
a: {{source: {{gguf: {json.dumps(str(models[0]))}}}}}
b: {{source: {{gguf: {json.dumps(str(models[1]))}}}}}
engine: {{slots: 2, threads: 1, context: 256}}
generation: {{max_tokens: 12}}
benchmark: {{suites: [{json.dumps(str(first.parent / "suite.jsonl"))}], noise_floor: 4}}
""",
        encoding="utf-8",
    )
    result = so8t("run", str(second), "--output", str(tmp_path / "runs"))
    assert result["state"] == "complete"
    assert result["noise_floor"]["a"]["pairs"] == 4


def test_questions_that_fit_no_context_do_not_stop_the_others(tmp_path):
    """Wherever such a question comes in the order, it fails alone and scores nothing."""
    for kind in ("f16", "q8_0"):
        convert(DEMO.parent / "base", tmp_path / f"{kind}.gguf", kind)
    suite = [
        {
            "id": f"q{n}",
            "category": "mathematics",
            "prompt": "How many jars? " * (1 if n == 3 else 2000),
            "grader": "number",
            "reference": "12",
        }
        for n in range(4)
    ]
    (tmp_path / "suite.jsonl").write_text("\n".join(map(json.dumps, suite)), encoding="utf-8")
    config = tmp_path / "so8t.yaml"
    config.write_text(
        """\
name: pair
a: {source: {gguf: f16.gguf}}
b: {source: {gguf: q8_0.gguf}}
engine: {slots: 1, threads: 1, context: 256}
generation: {max_tokens: 12}
benchmark: {suites: [suite.jsonl], noise_floor: 2}
verdict: {stop: full}
""",
        encoding="utf-8",
    )
    result = so8t("run", str(config), "--output", str(tmp_path / "runs"))
    assert result["state"] == "complete"
    for arm in Arm:
        counts = result["coverage"][arm.value]
        assert (counts["answered"], counts["failed"]) == (1, 3)
    assert result["verdict"]["items_used"] == 1


@pytest.mark.slow
def test_a_damaged_artifact_is_made_again(tmp_path):
    """A GGUF that changed on disk is noticed by its digest and made again, to the same bytes."""
    config = write_config(tmp_path, questions=16, steps=1)
    subprocess.run(command(config), check=True, capture_output=True, env=ENVIRONMENT)
    (model,) = (run_directory(config) / "artifacts" / "a").glob("*.gguf")
    before = model.read_bytes()
    model.write_bytes(before[:-1] + b"x")
    again = subprocess.run(
        command(config), check=False, capture_output=True, text=True, env=ENVIRONMENT
    )
    assert again.returncode == 0, again.stderr
    assert model.read_bytes() == before
    with Journal(run_directory(config), readonly=True) as journal:
        assert [event.data for event in journal.events("artifact_gone")] == [{"phase": "prepare_a"}]


def test_a_missing_training_file_is_noticed_before_phase_1(tmp_path):
    """Exit code 3, the file's name, and no phase started."""
    config = write_config(tmp_path)
    (tmp_path / "train.jsonl").unlink()
    answer = subprocess.run(
        command(config), check=False, capture_output=True, text=True, env=ENVIRONMENT
    )
    assert answer.returncode == 3
    assert "train.jsonl" in answer.stderr
