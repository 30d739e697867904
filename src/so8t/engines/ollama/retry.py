"""Bounded retries with jitter, by stamina, under rules of our own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import stamina
import stamina.instrumentation

from so8t.engines.ollama.faults import Fault, OllamaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from so8t.engines.ollama.timing import Retries

# stamina reports retries through structlog wherever that is installed, and structlog prints to
# standard output unless told otherwise: there is data there. Our retries are told as findings.
stamina.instrumentation.set_on_retry_hooks(())


def attempts(
    retries: Retries, on_retry: Callable[[OllamaError], None] | None = None
) -> Iterator[stamina.Attempt]:
    """Yield context managers, one a try, until one ends without a retryable OllamaError.

    A full queue (503) may be met again and again for `busy_seconds`, all other faults together
    `attempts` times. A withdrawn request (one that we cut off to free the server) is not counted:
    how often that happens is bounded where it is done. `on_retry` hears of each error that is
    followed by another try. The last error is raised as it is.
    """
    failed = 0
    busy_until: float | None = None

    def may_try_again(error: Exception) -> bool:
        nonlocal failed, busy_until
        if not isinstance(error, OllamaError) or not error.retryable:
            return False
        if error.fault is Fault.BUSY:
            now = time.monotonic()
            busy_until = now + retries.busy_seconds if busy_until is None else busy_until
            again = now < busy_until
        elif error.fault is Fault.WITHDRAWN:
            again = True
        else:
            failed += 1
            again = failed < retries.attempts
        if again and on_retry is not None:
            on_retry(error)
        return again

    # No time limit here: it would count the time of long answers; the rules above bound it.
    yield from stamina.retry_context(
        on=may_try_again,
        attempts=None,
        timeout=None,
        wait_initial=retries.wait_initial,
        wait_max=retries.wait_max,
        wait_jitter=retries.jitter,
    )
