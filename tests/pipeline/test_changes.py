"""What depends on a change is made again, what does not is kept, what is frozen is refused."""

from __future__ import annotations

import json

import pytest
from scripted_run import config as scripted_config
from scripted_run import prepared_journal, runner, samples
from tiny_run import run, run_directory, write_config

from so8t.domain.exchange import Arm
from so8t.domain.plan import Phase
from so8t.engines.scripted import ScriptedEngine
from so8t.errors import ConfigError, PrerequisiteError
from so8t.journal.evidence import gather
from so8t.journal.store import Journal
from so8t.pipeline.benchmark.interim import deadline_of
from so8t.pipeline.run.changes import settle_settings, take_over


def silent(_kind, **_detail):
    """Hear and say nothing."""


def attempts(directory):
    """How often each phase was begun."""
    with Journal(directory, readonly=True) as journal:
        return [journal.phase(phase).attempt for phase in Phase]


def texts(directory, arm):
    with Journal(directory, readonly=True) as journal:
        journal.verify()
        return {a.position: (a.seq, a.reply.text) for a in journal.answers(arm)}


@pytest.mark.slow
def test_another_fine_tuning_redoes_b_and_keeps_a(tmp_path):
    """Phase 1 and A's answers stay; phases 2 and 3 and B's answers are made again, and it says so.

    The verdict's settings are refused after looking; with the first fine-tuning back, so are B's
    first answers.
    """
    config = write_config(tmp_path, questions=24, steps=1)
    first = run(config)
    assert first.returncode == 0, first.stderr
    directory = run_directory(config)
    before = {arm: texts(directory, arm) for arm in Arm}
    again = run(config, "--set", "b.finetune.steps=2")
    assert again.returncode == 0, again.stderr
    assert "b.finetune.steps (1 -> 2)" in again.stderr
    assert "answers of model B are asked again" in again.stderr
    assert attempts(directory) == [1, 2, 2, 2]
    assert texts(directory, Arm.A) == before[Arm.A]
    b = texts(directory, Arm.B)
    assert b.keys() == before[Arm.B].keys()
    assert all(seq > before[Arm.B][position][0] for position, (seq, _) in b.items())
    with Journal(directory, readonly=True) as journal:
        assert journal.run.config["b"]["finetune"]["steps"] == 2
        assert gather(journal).overall.items_used == 24
    refused = run(config, "--set", "b.finetune.steps=2", "--set", "verdict.alpha=0.1")
    assert refused.returncode == 2
    assert "verdict.alpha" in refused.stderr
    assert "--fresh" in refused.stderr
    back = run(config)
    assert back.returncode == 0, back.stderr
    assert texts(directory, Arm.B) == before[Arm.B]


CHANGES = {
    "b.label": ("Bee", "free"),
    "verdict.stop": ("early", "free"),
    "verdict.deadline": ("07:00", "free"),
    "benchmark.noise_floor": (2, "free"),
    "generation.max_tokens": (9, "redo"),
    "a.quantization": ("f16", "redo"),
    "engine.slots": (3, "redo"),
    "verdict.alpha": (0.01, "unanswered"),
    "verdict.margin": (0.1, "unanswered"),
    "verdict.exploratory": (["math"], "unanswered"),
    "verdict.average": ("macro", "frozen"),
    "seed": (9, "frozen"),
    "benchmark.block": (0.2, "frozen"),
    "benchmark.suites": (["other.jsonl"], "frozen"),
}


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("key", CHANGES)
def test_what_judges_is_frozen_and_what_is_judged_may_change(tmp_path, key, answered):
    """Before the first answer the verdict's settings may change, the order of questions never."""
    value, effect = CHANGES[key]
    asked = scripted_config()
    plain = json.loads(asked.model_dump_json())
    with prepared_journal(tmp_path, asked, samples(20)) as journal:
        if answered:
            runner(journal, ScriptedEngine(lambda _: "yes")).run()
        wanted = json.loads(json.dumps(plain))
        place, parts = wanted, key.split(".")
        for part in parts[:-1]:
            place = place[part]
        place[parts[-1]] = value
        assert take_over(journal, plain, silent) == []
        if effect == "frozen" or (effect == "unanswered" and answered):
            with pytest.raises(ConfigError, match=key):
                take_over(journal, wanted, silent)
            assert journal.run.config == plain
        else:
            (change,) = take_over(journal, wanted, silent)
            assert (change.key, change.effect) == (key, effect)
            assert journal.run.config == wanted
            assert journal.verify()


def test_an_engine_that_nobody_asked_to_change_is_refused(tmp_path):
    """Another version or load profile on the machine is no wish; a changed engine section is."""
    with prepared_journal(tmp_path, scripted_config(), samples(20)) as journal:
        old = runner(journal, ScriptedEngine(lambda _: "yes"))
        for arm in Arm:
            settle_settings(journal, arm, old.settings_of(arm), silent)
        old.run()
        new = runner(journal, ScriptedEngine(lambda _: "no"), slots=3)
        with pytest.raises(PrerequisiteError, match="another profile"):
            settle_settings(journal, Arm.A, new.settings_of(Arm.A), silent)
        journal.reconfigure(journal.run.config, ["engine.slots"])
        settle_settings(journal, Arm.A, new.settings_of(Arm.A), silent)
        assert journal.open_positions(Arm.A, 0, 20) == list(range(20))
        assert journal.open_positions(Arm.B, 0, 20) == []
        settle_settings(journal, Arm.B, new.settings_of(Arm.B), silent)
        new.run()
        assert {a.reply.text for a in journal.answers()} == {"no"}
        assert all(a.attempts == 1 for a in journal.answers())
        assert sum(journal.answer_counts().values()) == 40
        assert journal.verify()


def test_another_deadline_goes_on_with_the_run(tmp_path):
    """The first such time after it was asked for; the frozen plan makes going on sound."""
    asked = scripted_config(verdict={"deadline": "07:00"})
    with prepared_journal(tmp_path, asked, samples(20)) as journal:
        first = deadline_of(asked, journal)
        later = scripted_config(verdict={"deadline": f"{(first.hour + 1) % 24:02}:30"})
        take_over(journal, json.loads(later.model_dump_json()), silent)
        second = deadline_of(later, journal)
        assert (second.hour, second.minute) == (8, 30)
        assert second > first.replace(year=first.year - 1)
        none = scripted_config()
        take_over(journal, json.loads(none.model_dump_json()), silent)
        assert deadline_of(none, journal) is None


def test_a_config_of_an_earlier_version_has_not_changed(tmp_path):
    """A key that did not exist yet, with its default now, is no change."""
    asked = scripted_config()
    plain = json.loads(asked.model_dump_json())
    old = json.loads(asked.model_dump_json())
    del old["benchmark"]["reuse_baseline"]
    del old["verdict"]["exploratory"]
    with Journal(tmp_path) as journal:
        journal.create_run("old", old, "0")
        assert take_over(journal, plain, silent) == []
