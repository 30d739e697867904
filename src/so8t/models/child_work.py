"""One piece of heavy work in a child process, with the same errors as if it were done here.

The child gets one request, may tell {"event": "progress", "done", "total"}, and answers
{"event": "done", "result": {...}} or {"event": "error",
"kind", "message", "hint", "saved", "retryable"}. An unforeseen exception ends the process with its
traceback on standard error, which the parent shows.
"""

from __future__ import annotations

import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from so8t import errors
from so8t.system.child import Child, die_unforeseen, serve_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Reply = Callable[[dict[str, Any]], None]
    Tell = Callable[[int, int], None]
    Work = Callable[[dict[str, Any], Tell], dict[str, Any]]

# Longer than any load or write that is worth waiting for.
_SILENCE_SECONDS = 3600.0


def run_in_child(
    worker: str,
    request: Mapping[str, Any],
    *,
    what: str,
    progress: Tell | None = None,
) -> dict[str, Any]:
    """Start `python -m worker`, hand it the request, and return its result.

    The child has a lower priority and no network for models. `progress` is called with what it
    tells (done, total), in this thread. Raises the child's own error, or
    TrainingError, naming `what` was done, when it does not survive.
    """
    environment = {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with Child(worker, environment=environment, below_normal=True) as child:
        try:
            child.send(request)
            while (message := child.receive(timeout=_SILENCE_SECONDS))["event"] == "progress":
                if progress is not None:
                    progress(message["done"], message["total"])
        except errors.EngineCrashed as error:
            raise errors.TrainingError(
                f"The process that was {what} did not finish: {error.message}",
                hint="run the same command again; if it ran out of memory, close other programs",
                retryable=True,
            ) from error
    if message["event"] == "error":
        raise rebuilt(message)
    result: dict[str, Any] = message["result"]
    return result


def serve_work(work: Work, libraries: Callable[[], None]) -> NoReturn:
    """Run the child's side: `work(request, tell)` in a thread, so that end of input is seen.

    `tell(done, total)` reports progress. `libraries` imports all native code that the work needs,
    before that thread is started (see `so8t.system.child.serve_messages`).
    """

    def handle(message: dict[str, Any], reply: Reply) -> None:
        libraries()
        threading.Thread(target=_answer, args=(work, message, reply), daemon=True).start()

    serve_messages(handle)


def import_tokenizers() -> None:
    """Import what transformers loads when it reads a tokenizer: its public names are lazy."""
    transformers = import_module("transformers")
    for name in ("AutoTokenizer", "PreTrainedTokenizerFast"):
        getattr(transformers, name)


def import_models() -> None:
    """Import torch and what transformers loads when it reads a model, as `import_tokenizers`."""
    import_tokenizers()
    import_module("safetensors.torch")
    transformers = import_module("transformers")
    for name in ("PreTrainedModel", "AutoModelForCausalLM"):
        getattr(transformers, name)


def _answer(work: Work, request: dict[str, Any], reply: Reply) -> None:
    def tell(done: int, total: int) -> None:
        reply({"event": "progress", "done": done, "total": total})

    answer(reply, lambda: {"event": "done", "result": work(request, tell)})


def answer(reply: Reply, make: Callable[[], dict[str, Any]]) -> None:
    """Reply with what `make` returns, or with its error; end the process where there is neither."""
    answered = False
    try:
        reply(make())
        answered = True
    except errors.SO8TError as error:
        reply(
            {
                "event": "error",
                "kind": type(error).__name__,
                "message": error.message,
                "hint": error.hint,
                "saved": error.saved,
                "retryable": error.retryable,
            }
        )
        answered = True
    finally:
        if not answered:
            die_unforeseen()


def rebuilt(message: Mapping[str, Any]) -> errors.SO8TError:
    """Make the child's error again, of its own class where that is one of ours."""
    kind = getattr(errors, message["kind"], errors.TrainingError)
    error: errors.SO8TError = kind(message["message"], hint=message["hint"])
    error.saved = message["saved"]
    error.retryable = bool(message["retryable"])
    return error
