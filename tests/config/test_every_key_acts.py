"""Every key of a config has an effect, and a test that sees it; the rest of them stand here."""

from __future__ import annotations

import ast
import json
import re
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from config_page import explanations, page
from keys_seen import OPEN, SEEN

from so8t.config.machine_section import Notify, Recovery
from so8t.config.schema import RunConfig
from so8t.domain.exchange import Arm, LoadProfile, ServedModel
from so8t.domain.plan import Phase
from so8t.engines.openai.transport import read_key
from so8t.engines.scripted import ScriptedEngine
from so8t.errors import DataError, SO8TError
from so8t.examples import quickstart
from so8t.journal.evidence import settings_of
from so8t.journal.store import Journal
from so8t.models.sources import resolve
from so8t.models.training_data import read_conversations, split_held_out
from so8t.models.training_loop import learning_rate_share
from so8t.models.training_records import thread_count
from so8t.notify.channels import Notification, UndeliveredError
from so8t.notify.notifier import channels_of
from so8t.pipeline.benchmark.choice_methods import compare_choice_methods
from so8t.pipeline.benchmark.llm_judge import LLMJudging
from so8t.pipeline.plan.planning import samples_in_block
from so8t.pipeline.prepare.prepare import inputs_b
from so8t.pipeline.register.register import starting_profile
from so8t.pipeline.run.progress import Silent, StopRequest
from so8t.policy.clean import PolicyReport, Rules, clean

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "pipeline"))
from scripted_run import prepared_journal, runner, samples  # noqa: E402
from tiny_run import ENVIRONMENT, command, run_directory, write_config  # noqa: E402

PATHS = quickstart.paths()


# --- that none is forgotten ----------------------------------------------------------------------


KEYS = sorted(explanations())


@cache
def functions(file):
    """The names of a module's tests, and the words in it and in what it takes from beside it."""
    text = (TESTS / file).read_text("utf-8")
    names = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
    beside = (TESTS / file).with_name("conftest.py")
    text += beside.read_text("utf-8") if beside.exists() else ""
    return names, set(re.findall(r"\w+", text))


def test_every_key_has_a_test_that_sees_it_act():
    """The schema's keys are those of the table and of the list of what is still open."""
    assert len(KEYS) > 100
    assert sorted({*SEEN, *OPEN}) == KEYS
    assert not OPEN & set(SEEN)


@pytest.mark.parametrize("key", sorted(SEEN))
def test_the_test_that_sees_a_key_is_there(key):
    """It exists, and its module speaks of the key."""
    file, _, test = SEEN[key].partition("::")
    names, words = functions(file)
    assert test in names
    assert next(part for part in reversed(key.split(".")) if len(part) > 1) in words


def test_every_key_is_explained():
    """The page on the config has a line for each, in words that the schema shows editors too."""
    shown = (TESTS.parent / "docs" / "config.md").read_text("utf-8")
    assert shown == page(), "python tests/config/config_page.py writes it anew"
    for key, explained in explanations().items():
        assert explained, key


