from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from excerpts import excerpt
from so8t.config.schema import Finetune
from so8t.errors import DataError, ModelError, TrainingError
from so8t.examples import quickstart
from so8t.models.finetune import finetune, finetune_in_child

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.models.training_records import TrainingProgress


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """A fifth of the quickstart's conversations."""
    return excerpt(tmp_path_factory.mktemp("data"), "train.jsonl", 600)


@pytest.fixture
def base():
    return quickstart.paths().base


def settings(train, **changes):
    plain = {"data": [train], "steps": 6, "batch_size": 8, "warmup_steps": 2, "threads": 1}
    return Finetune(**{**plain, "max_length": 96, **changes})


def ignore(_: TrainingProgress) -> None:
    """Take no notice of progress."""


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.slow
def test_training_lowers_the_held_out_loss(tmp_path, base, train):
    """Forty steps lower the loss on conversations that were not trained on, and it is reported."""
    states: list[TrainingProgress] = []
    result = finetune(
        base, tmp_path / "b", settings(train, steps=40, batch_size=16), progress=states.append
    )
    assert result.held_out_loss_after < 0.9 * result.held_out_loss_before
    assert (result.steps_done, result.stopped_by) == (40, "steps")
    assert result.conversations + result.held_out_conversations == 600
    assert result.tokens > 40 * 16 * 10
    assert result.trainable_parameters == 28 * result.blocks
    assert result.orthogonality_error < 5e-6
    assert 1 - 1e-5 < result.determinant_min <= result.determinant_max < 1 + 1e-5
    assert 0.1 < result.largest_angle_degrees < 180
    assert result.merge_error < 1e-3
    assert result.rounding_error < 0.5
    assert set(result.data_digests) == {str(train)}
    assert json.loads(json.dumps(result.asdict())) == result.asdict()
    stages = [state.stage for state in states]
    assert stages[0] == "loading"
    assert stages[-1] == "writing"
    assert "training" in stages


