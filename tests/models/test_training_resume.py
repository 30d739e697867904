"""A training that is killed, or whose checkpoint is damaged, ends as if nothing had happened."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from excerpts import excerpt
from so8t.config.schema import Finetune
from so8t.errors import Interrupted, TrainingDiverged
from so8t.examples import quickstart
from so8t.models.checkpoint_size import checkpoint_bytes
from so8t.models.checkpoints import CheckpointStore
from so8t.models.finetune import finetune, finetune_in_child, remove_checkpoints

if TYPE_CHECKING:
    from pathlib import Path

BASE = quickstart.paths().base
STEPS = 14
# `finetune_in_child` in a process of its own, which a test can kill with its child.
DRIVER = """
import json, sys
from pathlib import Path
from so8t.config.schema import Finetune
from so8t.models.finetune import finetune_in_child
base, out, workspace, settings = sys.argv[1:]
events = []
result = finetune_in_child(
    Path(base), Path(out), Finetune.model_validate_json(settings), workspace=Path(workspace),
    progress=lambda _: None, note=lambda kind, data: events.append([kind, data]))
print(json.dumps({"result": result.asdict(), "events": events}))
"""


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Some of the quickstart's conversations."""
    return excerpt(tmp_path_factory.mktemp("data"), "train.jsonl", 160)


def settings(train, **changes):
    plain = {"data": [train], "steps": STEPS, "batch_size": 4, "warmup_steps": 2, "threads": 1}
    plain |= {"targets": ["q_proj", "down_proj"], "max_length": 96, "checkpoint_interval": 0}
    return Finetune(**{**plain, **changes})


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()


def run(base, out, workspace, chosen):
    """Train with checkpoints in this process; return the result and the events."""
    events = []
    result = finetune(
        base,
        out,
        chosen,
        progress=lambda _: None,
        note=lambda kind, data: events.append((kind, data)),
        checkpoints=workspace,
    )
    return result, events


def cut(base, workspace, chosen, steps):
    """Train as far as `steps`, and leave the checkpoints as a kill would."""

    class Enough(Exception):
        pass

    def stop(state):
        if state.step >= steps:
            raise Enough

    with pytest.raises(Enough):
        finetune(base, workspace / "none", chosen, progress=stop, checkpoints=workspace)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is Unix's own")
@pytest.mark.parametrize("method", ["so8", "lora"])
def test_killed_at_random_moments_it_ends_in_the_same_bits(tmp_path, train, method):
    """SIGKILL again and again, also while a checkpoint is written: equal weights and losses."""
    dropout = 0.1 if method == "lora" else 0.0
    chosen = settings(train, method=method, dropout=dropout, rank=4)
    whole, _ = run(BASE, tmp_path / "whole", tmp_path / "w", chosen)
    seed = random.SystemRandom().randrange(2**32)
    dice = random.Random(seed)
    out, workspace = tmp_path / "b", tmp_path / "work"
    arguments = [str(BASE), str(out), str(workspace), chosen.model_dump_json()]
    kills, answer = 0, None
    while answer is None:
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, *arguments], stdout=subprocess.PIPE, text=True
        )
        before = steps_in(workspace)
        until = time.monotonic() + 120
        # A kill while torch is imported proves nothing: wait until it has taken a step or two.
        while process.poll() is None and steps_in(workspace) < before + 1:
            assert time.monotonic() < until
            time.sleep(0.005)
        if kills < (5 if method == "so8" else 2):
            time.sleep(0.15 * dice.random())
            process.kill()
            kills += 1
            process.communicate()
        else:
            answer, _ = process.communicate(timeout=300)
            assert process.returncode == 0
    found = json.loads(answer)
    assert weights(out) == weights(tmp_path / "whole"), f"seed {seed}"
    for name in ("held_out_loss_before", "held_out_loss_after", "loss_curve", "merge_error"):
        assert found["result"][name] == json.loads(json.dumps(whole.asdict()))[name], f"seed {seed}"
    assert found["result"]["resumed_from"] or kills == 0
    assert found["events"][0][0] == "training_resumed"
    remove_checkpoints(workspace)
    assert list(workspace.iterdir()) == []


@pytest.mark.parametrize("method", ["so8", "lora"])
def test_the_room_for_checkpoints_is_known_before(tmp_path, train, method):
    """What a plan counts holds all that lie there at once, and little more than that."""
    chosen = settings(train, method=method, rank=64, checkpoints_kept=3)
    cut(BASE, tmp_path, chosen, 6)
    sizes = [
        sum(file.stat().st_size for file in folder.iterdir())
        for folder in tmp_path.glob("*/step-*")
    ]
    assert len(sizes) == 3
    slack = 4 << 20  # of random states and counted losses, a megabyte a checkpoint
    most = 4 * max(sizes)  # one more than is kept, while the newest is written
    assert most <= checkpoint_bytes(BASE, chosen, thinks=False) <= most + slack


