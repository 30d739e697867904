"""The balancer's steps reach a training, and a killed run goes on within it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tiny_run import ENVIRONMENT, command, run, run_directory, write_config

from so8t.config.machine_section import Resources, Thresholds
from so8t.domain.events import EventKind
from so8t.journal.store import Journal
from so8t.models.training_setting import TrainingControl, TrainingSetting
from so8t.pipeline.prepare.training_balance import TrainingBalance, pass_on
from so8t.pipeline.selftest.killing import outcome
from so8t.resources.balancer import Adjustment, ResourceBalancer
from so8t.resources.readings import Gpu, ResourceSample

if TYPE_CHECKING:
    from pathlib import Path


class Recording:
    """Plays recorded shares of memory in use, five seconds apart; the last one for ever."""

    def __init__(self, *memory: float, cpu_others: float = 0.0) -> None:
        self.memory, self.cpu_others, self.taken = memory, cpu_others, 0

    def read(self, level: int | None = None) -> ResourceSample:
        share = self.memory[min(self.taken, len(self.memory) - 1)]
        self.taken += 1
        at = 5.0 * self.taken
        return ResourceSample(
            at=at, monotonic=at, level=level, memory=share, cpu_others=self.cpu_others
        )

    def close(self) -> None:
        """Nothing is held."""


def test_full_memory_shrinks_pauses_and_restores_a_training():
    """What the policy decides of recorded memory, the training's setting follows, with reasons."""
    full = TrainingSetting(micro_batch=8)
    control, told, seen = TrainingControl(full), [], [full]
    recording = Recording(*[0.94] * 3, *[0.98] * 8, *[0.3] * 300)
    balancer = ResourceBalancer(Resources(), sensors=recording, most=4)
    balance = TrainingBalance(balancer, control, lambda kind, **data: told.append((kind, data)))
    for _ in range(300):
        balancer.adjust_resources()
        balance.follow()
        if seen[-1] != control.setting:
            seen.append(control.setting)
    assert seen[1].micro_batch < 8
    assert any(setting.paused for setting in seen)
    assert seen[-1] == full
    assert {kind for kind, _ in told} == {EventKind.TRAINING_SETTING_ASKED}
    assert all(data["reason"] and data["before"] != data["after"] for _, data in told)


def test_work_of_others_leaves_a_training_as_it_is():
    """A busy CPU changes no micro-batch, and so no bit of B; a pause pauses it all the same."""
    full = TrainingSetting(micro_batch=8)
    control = TrainingControl(full)
    sample = ResourceSample(at=5.0, monotonic=5.0, level=8)
    pass_on(Adjustment("others_work", 8, 1, 0, sample), control, Thresholds())
    assert control.setting == full
    pass_on(Adjustment("quiet_hours", 1, 0, 0, sample), control, Thresholds())
    assert control.setting.paused
    pass_on(Adjustment("resumed", 0, 1, 0, sample), control, Thresholds())
    assert control.setting == full


def test_where_nothing_changes_nothing_is_told():
    """Others at work while B is trained: no event speaks of answers, which are not in flight."""
    told = []
    busy = Recording(0.3, cpu_others=0.9)
    balancer = ResourceBalancer(Resources(), sensors=busy, most=8)
    control = TrainingControl(TrainingSetting(micro_batch=8))
    balance = TrainingBalance(balancer, control, lambda kind, **data: told.append((kind, data)))
    for _ in range(20):
        balancer.adjust_resources()
        balance.follow()
    assert balancer.level == 1
    assert balancer.lowered_by.reason == "others_work"  # for the benchmark, which will say so
    assert told == []


@pytest.mark.parametrize(
    ("reason", "memory", "card", "offloading", "precision"),
    [
        ("memory_full", 0.5, 0.94, True, "float32"),
        ("memory_full", None, 0.94, True, "float32"),
        ("memory_full", 0.97, 0.94, False, "bfloat16"),
        ("memory_full", 0.94, None, False, "bfloat16"),
        ("memory_pressure", 0.5, 0.94, False, "bfloat16"),
    ],
)
def test_activations_go_to_the_machine_only_where_the_card_is_what_is_full(
    reason, memory, card, offloading, precision
):
    """The machine's memory is not filled to relieve a card when it is itself the fuller one."""
    control = TrainingControl(TrainingSetting(micro_batch=1, gradient_checkpointing=True))
    control.computes_on("cuda")
    used = None if card is None else round(card * 1000)
    gpus = (Gpu(0, memory_used=used, memory_total=1000),)
    sample = ResourceSample(at=5.0, monotonic=5.0, level=8, memory=memory, gpus=gpus)
    pass_on(Adjustment(reason, 8, 4, 0, sample), control, Thresholds())
    assert control.setting.activation_offloading is offloading
    assert control.setting.precision == precision


def checkpoints(config: Path) -> int:
    found = run_directory(config).glob("artifacts/b/checkpoints/*/step-*")
    return max((int(folder.name[5:]) for folder in found), default=0)


def start(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(config), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=ENVIRONMENT
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is Unix's own")
def test_a_run_killed_in_phase_2_goes_on_from_its_checkpoint(tmp_path):
    """SIGKILL and SIGTERM in the fine-tuning: the next starts resume it, and B is the same."""

    def make(directory: Path) -> Path:
        path = write_config(directory, questions=16, steps=60)
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("threads: 1}", "threads: 1, checkpoint_interval: 0}", 1))
        return path

    whole, config = make(tmp_path / "whole"), make(tmp_path / "killed")
    assert run(whole).returncode == 0
    for number in (signal.SIGKILL, signal.SIGTERM):
        before = checkpoints(config)
        with start(config) as process:
            until = time.monotonic() + 240
            while checkpoints(config) < before + 5:
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.01)
            process.send_signal(number)
    assert run(config).returncode == 0
    assert outcome(run_directory(config))["models"] == outcome(run_directory(whole))["models"]
    with Journal(run_directory(config), readonly=True) as journal:
        resumed = [event.data["step"] for event in journal.events("training_resumed")]
        training = journal.phase(journal.phases()[-1].phase)
    assert len(resumed) == 2
    assert 5 <= resumed[0] < resumed[1] <= 60
    assert training.state == "done"
    assert not (run_directory(config) / "artifacts" / "b" / "checkpoints").exists()
    page = next(run_directory(config).glob("*.html")).read_text(encoding="utf-8")
    assert f"went on from its checkpoint at step {resumed[0]} of 60" in page
