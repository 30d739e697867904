"""The search decides by held-out loss alone, and a kill does not change what it finds."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time

import optuna
import pytest

from so8t.config.schema import Finetune
from so8t.errors import TrainingDiverged, TrainingError
from so8t.examples import quickstart
from so8t.models.search import FILE_NAME, search, space_of, with_point

BASE = quickstart.paths().base
# A real search in a process of its own; a trial takes a moment and its loss is a plain function.
DRIVER = """
import json, sys, time
from pathlib import Path
from so8t.config.schema import Finetune
from so8t.models.search import search
base, directory, settings, pause = sys.argv[1:]
def run(chosen, number):
    time.sleep(float(pause))
    return (chosen.rate - 0.003) ** 2 + len(chosen.targets) / 1e5 + chosen.rank / 1e6
chosen, found = search(Path(base), Finetune.model_validate_json(settings), Path(directory), run=run,
                       note=lambda kind, data: None)
print(json.dumps([chosen.model_dump(mode="json"), found]))
"""


def settings(**changes):
    plain = {"data": [quickstart.paths().train], "method": "lora", "n_trials": 6}
    return Finetune(**{**plain, **changes})


def study(directory):
    (one,) = optuna.get_all_study_summaries(f"sqlite:///{directory / FILE_NAME}")
    return optuna.load_study(
        study_name=one.study_name, storage=f"sqlite:///{directory / FILE_NAME}"
    )


def finished(directory):
    if not (directory / FILE_NAME).exists():
        return 0
    try:
        states = [trial.state for trial in study(directory).get_trials()]
    except ValueError:  # only just begun
        return 0
    return states.count(optuna.trial.TrialState.COMPLETE)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is Unix's own")
def test_killed_at_random_moments_it_finds_the_same(tmp_path):
    """SIGKILL in the middle of trials: the same trials, the same best one, the same settings."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"

    def start(directory, pause):
        arguments = [str(BASE), str(directory), settings().model_dump_json(), pause]
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, *arguments], stdout=subprocess.PIPE, text=True
        )

    expected, _ = start(whole, "0").communicate(timeout=120)
    seed = random.SystemRandom().randrange(2**32)
    dice = random.Random(seed)
    for wanted in (1, 3):
        process = start(broken, "0.4")
        until = time.monotonic() + 120
        while finished(broken) < wanted:
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5 * dice.random())
        process.kill()
        process.communicate()
    answer, _ = start(broken, "0").communicate(timeout=120)
    first, second = json.loads(expected), json.loads(answer)
    assert second[0] == first[0], f"seed {seed}"
    assert second[1]["held_out_loss"] == first[1]["held_out_loss"]
    assert (second[1]["trials"], second[1]["chosen"]) == (6, first[1]["chosen"])

    def points(directory):
        return [
            (trial.params, trial.value)
            for trial in study(directory).get_trials(states=[optuna.trial.TrialState.COMPLETE])
        ]

    assert points(broken) == points(whole), f"seed {seed}"


def test_the_best_held_out_loss_wins_and_the_config_comes_first(tmp_path):
    """The first trial has the config's own settings; a diverged one loses; each is told."""
    seen, told = [], []

    def run(chosen, number):
        seen.append(chosen)
        if number == 1:
            raise TrainingDiverged("no number")
        return 2.0 - 0.1 * number

    chosen, found = search(
        BASE,
        settings(n_trials=4),
        tmp_path,
        run=run,
        note=lambda kind, data: told.append((kind, data)),
    )
    assert seen[0] == settings(n_trials=0, learning_rate=settings().rate)
    assert chosen == seen[3]
    assert (found["best"], found["trials"], found["diverged"]) == (
        4,
        4,
        1,
    )  # from 1, as the trials are told
    assert [data["trial"] for kind, data in told if kind == "search_trial"] == [1, 2, 3, 4]
    assert (found["held_out_loss"], found["at_config"]) == (pytest.approx(1.7), 2.0)
    assert [kind for kind, _ in told] == ["search_trial"] * 4 + ["search_best"]
    assert told[1][1]["held_out_loss"] is None
    json.dumps(told)


def test_how_checkpoints_are_kept_begins_no_new_search(tmp_path):
    """With another interval, number or limit of memory, finished trials are not done again."""

    def run(_chosen, number):
        seen.append(number)
        return 1.0 + number

    for changes in ({}, {"checkpoint_interval": 5, "checkpoints_kept": 2, "memory_limit_gb": 9}):
        seen = []
        search(BASE, settings(n_trials=2, **changes), tmp_path, run=run, note=lambda *_: None)
        assert seen == ([] if changes else [0, 1])


def test_when_all_diverge_there_is_no_best(tmp_path):
    """Nothing is made up where every trial diverged."""

    def run(_chosen, _number):
        raise TrainingDiverged("no number")

    with pytest.raises(TrainingError, match="All 2 trials of the search diverged"):
        search(BASE, settings(n_trials=2), tmp_path, run=run, note=lambda *_: None)


def test_the_space_fits_the_method():
    """so8 has no rank; a rank keeps the scale; targets are parts of the config's own."""
    assert set(space_of(settings(method="so8"))) == {"learning_rate", "targets"}
    assert set(space_of(settings(targets=["q_proj"]))) == {"learning_rate", "rank"}
    point = {"learning_rate": 0.001, "targets": "mlp", "rank": 16}
    chosen = with_point(settings(rank=8, alpha=16.0), point)
    assert (chosen.alpha, chosen.rank, chosen.rate) == (32.0, 16, 0.001)
    assert chosen.targets == ["gate_proj", "up_proj", "down_proj"]
