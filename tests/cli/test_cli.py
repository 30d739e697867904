"""The command line keeps its promises: exit codes, JSON, errors that say what to type next."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from commands import so8t

from excerpts import excerpt
from so8t.cli import COMMANDS, _of_storage
from so8t.cli.run import _removed
from so8t.cli.wire import read_config
from so8t.config.load import load_config
from so8t.errors import PrerequisiteError
from so8t.examples import CONFIGS, DEMO
from so8t.journal.lease import Lease
from so8t.journal.store import Journal, system_now
from so8t.pipeline.plan.planning import Needs, check_disk
from so8t.verdict.power import minimal_detectable_difference

QUICKSTART = DEMO.parent


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Each test has a current directory and a language of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    return tmp_path


def small_config(directory: Path) -> Path:
    """Write a runnable config with a few of the quickstart's questions."""
    excerpt(directory, "suite.jsonl", 12)
    excerpt(directory, "train.jsonl", 100)
    config = directory / "so8t.yaml"
    config.write_text(
        f"""\
name: small
a: {{source: {{hf: {json.dumps(str(QUICKSTART / "base"))}}}}}
b: {{finetune: {{data: [train.jsonl], steps: 1, threads: 1}}}}
engine: {{slots: 1, threads: 1, context: 128}}
generation: {{max_tokens: 4}}
benchmark: {{suites: [suite.jsonl], noise_floor: 2}}
""",
        encoding="utf-8",
    )
    return config


def test_help_is_fast_and_imports_nothing_heavy():
    """`so8t --help` loads no torch, no numpy, no SQLite, and stays under 400 ms of CPU."""
    code = (
        "import resource, sys\n"
        "from so8t.cli import invoke as run\n"
        "run(['--help'])\n"
        "heavy = {'torch', 'transformers', 'numpy', 'scipy', 'apsw', 'xllamacpp', 'httpx2'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "assert used.ru_utime + used.ru_stime < 0.4, used\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_the_common_options(capsys, name):
    """Each command answers --help and takes --json, --lang and -q; a group's commands do."""
    command = import_module(f"so8t.cli.{name}").command
    calls = (
        [(name, inner) for inner in command.commands] if hasattr(command, "commands") else [(name,)]
    )
    for call in calls:
        code, out, _ = so8t(capsys, *call, "--help")
        assert code == 0
        for option in ("--json", "--lang", "--quiet"):
            assert option in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name):
    """The command reference names every command."""
    docs = Path(__file__).parents[2] / "docs" / "commands.md"
    assert f"so8t {name}" in docs.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "No such command"),
        (["run", "--nonsense"], "No such option"),
        (["run", "none.yaml"], "no such config file"),
        (["status", "none"], "no run and no config at none"),
        (["serve", "--port", "99999"], "not in the range"),
        (["run", "--set", "x"], "key=value"),
        (["run", "--set", "x=[1"], "as JSON"),
        (["autostart", "install", "here"], "takes no RUN"),
        (["init", "--example", "none"], "Invalid value"),
    ],
)
def test_what_cannot_be_understood_exits_2(capsys, arguments, words):
    """Usage and config errors have exit code 2 and no traceback."""
    code, out, err = so8t(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_set_reads_a_list_as_json(tmp_path):
    """--set takes the arguments of a program as a list."""
    config = tmp_path / "run.yaml"
    config.write_text(CONFIGS["finetune"].read_text(encoding="utf-8"), encoding="utf-8")
    found = read_config(config, ('notify.command=["/bin/tell", "me"]',))
    assert found.notify.command == ["/bin/tell", "me"]


@pytest.mark.parametrize("command", ["status", "report"])
def test_without_a_run_the_hint_is_how_to_start_one(capsys, command):
    """Exit code 3: a prerequisite is missing, and what to type."""
    code, _, err = so8t(capsys, command)
    assert code == 3
    assert "so8t run" in err


def test_init_writes_a_config_once(capsys, here):
    """The file is commented, an existing one is never overwritten."""
    code, out, _ = so8t(capsys, "init", "--json")
    assert (code, json.loads(out)["written"]) == (0, "so8t.yaml")
    assert (here / "so8t.yaml").read_text() == CONFIGS["finetune"].read_text()
    (here / "so8t.yaml").write_text("mine")
    code, _, err = so8t(capsys, "init")
    assert code == 2
    assert "is there already" in err
    assert (here / "so8t.yaml").read_text() == "mine"


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (lambda d: d.joinpath("suite.jsonl").write_text("{\n"), 2, "suite.jsonl:1"),
        (lambda d: d.joinpath("suite.jsonl").unlink(), 3, "suite.jsonl"),
        (lambda d: d.joinpath("train.jsonl").unlink(), 3, "train.jsonl"),
        (
            lambda d: edit(d, "source: {hf: ", "source: {hf: ./absent, revision: x, #"),
            2,
            "so8t.yaml",
        ),
        (lambda d: edit(d, str(QUICKSTART / "base"), "./absent"), 3, "absent"),
        (
            lambda d: (edit(d, str(QUICKSTART / "base"), "./empty"), (d / "empty").mkdir()),
            3,
            "empty",
        ),
        (lambda d: to_gguf(d, b"GGUF" + b"\0" * 20), 3, "broken.gguf"),
        (lambda d: to_gguf(d, b"hello"), 3, "broken.gguf"),
    ],
    ids=["no-json", "no-suite", "no-data", "bad-yaml", "no-model", "no-weights", "cut", "no-gguf"],
)
def test_bad_input_is_refused_before_any_work(capsys, here, command, damage, code, words):
    """What would stop the run later stops it at once, names the place, and leaves no journal."""
    config = small_config(here)
    damage(here)
    found, _, err = so8t(capsys, command, str(config))
    assert found == code, err
    assert words in err
    assert "Traceback" not in err
    assert not (here / "runs" / "small").exists()


