"""What `so8t doctor` says about the server: one line a question, each failure with its fix."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from so8t.domain.exchange import Message
from so8t.engines.checks import Check, CheckOutcome
from so8t.engines.ollama.client import is_loopback
from so8t.engines.ollama.faults import OllamaError
from so8t.engines.ollama.records import full_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from so8t.engines.ollama.client import OllamaClient

OLDEST = (0, 12, 11)
"""The first version with all that this engine uses; 0.24.0 and 0.33.0-rc2 were recorded."""
_PROBE_TOKENS = 64
_NONE_LOADED = "no model is loaded"


def examine(
    client: OllamaClient,
    *,
    models: Sequence[str] = (),
    parallel: int = 1,
    probe: str | None = None,
    gpu_expected: bool = False,
) -> list[Check]:
    """Examine a server.

    Args:
        client: the server.
        models: names that have to be there.
        parallel: the parallelism that the config assumes.
        probe: a model to ask for real answers, which loads it: it shows whether the server
            answers, how many slots it has and where the model lies. None only looks.
        gpu_expected: whether the machine has a GPU that models should be on.

    Never raises for a server in whatever state; stops after the check that makes the rest vain.

    """
    return list(_examine(client, models, parallel, probe, gpu_expected))


def _examine(
    client: OllamaClient,
    models: Sequence[str],
    parallel: int,
    probe: str | None,
    gpu_expected: bool,
) -> Iterator[Check]:
    try:
        version = client.version()
        present = client.models()
    except OllamaError as error:
        fix = "ollama serve" if is_loopback(client.url) else f"start Ollama behind {client.url}"
        yield Check("ollama server", CheckOutcome.FAIL, error.message, error.hint or fix)
        return
    yield Check("ollama server", CheckOutcome.PASS, f"answers at {client.url}")
    yield _version_check(version)
    missing = [name for name in models if full_name(name) not in {m.name for m in present}]
    if missing:
        yield Check(
            "ollama models",
            CheckOutcome.FAIL,
            f"not there: {', '.join(missing)}",
            "so8t run registers them; or ollama pull / ollama create",
        )
    else:
        yield Check("ollama models", CheckOutcome.PASS, f"{len(present)} models")
    if probe is not None and full_name(probe) in {model.name for model in present}:
        try:
            yield from _probed(client, probe, parallel)
        except OllamaError as error:
            yield Check(
                "ollama answers",
                CheckOutcome.FAIL,
                error.message,
                error.hint or "unload everything (ollama stop MODEL) or restart the server",
            )
            return
    else:
        yield Check(
            "ollama parallelism",
            CheckOutcome.WARN,
            f"not measured; the config assumes {parallel}",
            f"start the server with OLLAMA_NUM_PARALLEL={parallel}, then check with a model",
        )
    yield _gpu_check(client, gpu_expected)
    if probe is not None:
        with suppress(OllamaError):  # what was asked is answered; the server will unload it later
            client.unload(probe)


def _version_check(version: str) -> Check:
    numbers = tuple(int(part) for part in version.partition("-")[0].split(".") if part.isdigit())
    if numbers and numbers < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return Check(
            "ollama version",
            CheckOutcome.FAIL,
            f"{version} is older than {wanted}: it would truncate prompts in silence",
            "update Ollama",
        )
    return Check("ollama version", CheckOutcome.PASS, version)


def _probed(client: OllamaClient, probe: str, parallel: int) -> Iterator[Check]:
    began = time.monotonic()
    client.chat(
        probe,
        [Message("user", "Say a word.")],
        {"num_predict": 1, "seed": 1, "temperature": 0.0},
        deadlines=client.timing.load,
    )
    yield Check(
        "ollama answers",
        CheckOutcome.PASS,
        f"{probe} gave a token in {time.monotonic() - began:.1f} s",
    )
    slots = measure_slots(client, probe, up_to=parallel)
    if slots >= parallel:
        yield Check("ollama parallelism", CheckOutcome.PASS, f"{parallel} answers at a time")
    else:
        yield Check(
            "ollama parallelism",
            CheckOutcome.WARN,
            f"{slots} at a time, the config assumes {parallel}; the rest would wait in the server",
            f"start the server with OLLAMA_NUM_PARALLEL={parallel}, or set parallel: {slots}",
        )


def measure_slots(client: OllamaClient, model: str, *, up_to: int) -> int:
    """Measure how many answers the server makes at a time, at most `up_to`.

    No API tells it. That many answers are asked for at once; while the server has fewer slots,
    some wait, which only `total_duration` contains. Raises OllamaError when one of them fails.
    """
    if up_to <= 1:
        return 1
    waits: list[tuple[float, float]] = []
    failures: list[OllamaError] = []

    def ask() -> None:
        try:
            answer = client.chat(
                model,
                [Message("user", "Count from one to one hundred, in words.")],
                {"num_predict": _PROBE_TOKENS, "seed": 1, "temperature": 0.0},
                deadlines=client.timing.load,
            )
        except OllamaError as error:
            failures.append(error)
            return
        total = answer.total_seconds or 0.0
        work = sum(
            part or 0.0
            for part in (answer.load_seconds, answer.prompt_seconds, answer.eval_seconds)
        )
        waits.append((total - work, work))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(up_to)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    # One that waited for a slot waited about as long as a whole answer takes.
    return max(1, sum(wait < work / 2 for wait, work in waits))


def _gpu_check(client: OllamaClient, gpu_expected: bool) -> Check:
    try:
        loaded = client.loaded()
    except OllamaError as error:
        return Check("ollama gpu", CheckOutcome.FAIL, error.message, error.hint)
    shares = [(model.name, model.gpu_share) for model in loaded if model.gpu_share is not None]
    if not shares:
        outcome = CheckOutcome.WARN if gpu_expected else CheckOutcome.PASS
        return Check(
            "ollama gpu", outcome, _NONE_LOADED, "load one to see" if gpu_expected else None
        )
    detail = ", ".join(f"{name} {share:.0%} on the GPU" for name, share in shares)
    if gpu_expected and any(share < 1 for _name, share in shares):
        return Check(
            "ollama gpu",
            CheckOutcome.WARN,
            detail,
            "free GPU memory, choose a smaller context or quantization, or see the server's log",
        )
    return Check("ollama gpu", CheckOutcome.PASS, detail)
