"""The child-process side of `finetune_in_child`: `python -m so8t.models.finetune_worker`.

One training a process: {"op": "finetune", "base", "out", "settings", "setting", "checkpoints"}, or
{"op": "trial", ...} without "out". While it runs, {"op": "setting", "setting", "reason"} changes
the setting before the next step and {"op": "stop"} ends the training after the present one.
Answers are {"event": "device", "type"} once, {"event": "progress", "progress": {...}},
{"event": "note", "kind", "data"} and at the end {"event": "done", ...}, {"event": "stopped"} or
{"event": "error", "kind", "message", "hint", "saved", "retryable"}. An unforeseen exception ends
the process with its traceback on standard error, which the parent shows.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from so8t.config.schema import Finetune
from so8t.errors import PrerequisiteError, TrainingMemoryError
from so8t.models.child_work import answer, import_models
from so8t.models.training_records import Surroundings
from so8t.models.training_setting import Mailbox, TrainingSetting
from so8t.system.attempt import reading
from so8t.system.child import serve_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from so8t.models.training_records import TrainingProgress

    Reply = Callable[[dict[str, Any]], None]

_GIGA = 10**9
# What a method needs besides torch and transformers.
_LIBRARIES: dict[str, tuple[str, ...]] = {
    "so8": (),
    "lora": ("peft",),
    "qlora": ("peft", "bitsandbytes"),
}


class Worker:
    """Serves the messages of one parent."""

    def __init__(self) -> None:
        self._mailbox = Mailbox()

    def handle(self, message: dict[str, Any], reply: Reply) -> None:
        """Start the training in a thread, so that requests and the end of input are seen.

        The libraries are imported before (see `serve_messages`).
        """
        op = message.get("op")
        if op in {"finetune", "trial"}:
            import_models()
            for name in _LIBRARIES[message["settings"]["method"]]:
                import_module(name)
            threading.Thread(target=self._train, args=(message, reply), daemon=True).start()
        elif op == "setting":
            self._mailbox.put(TrainingSetting(**message["setting"]), message["reason"])
        elif op == "stop":
            self._mailbox.stop()
        else:
            raise ValueError(f"unknown request: {op!r}")

    def _train(self, request: dict[str, Any], reply: Reply) -> None:
        answer(reply, lambda: self._answer(request, reply))

    def settings_of(self, request: dict[str, Any]) -> Finetune:
        """Return the settings that a request asks for."""
        return Finetune.model_validate(request["settings"])

    def _answer(self, request: dict[str, Any], reply: Reply) -> dict[str, Any]:
        settings = self.settings_of(request)
        from so8t.models.training import train, trial  # noqa: PLC0415 - torch
        from so8t.models.training_loop import Stopped  # noqa: PLC0415 - as above
        from so8t.models.training_model import device_of  # noqa: PLC0415 - as above

        reply({"event": "device", "type": device_of(settings).type})

        # With all libraries there: a limit that they meet while they load ends in odd errors.
        if settings.memory_limit_gb is not None:
            _limit_memory(round(settings.memory_limit_gb * _GIGA))

        def progress(state: TrainingProgress) -> None:
            reply({"event": "progress", "progress": asdict(state)})

        def note(kind: str, data: Mapping[str, Any]) -> None:
            reply({"event": "note", "kind": kind, "data": dict(data)})

        checkpoints = request["checkpoints"]
        around = Surroundings(
            progress,
            note,
            TrainingSetting(**request["setting"]),
            self._mailbox,
            None if checkpoints is None else Path(checkpoints),
            time.time() - psutil.Process().create_time(),
        )
        try:
            if request["op"] == "trial":
                loss = trial(Path(request["base"]), settings, around)
                return {"event": "done", "held_out_loss": loss}
            result = train(Path(request["base"]), Path(request["out"]), settings, around)
        except Stopped:
            return {"event": "stopped"}
        return {"event": "done", "result": result.asdict()}


def _limit_memory(limit: int) -> None:
    """Let allocations beyond `limit` bytes fail in this process."""
    if sys.platform != "linux":
        raise PrerequisiteError(
            "memory_limit_gb is enforced on Linux only.",
            hint="leave it out; lower `micro_batch` instead",
        )
    import resource  # noqa: PLC0415 - Unix only

    taken = reading(lambda: int(psutil.Process().memory_info().data))
    if taken is not None and taken >= limit:
        raise TrainingMemoryError(
            f"The libraries alone take {taken / _GIGA:.2f} GB of the {limit / _GIGA:.2f} GB that "
            "memory_limit_gb allows.",
            hint="raise `memory_limit_gb`",
        )
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    serve_messages(Worker().handle)