def edit(directory: Path, old: str, new: str) -> None:
    path = directory / "so8t.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def to_gguf(directory: Path, content: bytes) -> None:
    (directory / "broken.gguf").write_bytes(content)
    edit(directory, json.dumps(str(QUICKSTART / "base")), "x")
    edit(directory, "hf: x", "gguf: broken.gguf")
    edit(
        directory,
        "{finetune: {data: [train.jsonl], steps: 1, threads: 1}}",
        "{source: {gguf: broken.gguf}}",
    )


def test_a_k_quant_needs_no_other_program(capsys, here, monkeypatch):
    """q4_k_m is encoded by the library that is there: validate and plan ask for nothing more."""
    monkeypatch.setenv("PATH", str(here))
    config = small_config(here)
    for command in ("validate", "plan"):
        code, _, err = so8t(capsys, command, str(config), "--set", "b.quantization=q4_k_m")
        assert code == 0, err


def test_validate_and_plan_say_what_will_happen(capsys, here):
    """Counts, disk, memory, time and the smallest difference that can be found."""
    config = small_config(here)
    code, out, _ = so8t(capsys, "validate", str(config), "--json")
    assert (code, json.loads(out)["samples"]) == (0, 12)
    code, out, _ = so8t(capsys, "plan", str(config), "--json")
    plan = json.loads(out)
    assert code == 0
    assert plan["calls"] == 2 * 12 + 2 * 2
    assert plan["seconds_low"] <= plan["seconds_high"]
    assert plan["fits"] is True
    assert plan["both_fit"] is True
    assert plan["memory_needed"] < plan["memory_both"] <= 2 * plan["memory_needed"]
    assert set(plan["detectable_difference"]) == {"0.1", "0.2", "0.4"}
    code, out, _ = so8t(capsys, "plan", str(config))
    assert plan["detectable_difference"]["0.1"] is None
    fewest = plan["fewest_questions"]["0.1"]
    assert minimal_detectable_difference(fewest, 0.1) is not None
    assert minimal_detectable_difference(fewest - 1, 0.1) is None
    assert (
        f"12 questions are too few to find any difference in 8 of 10 runs: ask at least {fewest}"
        in out
    )
    assert "up to 1 step, however long they take (b.finetune.max_seconds" in out
    assert not (here / "runs").exists()


def test_a_disk_that_is_too_small_is_found_before_the_work(here):
    """The need is compared with what is free where the run will be."""
    config = small_config(here)
    with pytest.raises(PrerequisiteError, match=r"needs about 5\.0 GB"):
        check_disk(Needs(disk=5_000_000_000, free=1_000_000), load_config(config).output)


def test_doctor_reports_pass_warn_or_fail_with_a_fix(capsys):
    """Every check has a result; what is not in order has a fix."""
    code, out, _ = so8t(capsys, "doctor", "--json")
    checks = json.loads(out)["checks"]
    assert {check["result"] for check in checks} <= {"pass", "warn", "fail"}
    assert all(check["fix"] for check in checks if check["result"] != "pass")
    assert {"embedded engine", "journal", "memory"} <= {check["name"] for check in checks}
    assert code == (3 if any(check["result"] == "fail" for check in checks) else 0)


def test_ls_of_an_empty_directory(capsys):
    """No runs is no error."""
    code, out, _ = so8t(capsys, "ls", "--json")
    assert (code, json.loads(out)) == (0, {"runs": []})


