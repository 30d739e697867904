"""Trains on the second device with and without offloading: python offload_child.py JOB OUT.

The job is {"base", "settings"}. OUT/found.json has what each way of training took, learnt and moved
in one step on the longest conversation, and what two whole trainings did.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import second_device
import torch
from second_device import MEMORY

from so8t.config.schema import Finetune
from so8t.models.training import train
from so8t.models.training_loop import Loop
from so8t.models.training_records import Surroundings, TrainingProgress
from so8t.models.training_setting import Mailbox, setting_of, smaller

WAYS = {
    "kept": {"gradient_checkpointing": False},
    "offloaded": {"gradient_checkpointing": False, "activation_offloading": True},
    "checkpointed": {},
    "both": {"activation_offloading": True},
    "lora": {"method": "lora"},
    "lora offloaded": {"method": "lora", "activation_offloading": True},
}


def one_step(base: Path, chosen: Finetune) -> dict[str, Any]:
    """Take a step on the longest conversation, and tell what it took."""
    torch.manual_seed(1)
    around = Surroundings(lambda _: None, lambda *_: None, setting_of(chosen))
    loop = Loop(base, "sha256:0", second_device.placed(chosen), around)
    MEMORY.peak = MEMORY.used
    MEMORY.left.clear()
    loop.step([max(loop.training, key=lambda example: len(example.ids))])
    peak, after, left = MEMORY.peak, MEMORY.used, MEMORY.left.copy()
    staying = {one.untyped_storage().data_ptr() for one in loop.model.parameters()}
    learnt = hashlib.sha256()
    for one in loop.method.parameters.values():
        learnt.update(one.detach().cpu().numpy().tobytes())
    return {
        "loss": loop.course.losses,
        "learnt": learnt.hexdigest(),
        "peak": peak,
        "after": after,
        "counted": {"tensors": loop.offload.tensors, "bytes": loop.offload.nbytes},
        "left": {
            "tensors": len(left),
            "bytes": sum(size for _, size in left),
            "parameters": sum(address in staying for address, _ in left),
        },
    }


def curve(base: Path, out: Path, chosen: Finetune, *, offload: bool) -> dict[str, Any]:
    """Train and write B; with `offload` the next smaller setting is asked for before step 1."""
    box, notes = Mailbox(), []

    def progress(state: TrainingProgress) -> None:
        if offload and state.stage == "held-out loss" and state.step == 0:
            box.put(smaller(setting_of(chosen), card=True), "memory_full")

    around = Surroundings(progress, lambda *note: notes.append(note), setting_of(chosen), box)
    result = train(base, out, second_device.placed(chosen), around)
    return {"result": result.asdict(), "notes": notes}


def main() -> None:
    """Do the job."""
    second_device.register()
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    base, out = Path(job["base"]), Path(sys.argv[2])
    found: dict[str, Any] = {"steps": {}}
    for name, changes in WAYS.items():
        found["steps"][name] = one_step(base, Finetune(**job["settings"] | changes))
    chosen = Finetune(**job["settings"])
    found["plain"] = curve(base, out / "plain", chosen, offload=False)
    found["asked"] = curve(base, out / "asked", chosen, offload=True)
    (out / "found.json").write_text(json.dumps(found), "utf-8")
    # See second_device: the ordinary way out would end in an abort.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