def test_other_rules_for_the_data_that_leave_it_alone_keep_a_checkpoint(tmp_path, train):
    """What counts is the examples: a rule that changes none of them loses no step."""
    cut(BASE, tmp_path / "work", settings(train), 6)
    chosen = settings(train, safety_data=[train], checkpoints_kept=2, memory_limit_gb=100)
    _, events = run(BASE, tmp_path / "b", tmp_path / "work", chosen)
    assert [kind for kind, _ in events] == ["training_resumed"]


def steps_in(workspace: Path) -> int:
    return max((int(f.name[5:]) for f in workspace.glob("checkpoints/*/step-*")), default=0)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json", "digests.json"])
@pytest.mark.parametrize("harm", ["flipped", "truncated", "missing"])
def test_a_damaged_checkpoint_is_never_read(tmp_path, file, harm):
    """A flipped byte, a cut or an absent file: the one before is taken, and it is said."""
    store = CheckpointStore(tmp_path, "sha256:" + "0" * 64, kept=3)
    for step in (1, 2, 3, 4):
        store.save(step, {"step": step}, {"x": torch.full((64,), float(step))})
    folders = sorted(tmp_path.glob("*/step-*"))
    assert [folder.name for folder in folders] == [f"step-{step:09d}" for step in (2, 3, 4)]
    path = folders[-1] / file
    if harm == "flipped":
        flip(path)
    elif harm == "truncated":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        path.unlink()
    said = []
    found = store.newest(lambda *words: said.append(words))
    assert (found.step, found.state) == (3, {"step": 3})
    assert torch.equal(found.tensors["x"], torch.full((64,), 3.0))
    assert [name for name, _ in said] == ["step-000000004"]


def test_a_training_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path, train):
    """With its newest checkpoint damaged, a training still ends in the same bits, and says so."""
    chosen = settings(train)
    run(BASE, tmp_path / "whole", None, chosen)
    cut(BASE, tmp_path / "work", chosen, 6)
    newest = max((tmp_path / "work").glob("*/step-*"))
    flip(newest / "tensors.safetensors")
    result, events = run(BASE, tmp_path / "b", tmp_path / "work", chosen)
    assert weights(tmp_path / "b") == weights(tmp_path / "whole")
    assert [kind for kind, _ in events] == ["checkpoint_skipped", "training_resumed"]
    assert events[0][1]["checkpoint"] == newest.name
    assert result.resumed_from == [int(newest.name[5:]) - 1]


def test_a_resumed_training_measures_its_rotations(tmp_path, train):
    """What is recorded of the blocks and the merge is there after a resume, and equal."""
    chosen = settings(train)
    whole, _ = run(BASE, tmp_path / "whole", None, chosen)
    cut(BASE, tmp_path / "work", chosen, 9)
    resumed, _ = run(BASE, tmp_path / "b", tmp_path / "work", chosen)
    for name in ("orthogonality_error", "determinant_min", "largest_angle_degrees", "merge_error"):
        assert getattr(resumed, name) == getattr(whole, name)
    assert resumed.orthogonality_error < 5e-6
    assert resumed.steps_done == STEPS


def test_other_data_begins_anew(tmp_path, train):
    """A checkpoint of other data, settings or base is not gone on from, and that is said."""
    cut(BASE, tmp_path / "work", settings(train), 3)
    chosen = settings(train, seed=2, steps=3)
    result, events = run(BASE, tmp_path / "b", tmp_path / "work", chosen)
    assert result.resumed_from == []
    assert [kind for kind, _ in events] == ["checkpoint_skipped"]


@pytest.mark.slow
def test_a_stop_writes_a_checkpoint_first(tmp_path, train):
    """When the run is to stop, nothing is lost, however long the checkpoint interval is."""
    chosen = settings(train, checkpoint_interval=3600, steps=4000)
    seen = []

    def poll():
        if seen and seen[-1].step > 2:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        finetune_in_child(
            BASE,
            tmp_path / "b",
            chosen,
            progress=seen.append,
            workspace=tmp_path / "work",
            poll=poll,
        )
    assert steps_in(tmp_path / "work") >= seen[-1].step
    assert not (tmp_path / "b").exists()


def test_a_training_that_diverges_keeps_its_last_good_checkpoint(tmp_path, train):
    """A loss that becomes no number stops the training: step, what is kept, no B, next command."""
    chosen = settings(
        train, method="lora", learning_rate=1e18, warmup_steps=0, checkpoint_interval=3600
    )
    with pytest.raises(TrainingDiverged, match=r"at step \d+ of 14; nothing was written") as caught:
        run(BASE, tmp_path / "b", tmp_path / "work", chosen)
    assert "same command again" in caught.value.hint
    assert not (tmp_path / "b").exists()
    for folder in (tmp_path / "work").glob("*/step-*"):
        assert str(int(folder.name[5:])) in caught.value.saved
        for tensor in load_file(folder / "tensors.safetensors").values():
            assert bool(torch.isfinite(tensor.float()).all())


def test_a_base_that_breaks_on_the_way_is_noticed(tmp_path, train):
    """A weight that is no number is found before the first step."""
    broken = tmp_path / "broken"
    shutil.copytree(BASE, broken)
    tensors = load_file(broken / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingDiverged, match="before any step"):
        run(broken, tmp_path / "b", tmp_path / "work", settings(train))
