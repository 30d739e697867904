"""Activations that wait in the machine's memory change no bit, and give a card's memory back.

There is no card here. The second device (`second_device.py`) is one that torch takes for another
place than the CPU: copies to it and from it are real copies, and its memory has an end.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from so8t.config.schema import Finetune
from so8t.examples import quickstart
from so8t.journal.store import Journal
from so8t.models.finetune import finetune, finetune_in_child
from so8t.models.training_offload import SMALLEST, ActivationOffload

HERE = Path(__file__).parent
OF_THE_BASE, LAYERS = 4, 6
SHORT, LONG = 130, 400  # words; a word is a token


def write_base(out: Path) -> None:
    """Write the quickstart's base with some of its layers twice: more of them to remember."""
    base = quickstart.paths().base
    shutil.copytree(base, out)
    tensors = load_file(base / "model.safetensors")
    for name in list(tensors):
        if found := re.fullmatch(r"(model\.layers\.)(\d+)(\..*)", name):
            head, number, tail = found.groups()
            if (twin := int(number) + OF_THE_BASE) < LAYERS:
                tensors[f"{head}{twin}{tail}"] = tensors[name].clone()
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((out / "config.json").read_text("utf-8"))
    (out / "config.json").write_text(json.dumps(config | {"num_hidden_layers": LAYERS}), "utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A base and training data: short conversations, and a long one."""
    folder = tmp_path_factory.mktemp("offload")
    write_base(folder / "base")
    lines = quickstart.paths().train.read_text(encoding="utf-8").splitlines()[:24]
    rows = [json.loads(line) for line in lines]
    for number, row in enumerate(rows):
        row["messages"][-1]["content"] += " and" * (LONG if number == 0 else SHORT)
    (folder / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return folder


def settings(place, **changes):
    plain = {"data": [str(place / "train.jsonl")], "batch_size": 1, "warmup_steps": 2, "threads": 1}
    plain |= {"targets": ["q_proj", "down_proj"], "max_length": 480, "checkpoint_interval": 0}
    # With this seed the long conversation comes in the last step.
    plain |= {"gradient_checkpointing": True, "steps": 3, "seed": 50}
    return plain | changes


@pytest.fixture
def second_device(monkeypatch):
    """Let child processes find the second device; returns how to limit its memory."""
    known = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *([known] if known else [])]))
    return lambda size: monkeypatch.setenv("SECOND_DEVICE_BYTES", str(size))


@pytest.fixture(scope="module")
def found(place):
    """What `offload_child` found."""
    job = {"base": str(place / "base"), "settings": settings(place)}
    (place / "job.json").write_text(json.dumps(job), "utf-8")
    command = [sys.executable, HERE / "offload_child.py", place / "job.json", place]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((place / "found.json").read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("without", "with_it"),
    [("kept", "offloaded"), ("checkpointed", "both"), ("lora", "lora offloaded")],
)
def test_no_bit_changes_and_the_peak_falls(found, without, with_it):
    """Losses and weights are equal to the last bit; the peak falls, and nothing is left behind.

    What was moved are the copies that the device saw leave it, no parameter among them.
    """
    plain, moved = found["steps"][without], found["steps"][with_it]
    assert moved["loss"] == plain["loss"]
    assert moved["learnt"] == plain["learnt"]
    assert moved["peak"] < plain["peak"]
    assert moved["after"] == plain["after"]
    assert plain["left"] == {"tensors": 0, "bytes": 0, "parameters": 0}
    assert moved["left"] == moved["counted"] | {"parameters": 0}
    assert moved["left"]["tensors"] >= LAYERS
    assert moved["left"]["bytes"] > plain["peak"] - moved["peak"]


def test_asked_for_between_two_steps_it_is_recorded_with_what_it_moved(found, place):
    """On the balancer's request it begins before the next step; the event says what was moved."""
    (changed, data), (observed, effect) = found["asked"]["notes"]
    assert (changed, observed) == ("training_setting", "training_setting_observed")
    assert (data["reason"], data["step"]) == ("memory_full", 0)
    assert data["after"] == data["before"] | {"activation_offloading": True}
    assert effect["offloaded_bytes"] > LAYERS * SMALLEST
    assert found["asked"]["result"]["setting"]["activation_offloading"]
    assert found["asked"]["result"]["loss_curve"] == found["plain"]["result"]["loss_curve"]
    assert weights(place / "asked") == weights(place / "plain")


@pytest.mark.slow
def test_a_full_card_takes_this_rung_and_goes_on_from_the_checkpoint(
    tmp_path, found, place, second_device
):
    """Out of memory in the third step: offloaded, resumed after the second, and the same B."""
    enough = found["steps"]["both"]["peak"]
    too_much = found["steps"]["checkpointed"]["peak"]
    second_device((enough + too_much) // 2)
    with Journal(tmp_path / "run") as journal:
        journal.create_run("offload", {}, "0")
        result = finetune_in_child(
            place / "base",
            tmp_path / "b",
            Finetune(**settings(place)),
            progress=lambda _: None,
            note=lambda kind, data: journal.event(kind, **data),
            workspace=tmp_path / "work",
            worker="second_device_worker",
        )
        (change,) = [event.data for event in journal.events("training_setting")]
        (resumed,) = [event.data for event in journal.events("training_resumed")]
        assert journal.verify()
    assert change["reason"] == "out_of_memory"
    assert change["after"] == change["before"] | {"activation_offloading": True}
    assert resumed["step"] == 2
    assert result.resumed_from == [2]
    assert result.setting["activation_offloading"]
    assert [list(point) for point in result.loss_curve] == found["plain"]["result"]["loss_curve"]
    # A child of its own may lay its tensors elsewhere in memory: on some processors a sum then ends
    # in another last bit.
    made, plain = (
        load_file(out / "model.safetensors") for out in (tmp_path / "b", place / "plain")
    )
    assert made.keys() == plain.keys()
    for name, values in made.items():
        torch.testing.assert_close(values, plain[name], rtol=1e-3, atol=1e-4)


def test_what_is_not_moved_keeps_nothing_alive():
    """A tensor that stays is let go with its graph, also where no backward pass frees it."""
    one = torch.ones(3, requires_grad=True)
    with ActivationOffload([]):
        result = one.exp()  # saves its own result
    alive = weakref.ref(result)
    del result
    assert alive() is None


def test_on_the_cpu_there_is_nothing_to_offload(tmp_path, place):
    """A config that asks for it and meets a CPU is told so, and the result says "off"."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    notes = []
    result = finetune(
        quickstart.paths().base,
        tmp_path / "b",
        Finetune(**settings(place, activation_offloading=True, steps=0)),
        progress=lambda _: None,
        note=lambda kind, data: notes.append((kind, data)),
    )
    ((kind, data),) = notes
    assert kind == "training_setting"
    assert data["reason"] == "no_card"
    assert not result.setting["activation_offloading"]


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()
