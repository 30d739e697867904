"""Bytes to and from the server: the one place that touches the network.

Built on httpx2 over a network backend of our own, because an HTTP client's time-outs are a read:
a server that sends one byte a second satisfies them for ever, and in the headers it would not even
return control. Here every read and write looks at the clock of its call.

Each request has a connection of its own: to cancel is to close, a restarted server leaves no
stale connection behind, and beside a model's answer the cost is nothing.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpcore2
import httpx2

from so8t.engines.ollama.faults import Fault, OllamaError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping

    from so8t.engines.ollama.timing import Deadlines


class Call:
    """One request on its way: its deadlines, what it has received, and how to cut it off."""

    def __init__(self, deadlines: Deadlines, max_bytes: int) -> None:
        self.deadlines = deadlines
        self.max_bytes = max_bytes
        self.received = 0
        self._started = time.monotonic()
        self._sent = self._started
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cancelled: OllamaError | None = None

    def cancel(self, error: OllamaError) -> None:
        """Make the call end now with `error`, from any thread."""
        with self._lock:
            self._cancelled = error
            if self._socket is not None:
                # shutdown, unlike close, wakes a thread that is blocked in recv.
                _shut(self._socket)

    def adopt(self, connection: socket.socket) -> None:
        """Bind the call to its connection."""
        with self._lock:
            self._socket = connection
            if self._cancelled is not None:
                _shut(connection)

    def check(self) -> None:
        """Raise if the call was cancelled."""
        if self._cancelled is not None:
            raise self._cancelled

    def sent(self) -> None:
        """Start the clock of the first byte: the request is on its way."""
        self._sent = time.monotonic()

    def seconds_left(self, *, writing: bool = False) -> tuple[float, str]:
        """How long the next operation may take, and the name of the deadline that says so.

        Raises OllamaError when the time is over.
        """
        self.check()
        now = time.monotonic()
        limits = [(self._started + self.deadlines.whole - now, "whole answer")]
        if writing or self.received:
            limits.append((self.deadlines.between, "between bytes"))
        else:
            limits.append((self._sent + self.deadlines.first_byte - now, "first byte"))
        left, name = min(limits)
        if left <= 0:
            raise self.expired(name)
        return left, name

    def expired(self, name: str) -> OllamaError:
        """Describe the deadline that passed. A whole answer's is not worth another hour."""
        self.check()
        seconds = {
            "whole answer": self.deadlines.whole,
            "between bytes": self.deadlines.between,
            "first byte": self.deadlines.first_byte,
        }[name]
        return OllamaError(
            Fault.DEADLINE,
            f"{name}: nothing within {seconds:g} s"
            if name != "whole answer"
            else f"{name}: not complete within {seconds:g} s ({self.received} bytes came)",
            retryable=name != "whole answer",
        )


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):  # closed already, which is what we want
        connection.shutdown(socket.SHUT_RDWR)


class _Stream(httpcore2.NetworkStream):
    """A socket whose every operation is bounded by its call."""

    def __init__(self, connection: socket.socket, call: Call) -> None:
        self._socket = connection
        self._call = call
        call.adopt(connection)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the call knows
        left, name = self._call.seconds_left()
        try:
            self._socket.settimeout(left)
            data = self._socket.recv(max_bytes)
        except TimeoutError:
            raise self._call.expired(name) from None
        except OSError as error:
            self._call.check()
            raise OllamaError(Fault.LOST, f"the connection broke: {error}") from error
        self._call.check()
        self._call.received += len(data)
        if self._call.received > self._call.max_bytes:
            raise OllamaError(
                Fault.TOO_LARGE, f"the answer has more than {self._call.max_bytes:,} bytes"
            )
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - the call knows
        view = memoryview(buffer)
        while view:
            left, name = self._call.seconds_left(writing=True)
            try:
                self._socket.settimeout(left)
                view = view[self._socket.send(view) :]
            except TimeoutError:
                raise self._call.expired(name) from None
            except OSError as error:
                self._call.check()
                # The library then still reads: a server may refuse before it has read all.
                raise httpcore2.WriteError(str(error)) from error
        self._call.sent()

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the call knows
    ) -> httpcore2.NetworkStream:
        left, name = self._call.seconds_left()
        try:
            self._socket.settimeout(left)
            wrapped = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except TimeoutError:
            raise self._call.expired(name) from None
        except OSError as error:
            raise OllamaError(Fault.UNREACHABLE, f"no secure connection: {error}") from error
        return _Stream(wrapped, self._call)

    def get_extra_info(self, info: str) -> Any:
        return False if info == "is_readable" else None


