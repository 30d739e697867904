"""The child side of `so8t.engines.distributions`, run as a module: one request a process.

Requests are {"op": "prompts", "load", "conversations"} and {"op": "distributions" | "check",
"load", "texts", "vocabulary", "per_text", "follow", "out", "strings"}; the answer is {"texts",
"ids"}, the ids those of the strings, and rows of float32 are in the file `out`. Anything
unforeseen ends the process with its traceback on standard error.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from so8t.engines.embedded_worker import LoadedModel, import_library
from so8t.system.child import die_unforeseen, serve_messages

if TYPE_CHECKING:
    from collections.abc import Callable

    Reply = Callable[[dict[str, Any]], None]


def _row(model: LoadedModel, ids: list[int], vocabulary: int, forced: int) -> Any:
    """Ask for the log probabilities after `ids`; float32 (vocabulary,)."""
    answer = model.complete(
        {
            "prompt": ids,
            "n_predict": 1,
            "n_probs": vocabulary,
            "temperature": 0.0,
            "post_sampling_probs": False,
            "cache_prompt": True,
            "grammar": f"root ::= <[{forced}]>",
        }
    )
    row = np.full(vocabulary, np.nan, np.float32)
    for entry in answer["completion_probabilities"][0]["top_logprobs"]:
        row[entry["id"]] = entry["logprob"]
    if np.isnan(row).any():
        raise RuntimeError(f"{np.isnan(row).sum()} of {vocabulary} probabilities are missing")
    return row


def _measure(model: LoadedModel, request: dict[str, Any], out: BinaryIO) -> list[list[int]]:
    forced = model.tokenize("a", special=False)[0]
    texts, count = [], request["per_text"]
    for text in request["texts"]:
        ids = list(text) if request["follow"] else list(text[: len(text) - count + 1])
        rest = None if request["follow"] else text[len(ids) :]
        for position in range(count):
            row = _row(model, ids, request["vocabulary"], forced)
            out.write(row.tobytes())
            if position < count - 1:
                ids.append(int(row.argmax()) if rest is None else rest[position])
        texts.append(ids)
    return texts


def _work(request: dict[str, Any], reply: Reply) -> None:
    answered = False
    try:
        model = LoadedModel(request["load"])
        if request["op"] == "prompts":
            rendered = [model.render(one) for one in request["conversations"]]
            texts = [model.tokenize(text, special=True) for text in rendered]
        else:
            with open(request["out"], "wb") as out:  # noqa: PTH123 - a name from the parent
                texts = _measure(model, request, out)
        ids = [model.tokenize(text, special=True) for text in request.get("strings", ())]
        reply({"texts": texts, "ids": ids})
        answered = True
    finally:
        if not answered:
            die_unforeseen()


def handle(message: dict[str, Any], reply: Reply) -> None:
    """Work in a thread, so that the end of input is seen meanwhile."""
    import_library()
    threading.Thread(target=_work, args=(message, reply), daemon=True).start()


if __name__ == "__main__":
    serve_messages(handle)
