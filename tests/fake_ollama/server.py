"""The fake server itself: start it, ask it, make it fail."""

from __future__ import annotations

import threading
from collections import deque
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from fake_ollama.http import Handler
from fake_ollama.store import Store, Toy

if TYPE_CHECKING:
    from collections.abc import Callable


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A restarted server takes its old port again at once.
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], fake: FakeOllama) -> None:
        self.fake = fake
        super().__init__(address, Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that hangs up is what tests do."""


class FakeOllama:
    """A server on loopback. Use as a context manager, or `start` and `stop`.

    Attributes:
        version: what it tells.
        store: its models, blobs and loads; `store.parallel`, `store.max_loaded`,
            `store.load_seconds` and `store.stuck` (every answer hangs until a model is unloaded,
            or for good if `store.stubborn`) and `store.before_load` (hears the name of a model
            that is about to be loaded) may be set.
        requests: every request, as (method, path, body).
        trouble: taken from the left by answers, one each: `busy` (503), `crash` (the model's
            process dies before the first line), `crash_midway`, `drop` (the connection is cut
            inside a line), `unfinished` (a clean end without done), `hang` (nothing more comes),
            or None for a sound answer.
        piece_seconds: time between two pieces of a streamed answer.
        count: counts the tokens of a prompt that a model reads, for models that are no toys; None
            counts bytes, as the toys do.
        most_at_once: the most answers that were being made at the same moment.

    """

    def __init__(self, *, version: str = "0.33.0-rc2", port: int = 0) -> None:
        self.version = version
        self.store = Store()
        self.requests: list[tuple[str, str, Any]] = []
        self.trouble: deque[str | None] = deque()
        self.piece_seconds = 0.0
        self.count: Callable[[str], int] | None = None
        self.most_at_once = 0
        self._port = port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Its address; the same after a stop and a start."""
        return f"http://127.0.0.1:{self._port}"

    def add(self, name: str, toy: Toy | None = None) -> Toy:
        """Give it a model and return that."""
        toy = toy or Toy()
        self.store.add(name, toy)
        return toy

    def asked(self, path: str) -> list[Any]:
        """Return the bodies of all requests to a path, oldest first."""
        return [body for _method, where, body in self.requests if where == path]

    def start(self) -> Self:
        """Listen. Returns itself."""
        self.store.closed = False
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening and forget what is loaded; models stay. Safe to call twice."""
        server, self._server = self._server, None
        if server is None:
            return
        with self.store.changed:
            self.store.closed = True
            self.store.runners.clear()
            self.store.changed.notify_all()
        server.shutdown()
        server.server_close()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