class _Backend(httpcore2.NetworkBackend):
    """Connects with the deadline of the call that the current thread is making."""

    def __init__(self) -> None:
        self.current = threading.local()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the call knows
        local_address: str | None = None,  # noqa: ARG002 - never asked for
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - never asked for
    ) -> httpcore2.NetworkStream:
        call: Call = self.current.call
        call.check()
        limit = call.deadlines.connect
        try:
            connection = socket.create_connection((host, port), limit)
        except TimeoutError:
            raise OllamaError(
                Fault.UNREACHABLE, f"no connection to {host}:{port} within {limit:g} s"
            ) from None
        except OSError as error:
            raise OllamaError(Fault.UNREACHABLE, f"{host}:{port}: {error}") from error
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Stream(connection, call)


class _Body(httpx2.SyncByteStream):
    """The body of a response, with this package's errors."""

    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        with _our_errors():
            yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except httpcore2.RemoteProtocolError as error:
        words = str(error)
        # h11 says "peer closed connection ..." and httpcore "Server disconnected ..."; all else
        # that breaks the protocol is something that does not speak HTTP.
        broke = "closed" in words or "disconnected" in words
        raise OllamaError(Fault.LOST if broke else Fault.MALFORMED, words) from error
    except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
        raise OllamaError(Fault.LOST, str(error) or type(error).__name__) from error
    except httpcore2.ProtocolError as error:
        raise OllamaError(Fault.MALFORMED, str(error)) from error


class _Transport(httpx2.BaseTransport):
    """httpx2's seam for transports, over the bounded backend."""

    def __init__(self) -> None:
        self.backend = _Backend()
        self._pool = httpcore2.ConnectionPool(
            max_connections=None, max_keepalive_connections=0, network_backend=self.backend
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        outgoing = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
        )
        with _our_errors():
            response = self._pool.handle_request(outgoing)
        return httpx2.Response(
            status_code=response.status, headers=response.headers, stream=_Body(response)
        )

    def close(self) -> None:
        self._pool.close()


@dataclass(slots=True)
class Reply:
    """A response whose status has come and whose body is still arriving."""

    status: int
    chunks: Iterator[bytes]
    call: Call

    def read(self) -> bytes:
        """All of the body. Raises OllamaError when it ends early, is too large or too late."""
        return b"".join(self.chunks)


class Transport:
    """Requests to one server. Safe to use from many threads."""

    def __init__(self, url: str, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._transport = _Transport()
        # trust_env=False: a proxy from the environment must not see, slow or break what goes to a
        # server on this machine; Ollama is never reached through one. Redirects stay off.
        self._http = httpx2.Client(
            base_url=url,
            transport=self._transport,
            trust_env=False,
            follow_redirects=False,
            headers={"accept": "*/*", "accept-encoding": "identity", "connection": "close"},
        )

    @contextmanager
    def exchange(
        self,
        method: str,
        path: str,
        *,
        deadlines: Deadlines,
        body: Any = None,
        content: Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        call: Call | None = None,
    ) -> Iterator[Reply]:
        """Send one request and yield its reply; leaving the block closes the connection."""
        call = call or Call(deadlines, self._max_bytes)
        self._transport.backend.current.call = call
        try:
            request = self._http.build_request(
                method, path, json=body, content=content, headers=dict(headers or {})
            )
        except ValueError as error:  # half a surrogate pair in a text, NaN in an option
            raise OllamaError(Fault.REFUSED, f"this cannot be sent as JSON: {error}") from error
        response = self._http.send(request, stream=True)
        try:
            yield Reply(response.status_code, response.iter_raw(), call)
        finally:
            response.close()

    def new_call(self, deadlines: Deadlines) -> Call:
        """Make the handle of a request that is to be sent, so that another thread can cancel it."""
        return Call(replace(deadlines), self._max_bytes)

    def close(self) -> None:
        """Give back what the client holds."""
        self._http.close()
