"""HTTP connections with an end: slow heads, slow readers and too many of them are cut off.

uvicorn bounds the size of a request's head and the time between requests, but not the time that
a head may take nor the time that a client may leave an answer unread.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from so8t.serve.limits import RequestLimits


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 with deadlines; `limits` and `refused` are set on a subclass by `bounded`."""

    limits: RequestLimits
    refused: Callable[[str], None]
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

    def data_received(self, data: bytes) -> None:
        """Take what came; a client that breaks the protocol is cut off."""
        try:
            super().data_received(data)
        except h11.LocalProtocolError:
            self.transport.abort()  # it broke it while its answer was on the way

    def send_400_response(self, msg: str) -> None:
        """Say that it is no HTTP, in the form of every other refusal, where that can be said."""
        self.refused("http")
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        body = json.dumps({"error": {"code": "http", "message": msg}}).encode()
        head = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=400, headers=head, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

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


def bounded(limits: RequestLimits, refused: Callable[[str], None]) -> type[BoundedProtocol]:
    """Return the protocol class for these limits, as uvicorn wants it.

    `refused` counts what is turned away, by its code.
    """
    own = {"limits": limits, "refused": staticmethod(refused)}
    return type("Bounded", (BoundedProtocol,), own)
