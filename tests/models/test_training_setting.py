"""What a training takes can shrink and grow between steps; what it learns stays the same."""

from __future__ import annotations

import sys
import threading

import pytest
import torch
from safetensors.torch import load_file

from excerpts import excerpt
from so8t.config.schema import Finetune
from so8t.errors import PrerequisiteError, TrainingMemoryError
from so8t.examples import quickstart
from so8t.models.finetune import check_method, finetune, finetune_in_child
from so8t.models.training import train as train_with
from so8t.models.training_loop import Loop, RestartNeeded
from so8t.models.training_records import Surroundings
from so8t.models.training_setting import (
    Mailbox,
    TrainingControl,
    TrainingSetting,
    larger,
    setting_of,
    smaller,
)
from so8t.system.files import tree_digest

BASE = quickstart.paths().base


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Some of the quickstart's conversations."""
    return excerpt(tmp_path_factory.mktemp("data"), "train.jsonl", 160)


def settings(train, **changes):
    plain = {"data": [train], "steps": 8, "batch_size": 8, "warmup_steps": 2, "threads": 1}
    plain |= {"targets": ["q_proj", "down_proj"], "max_length": 96}
    return Finetune(**{**plain, **changes})


def loop_of(chosen, *, setting=None, box=None, work=None):
    around = Surroundings(
        lambda _: None, lambda *_: None, setting or setting_of(chosen), box or Mailbox(), work
    )
    return Loop(BASE, tree_digest(BASE), chosen, around)


def run(out, chosen):
    return finetune(BASE, out, chosen, progress=lambda _: None)


def ladder(setting, *, card=False):
    steps = [setting]
    while (after := smaller(steps[-1], card=card)) is not None:
        steps.append(after)
    return steps


def way_back(setting, full):
    steps = [setting]
    while (after := larger(steps[-1], full)) is not None:
        steps.append(after)
    return steps


def test_the_order_of_what_is_given_up():
    """Micro-batch by halves, then gradient checkpointing, then precision; and the same way back."""
    full = TrainingSetting(micro_batch=6)
    steps = ladder(full)
    assert not any(one.activation_offloading for one in steps)
    assert [one.micro_batch for one in steps] == [6, 3, 1, 1, 1]
    assert [one.gradient_checkpointing for one in steps] == [False, False, False, True, True]
    assert [one.precision for one in steps] == ["float32"] * 4 + ["bfloat16"]
    assert way_back(steps[-1], full)[-1] == full
    assert smaller(full, loading=True) == TrainingSetting(micro_batch=6, precision="bfloat16")


def test_a_full_card_is_relieved_by_the_machine_before_b_changes():
    """Offloading comes after checkpointing and before precision, and is the second to come back."""
    full = TrainingSetting(micro_batch=2)
    steps = ladder(full, card=True)
    assert [one.gradient_checkpointing for one in steps] == [False, False, True, True, True]
    assert [one.activation_offloading for one in steps] == [False, False, False, True, True]
    assert [one.precision for one in steps] == ["float32"] * 4 + ["bfloat16"]
    assert way_back(steps[-1], full) == steps[::-1]
    assert smaller(full, loading=True, card=True) == smaller(full, loading=True)


def test_a_full_machine_gets_back_what_was_offloaded_to_it():
    """Where the machine's memory is short nothing goes there, and what was there goes."""
    offloading = TrainingSetting(1, gradient_checkpointing=True, activation_offloading=True)
    (_, last) = ladder(offloading)
    assert (last.precision, last.activation_offloading) == ("bfloat16", False)
    # A card that has no room for that moves it once more; a machine that has none ends it.
    again = smaller(last, card=True)
    assert again is not None
    assert again.activation_offloading
    assert smaller(again) is None
    # What the config asks for, or a card once had no room without, comes back with the precision.
    assert larger(last, offloading) == offloading


def test_a_card_is_no_reason_to_lower_a_training_on_the_cpu():
    """A full card lowers only what says that it computes on one."""
    full = TrainingSetting(micro_batch=4)
    control = TrainingControl(full)
    assert not control.lower("memory_full", card=True)
    control.computes_on("cpu")
    assert not control.lower("memory_full", card=True)
    assert control.setting == full
    control.computes_on("cuda")
    assert control.lower("memory_full", card=True)
    assert control.setting.micro_batch == 2