# --- a whole run ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_how_a_run_is_shown_shared_and_told_of_follows_the_config(tmp_path):
    """language, labels, keep_awake, low_priority, interval, notify and measure_quantization."""
    told = tmp_path / "told"
    script = f"import os; open({str(told)!r}, 'a').write(os.environ['SO8T_OCCASION'] + '\\n')"
    extra = {
        "language": "ja",
        "keep_awake": False,
        "resources": {"low_priority": False, "interval": 0.2},
        "notify": {"on": ["done"], "sound": False, "command": [sys.executable, "-c", script]},
    }
    config = write_config(tmp_path, questions=8)
    text = config.read_text("utf-8").replace(
        "a:\n  source", "a:\n  label: Alpha\n  measure_quantization: true\n  source"
    )
    text = text.replace("b:\n  finetune", "b:\n  label: Beta\n  finetune")
    config.write_text(text + "".join(f"{k}: {json.dumps(v)}\n" for k, v in extra.items()))
    found = subprocess.run(
        command(config), capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert found.returncode == 0, found.stderr
    directory = run_directory(config)
    assert re.search("[ぁ-ん]", found.stderr)
    page = (directory / "report.html").read_text("utf-8")
    assert 'lang="ja"' in page
    assert "Alpha" in page
    assert "Beta" in page
    status = subprocess.run(
        [sys.executable, "-m", "so8t", "status", str(directory)],
        capture_output=True, text=True, check=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert re.search("[ぁ-ん]", status.stdout)
    assert told.read_text() == "done\n"
    with Journal(directory, readonly=True) as journal:
        kinds = {event.kind for event in journal.events()}
        assert not kinds & {"kept_awake", "keep_awake_failed", "priority_lowered"}
        (summary,) = journal.events("resources_summary")
        assert summary.data["samples"] > 10
        made = {arm: journal.phase(phase).result["conversion"]
                for arm, phase in (("a", Phase.PREPARE_A), ("b", Phase.PREPARE_B))}  # fmt: skip
    assert "quantization_cost" in made["a"]
    assert "quantization_cost" not in made["b"]


def test_what_quantization_costs_is_measured_where_asked():
    """measure_quantization is part of what phase 1 and 2 depend on: set later, it is made then."""
    assert inputs(b={"measure_quantization": True}) != inputs()


@pytest.mark.parametrize("lang", [[], ["--lang", "en"]])
def test_the_flag_wins_over_the_configs_language(tmp_path, capsys, monkeypatch, lang):
    """--lang before `language:` before the system's setting."""
    from so8t.cli import invoke  # noqa: PLC0415 - in-process, with this environment

    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    config = write_config(tmp_path, questions=4, extra="language: ja\n")
    assert invoke(["validate", str(config), *lang]) == 0
    assert bool(re.search("[ぁ-ん]", capsys.readouterr().out)) is not bool(lang)


# --- a part of it --------------------------------------------------------------------------------


def config(**changes):
    asked = {
        "name": "keys",
        "a": {"source": {"hf": str(PATHS.base)}},
        "b": {"finetune": {"data": [str(PATHS.train)]}},
        "benchmark": {"suites": [str(PATHS.suite)]},
    }
    return RunConfig.model_validate(asked | changes)


def inputs(b=(), **finetune):
    made = {"finetune": {"data": [str(PATHS.train)], **finetune}, **dict(b)}
    asked = config(b=made)
    return inputs_b(asked, resolve(asked.a.source), None)


@pytest.mark.parametrize("changed", [{"alpha": 8.0}, {"dropout": 0.5}, {"rank": 4}])
def test_each_of_these_keys_makes_another_b(changed):
    """What decides the weights is part of what phase 2 depends on."""
    assert inputs(method="lora", **changed) != inputs(method="lora")


def test_the_learning_rate_rises_for_warmup_steps():
    """Linearly from the first step to the last of them."""
    settings = config(b={"finetune": {"data": ["x"], "steps": 1000, "warmup_steps": 4}}).b.finetune
    shares = [learning_rate_share(step, settings) for step in range(6)]
    assert shares[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=0.001)
    assert shares[4] <= 1.0


def test_threads_are_those_that_were_asked_for():
    """A number as it is; without one, more than none."""
    assert thread_count(config(b={"finetune": {"data": ["x"], "threads": 3}}).b.finetune) == 3
    assert thread_count(config(b={"finetune": {"data": ["x"]}}).b.finetune) >= 1


@pytest.mark.parametrize("held_out", [0.05, 0.25])
def test_held_out_is_the_share_that_is_not_trained_on(held_out):
    """Within what chance allows of a few thousand conversations."""
    training, apart = split_held_out(read_conversations([PATHS.train]), held_out)
    share = len(apart) / (len(apart) + len(training))
    assert share == pytest.approx(held_out, abs=0.05)


def test_confidential_lines_are_left_out_kept_or_an_error(tmp_path):
    """exclude, keep and fail, each as it says."""
    file = tmp_path / "data.txt"
    file.write_text("社外秘\n本資料は社内のみ", encoding="utf-8")
    raw = file.read_bytes()
    for confidential, left in (("exclude", b""), ("keep", raw)):
        rules = Rules(confidential=confidential)
        assert clean(file, rules, PolicyReport(rules)) == left
    rules = Rules(confidential="fail")
    with pytest.raises(DataError, match="confidential"):
        clean(file, rules, PolicyReport(rules))


@pytest.mark.parametrize(
    "source",
    [{"hf": "x"}, {"hf": "x", "revision": "1"}, {"hf": "x", "adapter": "y"}, {"served": "x"},
     {"ollama": "x"}],
)  # fmt: skip
def test_what_a_judge_cannot_be_is_refused(source):
    """hf, with revision or adapter, answers nothing; served and ollama need their engine."""
    with pytest.raises(ValueError, match="judge"):
        config(judge={"source": source})


def test_a_judgement_has_the_budget_that_was_asked_for(tmp_path):
    """judge.max_tokens is the token budget of what the judge is asked."""
    budgets = []

    def says(request):
        budgets.append(request.decoding.max_tokens)
        return "A"

    asked = config(
        judge={"source": {"gguf": "judge.gguf"}, "max_tokens": 7}, verdict={"stop": "full"}
    )
    with prepared_journal(tmp_path, asked, samples(1)) as journal:
        judging = LLMJudging(
            asked, journal, ScriptedEngine(says), ServedModel(Arm.A, "j", "sha256:j"),
            LoadProfile(), reporter=Silent(), stop=StopRequest(),
        )  # fmt: skip
        assert judging._decoding.max_tokens == 7


def test_the_profile_to_load_is_that_of_the_config():
    """slots, context, threads and gpu_layers, as they are."""
    engine = {"slots": 3, "context": 512, "threads": 2, "gpu_layers": 5}
    found = starting_profile(config(engine=engine), [])
    assert (found.slots, found.context, found.threads, found.gpu_layers) == (3, 512, 2, 5)


@pytest.mark.parametrize(("block", "size"), [(0.05, 50), (0.5, 500), (1.0, 1000)])
def test_a_block_is_the_share_that_was_asked_for(block, size):
    """Of a thousand questions."""
    asked = config(benchmark={"suites": ["x"], "block": block})
    assert samples_in_block(asked, 1000) == size


@pytest.mark.parametrize("noise_floor", [0, 3])
def test_the_noise_floor_is_as_large_as_asked(tmp_path, noise_floor):
    """So many questions are answered twice by each model."""
    asked = config(
        benchmark={"suites": ["x"], "noise_floor": noise_floor}, verdict={"stop": "full"}
    )
    count = 0

    def says(_request):
        nonlocal count
        count += 1
        return "yes"

    with prepared_journal(tmp_path, asked, samples(6)) as journal:
        runner(journal, ScriptedEngine(says), asked).run()
    assert count == 2 * 6 + 2 * noise_floor


def test_no_choice_is_asked_twice_where_none_is_wanted(tmp_path):
    """choice_method_sample: 0 opens no session for it and records nothing."""
    asked = config(benchmark={"suites": ["x"], "choice_method_sample": 0})

    def session(_arm):
        raise AssertionError("nothing is to be asked")

    with prepared_journal(tmp_path, asked, samples(2)) as journal:
        compare_choice_methods(asked, journal, session, StopRequest())
        assert not journal.events("lanes_compared")


def test_the_verdict_is_made_as_the_config_says(tmp_path):
    """alpha is the frozen error rate; stop: early ends before the last question, full does not."""
    asked_of = {}
    for stop in ("early", "full"):
        asked = config(
            verdict={"stop": stop, "alpha": 0.01},
            benchmark={"suites": ["x"], "noise_floor": 0, "block": 0.05},
        )
        with prepared_journal(tmp_path / stop, asked, samples(400)) as journal:
            runner(journal, Better(), asked).run()
            assert settings_of(journal).alpha == 0.01
            asked_of[stop] = sum(journal.answer_counts().values())
    assert asked_of["early"] < asked_of["full"] == 800


class Better(ScriptedEngine):
    """B answers every question rightly, A none."""

    def __init__(self):
        super().__init__(lambda _request: "yes")
        self._worse = ScriptedEngine(lambda _request: "no")

    def open(self, model, profile):
        return (self._worse if model.arm is Arm.A else super()).open(model, profile)


def test_recovery_is_as_often_and_as_late_as_asked():
    """`attempts` less one waits, the first of `wait` seconds, each five times the one before."""
    assert Recovery(attempts=4, wait=3).waits() == (3, 15, 75)
    assert Recovery(attempts=1).waits() == ()


def test_what_takes_longer_than_its_time_is_undelivered():
    """command_timeout and webhook.timeout, in seconds."""
    notification = Notification("done", "run", "run: done", "B is better", {})
    slow = [sys.executable, "-c", "import time; time.sleep(30)"]
    (command,) = channels_of(Notify(sound=False, command=slow, command_timeout=0.5), Path("unused"))
    with pytest.raises(UndeliveredError, match=r"longer than 0\.5 s"):
        command.deliver(notification)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        webhook = {"url": url, "timeout": 0.3}
        (channel,) = channels_of(Notify(sound=False, webhook=webhook), Path("unused"))
        with pytest.raises(UndeliveredError, match="Timeout"):
            channel.deliver(notification)


@pytest.mark.skipif(sys.platform == "win32", reason="who may read a file is said otherwise there")
def test_a_places_key_can_stand_in_a_file(tmp_path):
    """key_file is read, and one that others can read is refused."""
    file = tmp_path / "key"
    file.write_text("a-key-of-a-server-1234\n")
    file.chmod(0o600)
    assert read_key(None, file, {}) == "a-key-of-a-server-1234"
    file.chmod(0o644)
    with pytest.raises(SO8TError):
        read_key(None, file, {})
