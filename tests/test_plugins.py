"""Engines, graders and model families from other distributions, really installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).with_name("plugin_example")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The example distribution, installed by pip into a directory of its own."""
    target = tmp_path_factory.mktemp("installed")
    source = tmp_path_factory.mktemp("source") / "plugin_example"
    # pip builds beside the source, and a checkout stays clean.
    shutil.copytree(EXAMPLE, source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run(
        [*command, "--no-build-isolation", "--target", str(target), str(source)], check=True
    )
    return target


def so8t(*arguments: str, plugins: Path | None = None, cwd: Path | None = None):
    """Run the command with a directory of installed distributions before all others."""
    path = {} if plugins is None else {"PYTHONPATH": str(plugins)}
    return subprocess.run(
        [sys.executable, "-m", "so8t", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1", "LC_ALL": "C.UTF-8", **path},
        timeout=240,
    )


def register(
    directory: Path, name: str, group: str, points: dict[str, str], code: str = ""
) -> Path:
    """Write what an installer leaves of a distribution: its metadata, and a module."""
    info = directory / f"{name.replace('-', '_')}-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
    lines = "".join(f"{key} = {value}\n" for key, value in points.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
    (directory / f"{name.replace('-', '_')}.py").write_text(code)
    return directory


@pytest.fixture
def config(tmp_path) -> Path:
    questions = [
        {"id": str(n), "category": "manners", "prompt": f"say {n}", "grader": "polite"}
        for n in range(24)
    ]
    (tmp_path / "suite.jsonl").write_text("\n".join(map(json.dumps, questions)))
    path = tmp_path / "so8t.yaml"
    path.write_text(
        "name: birds\n"
        "a: {source: {served: grey}}\n"
        "b: {source: {served: green}}\n"
        "engine: {kind: parrot, times: 2}\n"
        "benchmark: {suites: [suite.jsonl]}\n"
        "notify: {sound: false}\n"
    )
    return path


@pytest.mark.slow
def test_an_engine_and_a_grader_from_outside_make_a_whole_run(installed, config):
    """Validated, run to a verdict, verified; the report names the engine."""
    runs = str(config.parent / "runs")
    for arguments in (
        ("suite", "validate", str(config.parent / "suite.jsonl")),
        ("validate", str(config)),
        ("plan", str(config)),
        ("run", str(config), "--quiet", "--output", runs),
        ("verify", f"{runs}/birds"),
    ):
        done = so8t(*arguments, plugins=installed)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    report = (config.parent / "runs" / "birds" / "report.html").read_text(encoding="utf-8")
    assert "parrot" in report
    status = so8t("status", f"{runs}/birds", "--json", plugins=installed)
    assert json.loads(status.stdout)["verdict"]["outcome"] == "b_better"


def test_the_schema_of_a_config_has_the_engine_from_outside(installed):
    """An editor completes its keys beside ours."""
    forms = json.loads(so8t("validate", "--schema", plugins=installed).stdout)["properties"]
    kinds = [form["properties"]["kind"]["const"] for form in forms["engine"]["anyOf"]]
    assert kinds == ["embedded", "ollama", "parrot"] or set(kinds) > {"embedded", "parrot"}


def test_a_key_that_the_engine_from_outside_has_not_is_told_with_its_line(installed, config):
    """Its own keys are known to the checker of configs."""
    config.write_text(config.read_text().replace("times: 2", "tines: 2"))
    done = so8t("validate", str(config), plugins=installed)
    assert done.returncode == 2
    assert "4:24: unknown key 'engine.tines'. Did you mean 'times'?" in done.stderr


def test_an_engine_that_nobody_registered_is_told_with_the_nearest_and_the_list(config):
    """The line, the nearest registered name, and all of them."""
    config.write_text(config.read_text().replace("parrot", "olama"))
    done = so8t("validate", str(config))
    assert done.returncode == 2
    assert "there is no engine 'olama'. did you mean 'ollama'? known: embedded," in done.stderr


def test_a_grader_that_nobody_registered_is_told_with_the_nearest_and_the_list(config):
    """The same for a grader."""
    done = so8t("suite", "validate", str(config.parent / "suite.jsonl"))
    assert done.returncode == 2
    assert "unknown grader 'polite'" in done.stdout + done.stderr
    assert "known: char_f1," in done.stdout + done.stderr


@pytest.mark.slow
def test_a_plugin_that_cannot_be_imported_is_named_and_takes_no_other_with_it(
    installed, config, tmp_path
):
    """Its distribution and its error; a run that does not need it goes on."""
    broken = register(
        tmp_path / "broken",
        "so8t-broken",
        "so8t.engines",
        {"cuckoo": "so8t_broken:KIND"},
        "import a_module_that_is_not_there\n",
    )
    both = Path(f"{installed}{os.pathsep}{broken}")
    assert so8t("validate", str(config), plugins=both).returncode == 0
    config.write_text(config.read_text().replace("parrot, times: 2", "cuckoo"))
    done = so8t("validate", str(config), plugins=both)
    assert done.returncode == 3
    assert "the engine 'cuckoo' of so8t-broken 2.0" in done.stderr
    assert "No module named 'a_module_that_is_not_there'" in done.stderr
    doctor = so8t("doctor", str(tmp_path), plugins=both)
    assert doctor.returncode == 3
    assert "FAIL  engine cuckoo" in doctor.stdout
    assert "ok    engine parrot: from so8t-example 1.0" in doctor.stdout


def test_two_plugins_of_one_name_are_both_named_and_neither_is_loaded(installed, config, tmp_path):
    """Whoever installed both learns which two they are, also where one of them is ours."""
    twice = register(
        tmp_path / "twice",
        "so8t-twice",
        "so8t.engines",
        {"parrot": "so8t_twice:KIND", "embedded": "so8t_twice:KIND"},
        "raise SystemExit('this was imported')\n",
    )
    both = Path(f"{installed}{os.pathsep}{twice}")
    done = so8t("validate", str(config), plugins=both)
    assert done.returncode == 3
    assert "2 distributions register the engine 'parrot'" in done.stderr
    assert "so8t-example 1.0" in done.stderr
    assert "so8t-twice 2.0" in done.stderr
    config.write_text(config.read_text().replace("parrot, times: 2", "embedded"))
    done = so8t("validate", str(config), plugins=both)
    assert done.returncode == 3
    assert "2 distributions register the engine 'embedded': so8t" in done.stderr


def test_an_object_that_is_no_plugin_is_told(tmp_path):
    """What an entry point gives is checked before it is used."""
    odd = {
        "so8t.engines": ("KIND = 3\n", "it is no EngineKind"),
        "so8t.graders": ("class KIND: pass\n", "it is no subclass of GraderSpec"),
        "so8t.families": ("KIND = {'X': 1}\n", "it is no mapping"),
    }
    for number, (group, (code, _)) in enumerate(odd.items()):
        name = f"so8t-odd{number}"
        register(tmp_path / "odd", name, group, {"odd": f"so8t_odd{number}:KIND"}, code)
    done = so8t("doctor", str(tmp_path), plugins=tmp_path / "odd")
    assert done.returncode == 3
    for number, (_, words) in enumerate(odd.values()):
        assert f"of so8t-odd{number} 2.0" in done.stdout
        assert words in done.stdout


def test_a_family_from_outside_is_converted(installed):
    """An architecture that another distribution offers is one of those that can be converted."""
    code = "from so8t.models.gguf_families import known_families as k; print(*k())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )
    assert {"ExampleForCausalLM", "LlamaForCausalLM"} <= set(done.stdout.split())