def test_what_ran_out_of_memory_is_not_restored():
    """After an out-of-memory error `restore` goes back to what held, and no further."""
    control = TrainingControl(TrainingSetting(micro_batch=8))
    assert control.out_of_memory(loading=False) == TrainingSetting(micro_batch=4)
    assert control.lower("others need it")
    assert control.setting.micro_batch == 2
    assert control.restore("they are gone")
    assert not control.restore("more?")
    assert control.setting.micro_batch == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"micro_batch": 3},
        {"micro_batch": 1},
        {"gradient_checkpointing": True},
        {"micro_batch": 2, "gradient_checkpointing": True, "pet": True},
        {"packing": True, "pet": True},
    ],
    ids=str,
)
def test_the_loss_curve_stays(tmp_path, train, change):
    """Smaller micro-batches, checkpointing and packing change the last bits of a loss at most."""
    plain = {"pet": change.get("pet", False)}
    whole = run(tmp_path / "whole", settings(train, **plain))
    parts = run(tmp_path / "parts", settings(train, **change))
    curve, other = torch.tensor(whole.loss_curve), torch.tensor(parts.loss_curve)
    assert torch.allclose(curve, other, rtol=2e-4, atol=0)
    assert whole.held_out_loss_after == pytest.approx(parts.held_out_loss_after, rel=2e-4)
    for name, tensor in load_file(tmp_path / "whole" / "model.safetensors").items():
        same = load_file(tmp_path / "parts" / "model.safetensors")[name]
        assert torch.allclose(tensor.float(), same.float(), atol=2e-3)


@pytest.mark.parametrize("micro_batch", [3, 1])
def test_a_micro_batch_is_all_that_is_read_at_once(train, micro_batch):
    """A step reads its whole batch, in parts of no more conversations than the setting says."""
    loop = loop_of(settings(train, micro_batch=micro_batch))
    sizes = []
    loop.model.register_forward_pre_hook(
        lambda _model, _args, named: sizes.append(named["input_ids"].shape[0]), with_kwargs=True
    )
    loop.step(loop.training[:8])
    assert max(sizes) == micro_batch
    assert sum(sizes) == loop.settings.batch_size == 8


def test_lower_precision_loads_the_base_again_in_half_the_bytes(tmp_path, train):
    """Asked for between two steps: a checkpoint, the frozen base in bfloat16, the same course.

    What is trained stays in float32, bit for bit what it was; the losses go on nearly the same.
    """
    box, chosen = Mailbox(), settings(train, checkpoint_interval=3600)

    first = loop_of(chosen, box=box, work=tmp_path)
    first.step(first.training[:8])
    box.put(TrainingSetting(micro_batch=8, precision="bfloat16"), "memory at 93 %")
    with pytest.raises(RestartNeeded) as again:
        first.fit()
    second = loop_of(chosen, setting=again.value.setting, work=tmp_path)
    frozen = [
        [one for one in loop.model.parameters() if not one.requires_grad]
        for loop in (first, second)
    ]
    assert {one.dtype for one in frozen[1]} == {torch.bfloat16}
    assert 2 * sum(one.nbytes for one in frozen[1]) == sum(one.nbytes for one in frozen[0])
    assert second.course.step == first.course.step == 1
    for name, one in second.method.parameters.items():
        assert one.dtype == torch.float32
        assert torch.equal(one, first.method.parameters[name])
    for loop in (first, second):
        loop.step(loop.training[8:16])
    assert second.course.losses[1] != first.course.losses[1]
    assert second.course.losses == pytest.approx(first.course.losses, rel=0.02)


def test_gradient_checkpointing_really_computes_twice(train):
    """With it a layer runs twice a step, and what is inside it stays in evaluation mode."""
    for on, times in ((False, 1), (True, 2)):
        loop = loop_of(settings(train, gradient_checkpointing=on))
        ran = []
        loop.model.model.layers[0].mlp.register_forward_pre_hook(lambda *_, ran=ran: ran.append(1))
        loop.step(loop.training[:8])
        assert len(ran) == times
        assert not loop.model.model.layers[0].mlp.training