def test_b_is_an_ordinary_directory_like_a(tmp_path, base, train):
    """B has A's files, tensors, shapes and dtypes; only the targets' weights differ."""
    finetune(base, tmp_path / "b", settings(train, targets=["q_proj"]), progress=ignore)
    assert names(tmp_path / "b") == names(base)
    a, b = load_file(base / "model.safetensors"), load_file(tmp_path / "b" / "model.safetensors")
    assert {n: (t.shape, t.dtype) for n, t in a.items()} == {
        n: (t.shape, t.dtype) for n, t in b.items()
    }
    changed = {name for name in a if not torch.equal(a[name], b[name])}
    assert changed == {name for name in a if "q_proj" in name}
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (base / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_base_in_parts_stays_in_its_parts(tmp_path, base, train):
    """Shards, their index and bfloat16 are kept; a rotated layer is found in whichever shard."""
    sharded = tmp_path / "sharded"
    shutil.copytree(base, sharded)
    (sharded / "model.safetensors").unlink()
    tensors = {
        name: tensor.bfloat16() for name, tensor in load_file(base / "model.safetensors").items()
    }
    ordered = sorted(tensors)
    shards = {"model-1.safetensors": ordered[::2], "model-2.safetensors": ordered[1::2]}
    for file, keys in shards.items():
        save_file({key: tensors[key] for key in keys}, sharded / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {k: f for f, keys in shards.items() for k in keys}}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    result = finetune(
        sharded, tmp_path / "b", settings(train, targets=["down_proj"]), progress=ignore
    )
    assert result.dtype == "bfloat16"
    assert names(tmp_path / "b") == names(sharded)
    written = {
        key: (file, tensor)
        for file in shards
        for key, tensor in load_file(tmp_path / "b" / file).items()
    }
    assert {key: file for key, (file, _) in written.items()} == index["weight_map"]
    assert {tensor.dtype for _, tensor in written.values()} == {torch.bfloat16}
    changed = {key for key, (_, tensor) in written.items() if not torch.equal(tensor, tensors[key])}
    assert changed == {key for key in tensors if "down_proj" in key}


def test_zero_steps_give_the_base(tmp_path, base, train):
    """With steps = 0 every tensor of B is that of A, bit for bit."""
    result = finetune(base, tmp_path / "b", settings(train, steps=0), progress=ignore)
    a, b = load_file(base / "model.safetensors"), load_file(tmp_path / "b" / "model.safetensors")
    assert a.keys() == b.keys()
    assert all(torch.equal(a[n].view(torch.int16), b[n].view(torch.int16)) for n in a)
    assert result.held_out_loss_after == result.held_out_loss_before
    assert (result.steps_done, result.train_loss_first) == (0, None)
    assert (result.largest_angle_degrees, result.merge_error) == (0.0, 0.0)


@pytest.mark.slow
def test_two_processes_give_the_same_bits(tmp_path, base, train):
    """The same inputs and thread count give the same weights and losses, in any process."""
    chosen = settings(train)
    states: list[TrainingProgress] = []
    one = finetune_in_child(base, tmp_path / "one", chosen, progress=states.append)
    two = finetune(base, tmp_path / "two", chosen, progress=ignore)
    first, second = (tmp_path / name / "model.safetensors" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    assert one.held_out_loss_after == two.held_out_loss_after
    assert one.train_loss_last == two.train_loss_last
    assert states[0].stage == "loading"


@pytest.mark.slow
def test_errors_come_back_from_the_child_as_they_are(tmp_path, base):
    """An error in the training process is raised here with its class, message and hint."""
    bad = tmp_path / "bad.jsonl"
    bad.write_text("no json\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.jsonl:1: The line is no JSON") as caught:
        finetune_in_child(base, tmp_path / "b", settings(bad), progress=ignore)
    assert caught.value.hint
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_a_killed_child_is_a_retryable_error(tmp_path, base, train):
    """When the training process dies, a retryable TrainingError says so and no B is written."""

    def kill(state: TrainingProgress) -> None:
        if state.stage == "held-out loss":
            _kill_worker()

    with pytest.raises(TrainingError, match="did not finish") as caught:
        finetune_in_child(base, tmp_path / "b", settings(train, steps=10000), progress=kill)
    assert caught.value.retryable
    assert not (tmp_path / "b").exists()


def _kill_worker() -> None:
    import psutil  # noqa: PLC0415 - one test kills

    for child in psutil.Process().children():
        if "so8t.models.finetune_worker" in child.cmdline():
            child.kill()


def test_a_loss_that_is_no_number_writes_nothing(tmp_path, base, train):
    """A base with NaN in it ends in a TrainingError, and an earlier B stays as it was."""
    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    tensors = load_file(broken / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "earlier").write_text("kept")
    with pytest.raises(TrainingError, match="nothing was written") as caught:
        finetune(broken, tmp_path / "b", settings(train), progress=ignore)
    assert "base" in (caught.value.hint or "")
    assert names(tmp_path / "b") == ["earlier"]


def test_the_time_limit_is_said(tmp_path, base, train):
    """A training that its time limit ends still gives a whole B, and says what ended it."""
    limited = settings(train, steps=100000, max_seconds=0.5)
    result = finetune(base, tmp_path / "b", limited, progress=ignore)
    assert result.stopped_by == "max_seconds"
    assert 0 < result.steps_done < 100000
    assert names(tmp_path / "b") == names(base)


@pytest.mark.slow
def test_the_time_limit_is_that_of_the_whole_training(tmp_path, base, train):
    """Start, both measurements, steps and writing together end within the limit, also resumed."""
    limited = settings(train, steps=100000, max_seconds=30.0, checkpoint_interval=1.0)
    seen = []
    began = time.monotonic()
    result = finetune_in_child(
        base, tmp_path / "b", limited, progress=seen.append, workspace=tmp_path / "work"
    )
    took = time.monotonic() - began
    assert result.stopped_by == "max_seconds"
    assert result.steps_done > 1
    assert took < limited.max_seconds + 15  # the child's end, and a machine that is busy
    training = [at for at in seen if at.stage == "training"]
    assert training[-1].seconds <= limited.max_seconds
    # Every second of the first process counts for one that goes on from its checkpoint.
    again = finetune_in_child(
        base, tmp_path / "c", limited, progress=ignore, workspace=tmp_path / "work"
    )
    assert again.resumed_from
    assert again.steps_done <= result.steps_done + 2


def test_a_held_out_loss_that_takes_too_long_is_measured_on_fewer(tmp_path, base, train):
    """With next to no time the loss is of some of the held-out conversations, and that is said."""
    limited = settings(train, max_seconds=0.01, micro_batch=1, batch_size=1, held_out=0.49)
    result = finetune(base, tmp_path / "b", limited, progress=ignore)
    assert result.steps_done == 1
    assert 0 < result.held_out_measured < result.held_out_conversations


def test_a_tied_output_layer_is_not_trained_alone(tmp_path, base, train):
    """A tied lm_head among the targets is refused with the word for it, in every method."""
    tied = tmp_path / "tied"
    shutil.copytree(base, tied)
    config = json.loads((tied / "config.json").read_text())
    (tied / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    tensors = load_file(tied / "model.safetensors")
    tensors.pop("lm_head.weight", None)
    save_file(tensors, tied / "model.safetensors", metadata={"format": "pt"})
    for method in ("so8", "lora"):
        chosen = settings(train, method=method, targets=["lm_head"])
        with pytest.raises(ModelError, match="lm_head is tied to the embedding") as caught:
            finetune(tied, tmp_path / "b", chosen, progress=ignore)
        assert "targets" in caught.value.hint


def test_what_is_no_model_is_refused(tmp_path, base, train):
    """A directory without config, weights, or chat template is refused with a hint."""
    empty, bare, mute, torn = (tmp_path / name for name in ("empty", "bare", "mute", "torn"))
    empty.mkdir()
    shutil.copytree(base, bare)
    (bare / "model.safetensors").unlink()
    shutil.copytree(base, mute)
    config = json.loads((mute / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (mute / "tokenizer_config.json").write_text(json.dumps(config))
    shutil.copytree(base, torn)
    (torn / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes()[:5000])
    for folder, message in (
        (empty, r"config\.json is missing"),
        (bare, "holds no weights"),
        (mute, "no chat template"),
        (torn, "truncated"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            finetune(folder, tmp_path / "b", settings(train), progress=ignore)
        assert caught.value.hint
    assert not (tmp_path / "b").exists()


def test_settings_of_torch_are_put_back(tmp_path, base, train):
    """The thread count and the determinism of torch are afterwards what they were before."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    finetune(base, tmp_path / "b", settings(train, steps=1), progress=ignore)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
