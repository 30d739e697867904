"""The child-process side of `finetune_in_child`: `python -m so8t.models.finetune_worker`.

One request a process: {"op": "finetune", "base", "out", "settings"}. Answers are
{"event": "progress", "progress": {...}} and at the end {"event": "done", "result": {...}} or
{"event": "error", "kind", "message", "hint", "retryable"}. An unforeseen exception ends the
process with its traceback on standard error, which the parent shows.
"""

from __future__ import annotations

import os
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.config.schema import Finetune
from so8t.errors import SO8TError
from so8t.models.finetune import Progress, finetune
from so8t.system.child import serve_messages

if TYPE_CHECKING:
    from collections.abc import Callable

    Reply = Callable[[dict[str, Any]], None]


def _train(request: dict[str, Any], reply: Reply) -> None:
    def progress(state: Progress) -> None:
        reply({"event": "progress", "progress": asdict(state)})

    answered = False
    try:
        result = finetune(
            Path(request["base"]),
            Path(request["out"]),
            Finetune.model_validate(request["settings"]),
            progress=progress,
        )
        reply({"event": "done", "result": result.asdict()})
        answered = True
    except SO8TError as error:
        reply(
            {
                "event": "error",
                "kind": type(error).__name__,
                "message": error.message,
                "hint": error.hint,
                "retryable": error.retryable,
            }
        )
        answered = True
    finally:
        if not answered:
            # The main thread waits for input and would keep a process that cannot answer alive.
            traceback.print_exc()
            os._exit(1)


def handle(message: dict[str, Any], reply: Reply) -> None:
    """Start the training in a thread, so that the end of input is seen while it runs."""
    if message.get("op") != "finetune":
        raise ValueError(f"unknown request: {message.get('op')!r}")
    threading.Thread(target=_train, args=(message, reply), daemon=True).start()


if __name__ == "__main__":
    serve_messages(handle)
