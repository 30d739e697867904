"""HTTP connections with an end: slow heads, slow readers and too many of them are cut off.

uvicorn bounds the size of a request's head and the time between requests, but not the time that
a head may take nor the time that a client may leave an answer unread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

    from so8t.serve.limits import RequestLimits


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 with deadlines; `limits` is set on a subclass by `bounded`."""

    limits: RequestLimits
    _head: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.abort()
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        _stop(self._head)
        _stop(self._unread)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Look at what came; once a head is whole its deadline is over."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            _stop(self._head)

    def on_response_complete(self) -> None:
        """Wait for the next request on this connection, not for ever."""
        self._expect_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Give a client that reads nothing some seconds."""
        super().pause_writing()
        _stop(self._unread)
        self._unread = self.loop.call_later(self.limits.write, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: it reads."""
        _stop(self._unread)
        super().resume_writing()

    def _expect_head(self) -> None:
        _stop(self._head)
        self._head = self.loop.call_later(self.limits.headers, self.transport.abort)


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def bounded(limits: RequestLimits) -> type[BoundedProtocol]:
    """Return the protocol class for these limits, as uvicorn wants it."""
    return type("Bounded", (BoundedProtocol,), {"limits": limits})