def test_a_change_between_steps_is_recorded_and_takes_effect(tmp_path, train):
    """A request is followed before the next step; reason, before, after and effect are events."""
    chosen = settings(train, steps=12)
    box, events = Mailbox(), []

    def progress(state):
        if state.stage == "held-out loss" and state.step == 0:
            box.put(TrainingSetting(micro_batch=2, precision="bfloat16"), "memory at 93 %")

    around = Surroundings(
        progress,
        lambda kind, data: events.append((kind, data)),
        setting_of(chosen),
        box,
        tmp_path / "work",
    )
    result = train_with(BASE, tmp_path / "b", chosen, around)
    kinds = [kind for kind, _ in events]
    assert kinds[0] == "training_setting"
    assert events[0][1]["reason"] == "memory at 93 %"
    assert events[0][1]["before"]["micro_batch"] == 8
    assert events[0][1]["after"]["micro_batch"] == 2
    assert result.setting["precision"] == "bfloat16"
    assert result.steps_done == 12
    assert result.held_out_loss_after < result.held_out_loss_before


@pytest.mark.slow
def test_a_paused_training_waits_and_goes_on(tmp_path, train):
    """A pause from another thread stops the steps; going on takes the rest of them."""
    chosen = settings(train, steps=60)
    control, events, seen = TrainingControl(setting_of(chosen)), [], []
    timer = threading.Timer(2.0, lambda: control.go_on("the machine is free again"))

    def progress(state):
        seen.append(state)
        if state.stage == "held-out loss" and not control.setting.paused and not events:
            control.pause("somebody works here")

    def note(kind, data):
        events.append((kind, data))
        if data.get("after", {}).get("paused"):
            timer.start()

    result = finetune_in_child(
        BASE,
        tmp_path / "b",
        chosen,
        progress=progress,
        note=note,
        workspace=tmp_path / "work",
        control=control,
    )
    changes = [data for kind, data in events if kind == "training_setting"]
    assert [data["after"]["paused"] for data in changes] == [True, False]
    assert changes[0]["step"] == changes[1]["step"] < 60
    assert result.steps_done == 60
    assert result.seconds - result.training_seconds > 1.9


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts memory on Linux only")
def test_out_of_memory_takes_the_next_smaller_setting(tmp_path, train):
    """A process whose memory really runs out is followed by one that takes less, and it is told."""
    events = []
    long = settings(train, steps=2, batch_size=64, memory_limit_gb=0.6)
    result = finetune_in_child(
        BASE,
        tmp_path / "b",
        long,
        progress=lambda _: None,
        note=lambda kind, data: events.append((kind, data)),
        workspace=tmp_path / "work",
    )
    assert result.steps_done == 2
    changes = [data for kind, data in events if kind == "training_setting"]
    assert changes
    for data in changes:
        assert data["reason"] == "out_of_memory"
        assert data["after"] == smaller(TrainingSetting(**data["before"])).asdict()
    assert changes[0]["before"]["micro_batch"] == 64
    assert result.setting == changes[-1]["after"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts memory on Linux only")
def test_too_little_memory_for_the_smallest_setting_is_said_in_numbers(tmp_path, train):
    """Where nothing smaller is left, the error names the setting and the bytes; no B is written."""
    tight = settings(train, memory_limit_gb=0.2, micro_batch=1, precision="bfloat16", steps=1)
    tight = tight.model_copy(update={"gradient_checkpointing": True})
    with pytest.raises(TrainingMemoryError, match="This was the smallest setting") as caught:
        finetune_in_child(BASE, tmp_path / "b", tight, progress=lambda _: None)
    assert caught.value.hint
    assert not (tmp_path / "b").exists()


def test_qlora_needs_a_gpu_and_bitsandbytes(train):
    """Where either is missing, both are named before anything starts."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(PrerequisiteError, match="needs CUDA and bitsandbytes") as caught:
        check_method(settings(train, method="qlora"))
    assert "method: lora" in caught.value.hint
