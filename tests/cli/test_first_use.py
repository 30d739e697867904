"""What somebody types first: a demo, two models without a config, a config to start from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from commands import so8t, write_suite

from so8t.config.load import load_config
from so8t.config.pair import pair_config
from so8t.errors import PrerequisiteError, UsageError
from so8t.examples import CONFIGS
from so8t.pipeline.plan.missing import check_files
from tiny_gguf import write_tiny_gguf

ROOT = Path(__file__).resolve().parents[2]
#: What is nobody's but the hub's or a server's cannot be there in a test.
ELSEWHERE = {"hf-pair", "ollama-pair"}


@pytest.mark.parametrize("example", sorted(CONFIGS))
def test_every_example_is_valid_as_it_is_written(tmp_path, monkeypatch, capsys, example):
    """`so8t init --example X` and then `so8t validate`, with nothing in between."""
    monkeypatch.chdir(tmp_path)
    assert so8t(capsys, "init", "--example", example)[0] == 0
    config = load_config(Path("so8t.yaml"))
    check_files(config)
    if example not in ELSEWHERE:
        assert so8t(capsys, "validate")[0] == 0


@pytest.mark.slow
def test_two_models_need_no_config(tmp_path, monkeypatch, capsys):
    """The run's directory has the config that was meant; it and the same command go on."""
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        write_tiny_gguf(tmp_path / f"{name}.gguf")
    write_suite(tmp_path, 8)
    call = ("run", "a.gguf", "b.gguf", "--suite", "suite.jsonl", "--set", "engine.context=64", "-q")
    assert so8t(capsys, *call)[0] == 0
    written = Path("runs/a-vs-b/so8t.yaml")
    assert load_config(written).engine.context == 64
    for again in (call, ("run", str(written), "-q"), ("run", "runs/a-vs-b", "-q")):
        code, out, _ = so8t(capsys, *again, "--json")
        assert code == 0
        assert json.loads(out)["verdict"]["items_used"] > 0
    assert [path.name for path in Path("runs").iterdir()] == ["a-vs-b"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x.gguf", "y.gguf", "--suite", "z.jsonl"), ["x.gguf", "y.gguf", "z.jsonl"]),
        (("text.gguf", "empty"), ["text.gguf is no GGUF file", "empty is a directory without"]),
        (("a.gguf",), ["one model; a comparison takes two"]),
        (("a", "b", "c"), ["not 3 names"]),
        (("so8t.yaml", "--suite", "z.jsonl"), ["belongs to two models"]),
    ],
)
def test_what_is_wrong_with_two_models_is_told_at_once(
    tmp_path, monkeypatch, capsys, arguments, words
):
    """Exit code 2, everything that is not there by its name, and no directory is made."""
    monkeypatch.chdir(tmp_path)
    Path("text.gguf").write_text("no model")
    Path("empty").mkdir()
    code, _, err = so8t(capsys, "run", *arguments)
    assert code == UsageError.exit_code
    for word in words:
        assert word in err
    assert not Path("runs").exists()


def test_models_of_one_name_are_told_apart(tmp_path):
    """Labels are the shortest ends of the paths that differ; the name is one for a directory."""
    for side in ("before", "after"):
        (tmp_path / side).mkdir()
        write_tiny_gguf(tmp_path / side / "model.gguf")
    config = pair_config(*(str(tmp_path / side / "model.gguf") for side in ("before", "after")))
    assert (config["a"]["label"], config["b"]["label"]) == ("before/model", "after/model")
    assert config["name"] == "before-model-vs-after-model"


def test_missing_files_are_told_together(tmp_path):
    """Every path that a config names and that is not there stands in one error, with its key."""
    path = tmp_path / "so8t.yaml"
    shutil.copyfile(CONFIGS["finetune"], path)
    with pytest.raises(PrerequisiteError) as told:
        check_files(load_config(path))
    for key in ("b.finetune.data", "benchmark.suites"):
        assert key in told.value.message


@pytest.mark.slow
def test_a_wheel_runs_its_demo_outside_any_checkout(tmp_path):
    """Built, installed into an environment of its own: `so8t demo` comes to a verdict.

    The dependencies are this environment's; so8t itself is the wheel's alone.
    """
    wheels, env = tmp_path / "wheels", tmp_path / "env"
    pip = [sys.executable, "-m", "pip"]
    build = [*pip, "wheel", "--no-deps", "--quiet", "-w", str(wheels), str(ROOT)]
    subprocess.run(build, check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(env)], check=True)
    scripts = env / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    (wheel,) = wheels.glob("so8t-*.whl")
    into = [*pip, "--python", str(python), "install", "--no-deps", "--quiet", str(wheel)]
    subprocess.run(into, check=True)
    purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.check_output([python, "-c", purelib], text=True).strip()
    # After so8t's own directory, so that no checkout is found before the wheel.
    everything = [path for path in sys.path if path.endswith("site-packages")]
    assert sysconfig.get_path("purelib") in everything
    Path(site, "zz_dependencies.pth").write_text("\n".join(everything) + "\n")
    clean = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "SO8T_STATE_DIR": str(tmp_path / "state"),
    }
    where = "import so8t; print(so8t.__file__)"
    found = subprocess.check_output([python, "-c", where], text=True, env=clean, cwd=tmp_path)
    assert Path(found.strip()).is_relative_to(env)
    done = subprocess.run(
        [scripts / "so8t", "demo", "--json", "--set", "b.finetune.steps=40"],
        cwd=tmp_path,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"]["items_used"] == 480
    assert (tmp_path / "runs" / "quickstart" / "report.html").is_file()
