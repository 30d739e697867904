"""HTTP to one server: requests that can be ended, TLS that is verified, a key that nobody sees."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import monotonic, time
from typing import Any
from urllib.parse import urlsplit

from so8t.engines.pool import MemberDownError
from so8t.errors import ConfigError, EngineError, PrerequisiteError
from so8t.system.secret_file import read_secret

_SHOWN = 160
_LONGEST_WAIT = 600.0
# A kept connection that the server has closed fails at once; later it was the answer that ended.
_STALE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered: `body` is parsed JSON, or the text where it is none."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def ok(self) -> bool:
        """Whether the status is 200 and the body JSON."""
        return self.status == http.client.OK and isinstance(self.body, dict | list)

    @property
    def message(self) -> str:
        """What a refusal says, in one line."""
        body = self.body
        if isinstance(body, dict):
            body = body.get("error", body.get("detail", body.get("message", body)))
        if isinstance(body, dict):
            body = body.get("message", body)
        return " ".join(str(body).split())[:_SHOWN]

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait, None where it does not say."""
        told = self.headers.get("retry-after", "").strip()
        if told.isdigit():
            return min(float(told), _LONGEST_WAIT)
        try:
            until = parsedate_to_datetime(told).timestamp()
        except (TypeError, ValueError):
            return None
        return max(0.0, min(until - time(), _LONGEST_WAIT))


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and how it knows us. The key never stands in a repr."""

    url: str
    key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None


def read_key(variable: str | None, file: Path | None, environment: Mapping[str, str]) -> str | None:
    """Read a key from a variable or from a file that only its owner can read.

    Raises PrerequisiteError for a variable that is not set, and as `read_secret` does.
    """
    if file is not None:
        return read_secret(file).decode()
    if variable is None:
        return None
    key = environment.get(variable, "").strip()
    if not key:
        raise PrerequisiteError(
            f"the environment variable {variable}, which holds a place's key, is not set.",
            hint=f"export {variable}=..., or name a file with `key_file`",
        )
    if not key.isascii() or not key.isprintable():
        raise PrerequisiteError(f"the key in {variable} has characters that no header can carry.")
    return key


class HttpServer:
    """Connections to one server, kept open and used from any thread."""

    def __init__(self, address: Address) -> None:
        """Connect to nothing yet. Raises ConfigError for an address that is none."""
        try:
            parts = urlsplit(address.url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError(f"{address.url} is no address: {error}.") from error
        if parts.scheme not in {"http", "https"} or not host or parts.username is not None:
            raise ConfigError(
                f"{address.url} is no address of a server.",
                hint="http://HOST:PORT, with a path in front of /v1 where there is one; a key "
                "belongs into `key_env`",
            )
        self.url = address.url.rstrip("/").removesuffix("/v1")
        self._prefix = urlsplit(self.url).path
        self._host, self._port, self._tls = host, port, parts.scheme == "https"
        self._ca_file = address.ca_file
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if address.key is not None:
            self._headers["Authorization"] = f"Bearer {address.key}"
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None

    def request(
        self, method: str, path: str, body: Any = None, *, seconds: float = 30.0
    ) -> Response:
        """Ask, and wait so long for the whole answer.

        Raises MemberDownError where there is no answer: `asked` tells whether the server was
        reached, EngineError for a certificate that is not to be trusted.
        """
        data = None if body is None else json.dumps(body).encode()
        connection, fresh = self._take(seconds)
        began = monotonic()
        while True:
            try:
                return self._exchange(connection, method, path, data, seconds)
            except ssl.SSLCertVerificationError as error:
                raise EngineError(
                    f"the certificate of {self.url} is not to be trusted: {error.verify_message}.",
                    hint="name the authority that signed it with `ca_file`",
                ) from error
            except ConnectionRefusedError as error:
                raise MemberDownError(f"{self.url}: {error.strerror}", asked=False) from error
            except TimeoutError as error:
                raise MemberDownError(f"{self.url}: no answer within {seconds:.0f} s") from error
            except (OSError, http.client.HTTPException) as error:
                if fresh or monotonic() - began > _STALE_SECONDS:
                    what = str(error) or type(error).__name__
                    raise MemberDownError(
                        f"{self.url}: {what}", asked=connection.sock is not None
                    ) from error
                # A kept connection that the server had closed meanwhile: once more on a new one.
                connection, fresh = self._connect(seconds), True
            finally:
                self._forget(connection)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        data: bytes | None,
        seconds: float,
    ) -> Response:
        with self._lock:
            self._busy.add(connection)
        kept = False
        try:
            connection.timeout = seconds
            if connection.sock is not None:
                connection.sock.settimeout(seconds)
            connection.request(method, self._prefix + path, data, self._headers)
            answer = connection.getresponse()
            raw = answer.read()
            kept = not answer.will_close
        finally:
            with self._lock:
                self._busy.discard(connection)
                if kept:
                    self._idle.append(connection)
            if not kept:
                connection.close()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Response(answer.status, headers, _parsed(raw))

    def _take(self, seconds: float) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._idle:
                return self._idle.pop(), False
        return self._connect(seconds), True

    def _connect(self, seconds: float) -> http.client.HTTPConnection:
        if not self._tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=seconds)
        if self._context is None:
            file = None if self._ca_file is None else str(self._ca_file)
            try:
                self._context = ssl.create_default_context(cafile=file)
            except (OSError, ssl.SSLError) as error:
                raise PrerequisiteError(f"{file} holds no certificates: {error}.") from error
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=seconds, context=self._context
        )

    def _forget(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._busy.discard(connection)

    def abort(self) -> None:
        """End what is in flight; every waiting thread hears of it at once."""
        with self._lock:
            busy = list(self._busy)
        for connection in busy:
            sock = connection.sock
            if sock is not None:
                try:
                    sock.shutdown(2)
                except OSError:
                    continue  # it had ended by itself

    def close(self) -> None:
        """Give back the connections."""
        self.abort()
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")


def described(response: Response) -> str:
    """Say in one line what an answer is, where it is none of an OpenAI-compatible server."""
    body, kind = response.body, response.headers.get("content-type", "").split(";")[0]
    if isinstance(body, str) and ("html" in kind or body.lstrip()[:1] == "<"):
        start = body.find("<title>")
        title = body[start + 7 : body.find("</title>", start)] if start >= 0 else ""
        named = f" ({' '.join(title.split())[:_SHOWN]!r})" if title else ""
        return f"an HTML page{named}, status {response.status}: a proxy, or another program"
    if response.status in {301, 302, 303, 307, 308}:
        where = response.headers.get("location", "elsewhere")
        return f"a redirection to {where[:_SHOWN]}: perhaps a proxy's login"
    return f"status {response.status}: {response.message or 'nothing'}"
