"""The options of a request: only names that the server knows, only values of the right type.

The server ignores an unknown option without a word and answers a wrong type with a 500; both are
our mistakes and are found here, before anything is sent.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from so8t.engines.ollama.faults import Fault, OllamaError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from so8t.domain.exchange import Decoding, LoadProfile

_KINDS: dict[str, type | tuple[type, ...]] = {
    "num_ctx": int,
    "num_batch": int,
    "num_thread": int,
    "num_gpu": int,
    "main_gpu": int,
    "use_mmap": bool,
    "num_keep": int,
    "num_predict": int,
    "seed": int,
    "temperature": (int, float),
    "top_k": int,
    "top_p": (int, float),
    "min_p": (int, float),
    "typical_p": (int, float),
    "repeat_last_n": int,
    "repeat_penalty": (int, float),
    "presence_penalty": (int, float),
    "frequency_penalty": (int, float),
    "stop": list,
}


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as they may be sent. Raises OllamaError(REFUSED) for a wrong one."""
    for name, value in options.items():
        kind = _KINDS.get(name)
        if kind is None:
            raise OllamaError(
                Fault.REFUSED,
                f"there is no option {name!r}; the server would ignore it without a word",
            )
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise OllamaError(Fault.REFUSED, f"option {name} cannot be {value!r}")
    predict = options.get("num_predict")
    if predict is not None and predict < 1:
        raise OllamaError(
            Fault.REFUSED, f"num_predict is {predict}; below 1 the server generates without limit"
        )
    if options.get("seed", 0) < 0:
        raise OllamaError(Fault.REFUSED, "a negative seed is a random one; send 0 or more")
    return dict(options)


def load_options(profile: LoadProfile, num_batch: int) -> dict[str, Any]:
    """Return the load-time options of a profile: a change of any of them reloads the model.

    All layers on the GPU (-1) is left to the server, which places what fits: forcing them makes
    a load fail where it would otherwise be slower, and a shortfall is seen in `size_vram`.
    """
    options: dict[str, Any] = {"num_ctx": profile.context, "num_batch": profile.batch or num_batch}
    if profile.threads is not None:
        options["num_thread"] = profile.threads
    if profile.gpu_layers >= 0:
        options["num_gpu"] = profile.gpu_layers
    return options


def run_options(decoding: Decoding, model_stops: tuple[str, ...]) -> dict[str, Any]:
    """Return the run-time options: every one that a Modelfile or a server default could move.

    The server's own default is a repeat penalty of 1.1, which changes even greedy answers; it is
    switched off here so that an answer depends on the model and the request alone. Stops that
    are sent replace the model's own, so those are sent along.
    """
    options: dict[str, Any] = {
        "num_predict": decoding.max_tokens,
        "temperature": float(decoding.temperature),
        "top_p": float(decoding.top_p),
        "top_k": decoding.top_k,
        "min_p": 0.0,
        "typical_p": 1.0,
        "seed": decoding.seed,
        "repeat_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }
    if decoding.stop:
        options["stop"] = [*decoding.stop, *(s for s in model_stops if s not in decoding.stop)]
    return options


def stops_of(parameters: str) -> tuple[str, ...]:
    """Return the stop texts in the `parameters` text of show: `stop  "<|im_end|>"`, one a line."""
    stops = []
    for line in parameters.split("\n"):
        name, _, value = line.partition(" ")
        if name != "stop":
            continue
        value = value.strip()
        try:
            parsed = json.loads(value)
        except ValueError:
            # Go quotes a few control characters in a way of its own.
            parsed = value.strip('"')
        stops.append(str(parsed))
    return tuple(stops)
