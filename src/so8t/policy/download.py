"""One GET, bounded in time and size, through which a server cannot hold us or fill the disk.

httpx2's time-outs are a read's: a server that sends one byte a second satisfies them for ever.
Here every operation of a connection gets what is left of the whole request's time.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import httpcore2
import httpx2

from so8t.system.address import is_loopback

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable


class DownloadError(Exception):
    """No whole answer came.

    Attributes:
        reason: what happened, in words.
        retryable: whether the same request may succeed later.

    """

    def __init__(self, reason: str, *, retryable: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable


@dataclass(frozen=True)
class DownloadLimits:
    """Bounds of one request: seconds from the connection to the last byte, and bytes of body."""

    seconds: float = 60.0
    max_bytes: int = 50_000_000


@dataclass(frozen=True)
class Reply:
    """An answer. Header names are lower case; repeated ones are joined by a comma."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def download(
    url: httpx2.URL, headers: Mapping[str, str], limits: DownloadLimits, *, cut: bool = False
) -> Reply:
    """GET `url` on a connection of its own; a redirect is an answer like any other.

    A body beyond `limits.max_bytes` is an error, or with `cut` ends there. Proxies of the
    environment are used, but never for this machine itself. Raises DownloadError.
    """
    pool = httpcore2.ConnectionPool(
        ssl_context=_tls() if url.scheme == "https" else None,
        proxy=_proxy(url),
        network_backend=_Backend(time.monotonic() + limits.seconds),
    )
    sent = {
        "host": url.netloc.decode("ascii"),
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
        **headers,
    }
    target = str(url).partition("#")[0]
    try:
        with pool, pool.stream("GET", target, headers=list(sent.items())) as answer:
            found: dict[str, str] = {}
            for raw_name, raw_value in answer.headers:
                name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
                found[name] = f"{found[name]}, {value}" if name in found else value
            body = bytearray()
            for chunk in answer.iter_stream():
                body += chunk
                if len(body) > limits.max_bytes:
                    if cut:
                        break
                    raise DownloadError(f"larger than {limits.max_bytes:,} bytes", retryable=False)
            return Reply(answer.status, found, bytes(body[: limits.max_bytes]))
    except httpcore2.TimeoutException as error:
        raise DownloadError(f"not complete within {limits.seconds:g} s", retryable=True) from error
    except (httpcore2.NetworkError, httpcore2.ProxyError) as error:
        raise DownloadError(f"no connection: {error}", retryable=True) from error
    except httpcore2.ProtocolError as error:
        raise DownloadError(f"the connection broke: {error}", retryable=True) from error
    except UnicodeError as error:  # from the resolver: an empty label, or one above 63 characters
        raise DownloadError(f"no name of a host: {error}", retryable=False) from error


def is_this_machine(host: str) -> bool:
    """Whether a host is the loopback interface by its name."""
    return host.endswith(".localhost") or is_loopback(host)


@cache
def _tls() -> ssl.SSLContext:
    """Make the one context of all requests: loading the authorities takes longer than a page."""
    return httpx2.create_ssl_context()


def _proxy(url: httpx2.URL) -> httpcore2.Proxy | None:
    """Choose the environment's proxy for an address, or none."""
    if is_this_machine(url.host) or urllib.request.proxy_bypass(url.host):
        return None
    chosen = urllib.request.getproxies().get(url.scheme)
    if not chosen:
        return None
    address = httpx2.URL(chosen if "://" in chosen else f"http://{chosen}")
    auth = (address.username, address.password) if address.userinfo else None
    secure = _tls() if address.scheme == "https" else None
    plain = str(address.copy_with(userinfo=b""))
    return httpcore2.Proxy(plain, auth=auth, ssl_context=secure)


class _Backend(httpcore2.NetworkBackend):
    """Connections whose operations all end by one moment of the monotonic clock."""

    def __init__(self, end: float) -> None:
        self._end = end
        self._inner = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the request's end says it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        left = _left(self._end)
        stream = self._inner.connect_tcp(host, port, left, local_address, socket_options)
        return _Stream(stream, self._end)


class _Stream(httpcore2.NetworkStream):
    """A stream each of whose operations gets what is left of the request's time."""

    def __init__(self, inner: httpcore2.NetworkStream, end: float) -> None:
        self._inner = inner
        self._end = end

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the end says it
        return self._inner.read(max_bytes, _left(self._end))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - as above
        self._inner.write(buffer, _left(self._end))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - as above
    ) -> httpcore2.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, _left(self._end))
        return _Stream(inner, self._end)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout("the request's time is over")
    return left
