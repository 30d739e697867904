"""Our own queue: a few workers, never more requests on the server than it has slots."""

from __future__ import annotations

import queue
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from so8t.engines.protocol import at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

Job = TypeVar("Job")
Result = TypeVar("Result")

_LOOK_SECONDS = 0.5  # a wait without a time-out cannot be interrupted by Ctrl-C on Windows


def in_completion_order(
    work: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    workers: int,
    in_flight: Callable[[], int] | None = None,
    on_stop: Callable[[], None],
) -> Generator[Result]:
    """Yield `work(job)` for each job, in the order of completion.

    Jobs are pulled in the caller's thread and only when a worker is free, so an endless iterable
    is fine. `in_flight` is asked before each job and bounds them below `workers`. The first
    exception of a worker is raised here, after the results that were complete before it. However
    the iteration ends, `on_stop` is called if work is still in flight; it has to make that work
    end soon.
    """
    finished: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()
    pending = iter(jobs)
    flying = 0
    exhausted = False
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="so8t-ollama")
    try:
        while True:
            while not exhausted and flying < at_once(workers, in_flight):
                try:
                    job = next(pending)
                except StopIteration:
                    exhausted = True
                    break
                pool.submit(work, job).add_done_callback(finished.put)
                flying += 1
            if flying == 0:
                return
            future = _next(finished)
            flying -= 1
            yield future.result()
    finally:
        if flying:
            on_stop()
        pool.shutdown(wait=False, cancel_futures=True)


def _next(finished: queue.SimpleQueue[Future[Result]]) -> Future[Result]:
    while True:
        try:
            return finished.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            continue