@pytest.mark.slow
def test_a_run_from_start_to_gate(capsys, here):
    """run, status, ls, report, retry, --fresh and --fail-if on one small real run."""
    config = small_config(here)
    code, out, err = so8t(capsys, "run", str(config), "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["state"] == "complete"
    assert Path(result["report"]).is_file()
    outcome = result["verdict"]["outcome"]
    code, out, _ = so8t(capsys, "status", str(config), "--json")
    status = json.loads(out)
    assert set(status["phases"].values()) == {"done"}
    assert status["answers"] == status["answers_planned"] == 24
    assert status["holder"] is None
    code, out, _ = so8t(capsys, "ls", "--json")
    assert [run_["outcome"] for run_ in json.loads(out)["runs"]] == [outcome]
    code, out, err = so8t(capsys, "report", "runs/small", "--fail-if", outcome, "--json")
    assert code == 10
    assert outcome in err
    assert json.loads(out)["seconds"] > 0  # with the writing of the report in it
    code, out, err = so8t(capsys, "retry", str(config), "--json")
    assert code == 0, err
    code, _, err = so8t(capsys, "run", str(config), "--set", "seed=5")
    assert code == 2
    assert "seed (1 -> 5)" in err
    assert "--fresh" in err
    code, _, err = so8t(capsys, "run", str(config), "--set", "generation.max_tokens=5", "--fresh")
    assert code == 0, err
    assert (here / "runs" / "small.old-1" / "journal.sqlite").exists()
    code, out, _ = so8t(capsys, "ls")
    assert "small.old-1" in out
    shutil.copy(here / "so8t.yaml", here / "other.yaml")
    (here / "runs" / "small" / "journal.sqlite").write_bytes(b"damaged")
    code, out, _ = so8t(capsys, "ls", "--json")
    assert {run_["state"] for run_ in json.loads(out)["runs"]} == {"complete", "damaged"}


def test_words_follow_the_language(capsys):
    """--lang ja speaks Japanese; JSON keys and exit codes do not change."""
    _, english, _ = so8t(capsys, "ls", "--lang", "en")
    _, japanese, _ = so8t(capsys, "ls", "--lang", "ja")
    assert "no runs" in english
    assert "ありません" in japanese


@pytest.mark.slow
def test_no_color_and_pipes_get_plain_text(here):
    """Standard output of a pipe has no escape codes, with NO_COLOR or without."""
    for extra in ({}, {"NO_COLOR": "1"}):
        answer = subprocess.run(
            [sys.executable, "-m", "so8t", "doctor"],
            capture_output=True,
            env=os.environ | extra,
            check=False,
            cwd=here,
        )
        assert b"\x1b" not in answer.stdout + answer.stderr


def test_fresh_does_not_take_a_run_from_the_process_that_holds_it(capsys, here):
    """While somebody works in the directory, --fresh exits 5 and nothing is moved."""
    config = small_config(here)
    directory = here / "runs" / "small"
    directory.mkdir(parents=True)
    with Lease(directory, now=system_now()):
        code, _, err = so8t(capsys, "run", str(config), "--fresh")
    assert code == 5
    assert "held by process" in err
    assert directory.exists()


def test_a_refused_start_does_not_remove_what_another_has_begun(tmp_path):
    """The directory goes only with the lease in hand, and only while nothing is planned in it."""
    directory = tmp_path / "small"
    with Journal(directory) as journal:
        journal.create_run("small", {}, "0")
    with Lease(directory, now=system_now()):
        assert not _removed(directory)
        assert (directory / "journal.sqlite").exists()
    assert _removed(directory)
    assert not directory.exists()
    assert not _removed(directory)


def test_a_full_or_read_only_disk_is_an_error_with_a_hint():
    """What the system says of the disk ends in a message and an exit code, not in a traceback."""
    for number, code in ((errno.ENOSPC, 4), (errno.EROFS, 3), (errno.EACCES, 3)):
        found = _of_storage(OSError(number, os.strerror(number), "out"))
        assert found.exit_code == code
        assert found.hint
    assert _of_storage(OSError(errno.EIO, "x")) is None


def test_an_unknown_exploratory_name_is_refused(capsys, here):
    """A typo would silently change which claims are corrected."""
    config = small_config(here)
    text = config.read_text(encoding="utf-8") + "verdict: {exploratory: [mathematic]}\n"
    config.write_text(text, encoding="utf-8")
    code, _, err = so8t(capsys, "validate", str(config))
    assert code == 2
    assert "mathematics" in err
