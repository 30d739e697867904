"""The worker behind which requests wait for the model: one thread, one session, a short queue."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING

from so8t.errors import EngineCrashed, EngineError, SO8TError

if TYPE_CHECKING:
    from so8t.domain.exchange import EngineReply, EngineRequest, LoadProfile, ServedModel
    from so8t.engines.protocol import Engine, Session

    Ticket = tuple[EngineRequest, Future[EngineReply]]


class QueueFullError(EngineError):
    """As many requests wait as may wait."""


class AnswerWorker:
    """Hands requests to an engine's session, opened again after a crash at the next request.

    The session lives in a thread of its own, as its child process ends with the thread that
    started it. Up to `slots` requests that wait at the same moment go to the model together.
    """

    def __init__(
        self, engine: Engine, model: ServedModel, profile: LoadProfile, *, waiting: int
    ) -> None:
        self._engine = engine
        self.model = model
        self._profile = profile
        self._waiting: queue.Queue[Ticket | None] = queue.Queue()
        self._room = waiting
        self._session: Session | None = None
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="answer-worker")

    def start(self) -> None:
        """Load the model. Raises what the engine raises."""
        self._thread.start()
        self._opened.result()

    @property
    def alive(self) -> bool:
        """Whether requests are still taken."""
        return self._thread.is_alive()

    @property
    def loaded(self) -> bool:
        """Whether the model is loaded now; after a crash the next request loads it."""
        return self._session is not None

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._waiting.qsize()

    def submit(self, request: EngineRequest) -> Future[EngineReply]:
        """Queue a request. Raises QueueFullError, EngineError where the worker is closed.

        The future ends with the reply or with the engine's error; one that is cancelled while it
        waits is never asked.
        """
        if not self.alive:
            raise EngineError("The model is not served any more.")
        if self.waiting >= self._room:
            raise QueueFullError("as many requests wait as may wait", retryable=True)
        future: Future[EngineReply] = Future()
        self._waiting.put((request, future))
        return future

    def close(self) -> None:
        """Finish what is being answered and unload the model. Safe to call twice."""
        self._waiting.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._session = self._engine.open(self.model, self._profile)
        except SO8TError as error:
            self._opened.set_exception(error)
            return
        self._opened.set_result(None)
        try:
            while batch := self._next_batch():
                self._serve(batch)
        finally:
            self._forget()
            self._refuse_rest()

    def _next_batch(self) -> list[Ticket]:
        """Wait for requests; empty at the end."""
        batch: list[Ticket] = []
        while not batch:
            ticket = self._waiting.get()
            while ticket is not None:
                if ticket[1].set_running_or_notify_cancel():
                    batch.append(ticket)
                if len(batch) >= self._profile.slots or self._waiting.empty():
                    break
                ticket = self._waiting.get()
            if ticket is None:
                self._waiting.put(None)
                return batch
        return batch

    def _serve(self, batch: list[Ticket]) -> None:
        futures = {request.key: future for request, future in batch}
        try:
            if self._session is None:
                self._session = self._engine.open(self.model, self._profile)
            for reply in self._session.serve([request for request, _ in batch]):
                futures.pop(reply.key).set_result(reply)
        except SO8TError as error:
            self._forget()
            for future in futures.values():
                future.set_exception(error)
            futures.clear()
        finally:
            # An unforeseen error ends the worker; nobody is left waiting for it.
            for future in futures.values():
                with suppress(InvalidStateError):
                    future.set_exception(EngineCrashed("The model did not answer."))

    def _forget(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _refuse_rest(self) -> None:
        with suppress(queue.Empty):
            while True:
                ticket = self._waiting.get_nowait()
                if ticket is not None and ticket[1].set_running_or_notify_cancel():
                    ticket[1].set_exception(EngineError("The model is not served any more."))
