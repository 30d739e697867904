"""The native API of an Ollama server, one method a request.

Nothing here waits without bound, and nothing here retries on its own except what only looks
(version, lists, show): retrying an answer is the session's affair, which knows what else to do.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from so8t.engines.ollama.answers import (
    FINISHED,
    LOADED,
    UNLOADED,
    OllamaAnswer,
    read_answer,
    read_object,
    read_statuses,
)
from so8t.engines.ollama.faults import Fault, OllamaError, error_of
from so8t.engines.ollama.options import check_options
from so8t.engines.ollama.records import (
    LocalModel,
    ServerModel,
    Shown,
    entries,
    full_name,
    loaded_model,
    local_model,
    shown,
)
from so8t.engines.ollama.timing import Timing
from so8t.errors import UsageError
from so8t.system import address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from so8t.domain.exchange import Message
    from so8t.engines.ollama.timing import Deadlines
    from so8t.engines.ollama.transport import Call, Transport

DEFAULT_URL = "http://127.0.0.1:11434"
MAX_BYTES = 64 * 1024 * 1024
"""Cap of one answer. 32,768 tokens of a streamed answer are about 4 MB."""
_PIECE = 1 << 20


def server_url(text: str) -> str:
    """Return the address in full; short forms mean what they mean to Ollama itself.

    Raises UsageError for what is no address.
    """
    with_scheme = text if "://" in text else f"http://{text}"
    parts = urlsplit(with_scheme)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 11434)
    except ValueError:
        port = -1
    if parts.scheme not in {"http", "https"} or port < 0 or parts.path not in {"", "/"}:
        raise UsageError(
            f"{text!r} is no address of an Ollama server.", hint=f"for example {DEFAULT_URL}"
        )
    host = parts.hostname or "127.0.0.1"
    # 0.0.0.0 is where a server listens, not where one connects to.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, never bound
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def is_loopback(url: str) -> bool:
    """Whether the server is on this machine."""
    return address.is_loopback(urlsplit(url).hostname or "")


class OllamaClient:
    """Requests to one server. Safe to use from many threads."""

    def __init__(
        self, url: str = DEFAULT_URL, *, timing: Timing | None = None, max_bytes: int = MAX_BYTES
    ) -> None:
        self.url = server_url(url)
        self.timing = timing or Timing()
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._lazy_transport: Transport | None = None

    # What only looks

    def version(self) -> str:
        """Return the server's version. Raises OllamaError; MALFORMED if it is not Ollama."""
        answer = self._look("GET", "/api/version")
        version = answer.get("version")
        if not isinstance(version, str):
            raise OllamaError(Fault.MALFORMED, "the server tells no version")
        return version

    def reachable(self) -> bool:
        """Whether a server answers, with one try."""
        try:
            self._object("GET", "/api/version", None, self.timing.quick)
        except OllamaError:
            return False
        return True

    def models(self) -> list[LocalModel]:
        """Return the models that the server has."""
        return [local_model(entry) for entry in entries(self._look("GET", "/api/tags"))]

    def find(self, name: str) -> LocalModel | None:
        """Return the model of that name, or None. Damaged manifests are not listed at all."""
        wanted = full_name(name)
        return next((model for model in self.models() if model.name == wanted), None)

    def loaded(self) -> list[ServerModel]:
        """Return what is loaded. Not listed while loading, and stale after a crash."""
        return [loaded_model(entry) for entry in entries(self._look("GET", "/api/ps"))]

    def show(self, name: str) -> Shown:
        """Describe a model. Raises OllamaError(NO_MODEL) if there is none of that name."""
        return shown(self._look("POST", "/api/show", {"model": name}))

    def render(
        self,
        name: str,
        messages: Sequence[Message],
        options: Mapping[str, Any] | None = None,
        *,
        keep_alive: str | int = "30m",
    ) -> str:
        """Return the prompt that the server makes of a conversation, without inference.

        Raises OllamaError(REFUSED) where the server is too old to do that. `num_predict` is 1 all
        the same: such a server ignores the wish and answers.
        """
        body = {
            "model": name,
            "messages": _plain(messages),
            "stream": False,
            "keep_alive": keep_alive,
            "_debug_render_only": True,
            **self._bounds({**(options or {}), "num_predict": 1}),
        }
        answer = self._object("POST", "/api/chat", body, self.timing.load)
        info = answer.get("_debug_info")
        rendered = info.get("rendered_template") if isinstance(info, dict) else None
        if not isinstance(rendered, str):
            raise OllamaError(
                Fault.REFUSED,
                "the server does not tell the rendered prompt",
                hint="update Ollama: `_debug_render_only` is needed to verify the template",
            )
        return rendered

    # Answers

    def chat(
        self,
        name: str,
        messages: Sequence[Message],
        options: Mapping[str, Any],
        *,
        keep_alive: str | int = "30m",
        think: bool | str | None = None,
        logprobs: int | None = None,
        schema: Mapping[str, Any] | None = None,
        call: Call | None = None,
        deadlines: Deadlines | None = None,
    ) -> OllamaAnswer:
        """Ask for one answer, streamed, never truncated, never shifted. One try.

        Args:
            name: the model.
            messages: the conversation.
            options: load-time and run-time options; `num_predict` must be among them.
            keep_alive: sent with every request, or the model goes after five minutes.
            think: None leaves it to the model; see `docs/ollama.md`.
            logprobs: alternatives a token, 0 to 20, or None for none.
            schema: JSON Schema that the answer is constrained to.
            call: a handle made by `new_call`, to cancel from another thread.
            deadlines: instead of `timing.answer`, if there is no call.

        Raises OllamaError.

        """
        if not messages:
            # Without a message the server loads the model and says `done`.
            raise OllamaError(Fault.REFUSED, "no message: that asks for a load, not for an answer")
        body: dict[str, Any] = {"model": name, "messages": _plain(messages), "stream": True}
        if think is not None:
            body["think"] = think
        if logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": logprobs}
        if schema is not None:
            body["format"] = dict(schema)
        return self._answer(
            "/api/chat", body, options, keep_alive=keep_alive, call=call, deadlines=deadlines
        )

    def generate(
        self,
        name: str,
        prompt: str,
        options: Mapping[str, Any],
        *,
        keep_alive: str | int = "30m",
        call: Call | None = None,
        deadlines: Deadlines | None = None,
    ) -> OllamaAnswer:
        """Ask for the continuation of a raw prompt: no template is added. Else as `chat`."""
        if not prompt:
            # Without a prompt the server loads the model and says `done`.
            raise OllamaError(Fault.REFUSED, "an empty prompt asks for a load, not for an answer")
        body: dict[str, Any] = {"model": name, "prompt": prompt, "raw": True, "stream": True}
        return self._answer(
            "/api/generate", body, options, keep_alive=keep_alive, call=call, deadlines=deadlines
        )

    def new_call(self, deadlines: Deadlines | None = None) -> Call:
        """Make the handle of an answer, so that another thread can cancel it."""
        return self._transport.new_call(deadlines or self.timing.answer)

    def load(self, name: str, options: Mapping[str, Any], *, keep_alive: str | int = "30m") -> None:
        """Load a model with these load-time options, or do nothing if it is loaded with them."""
        body = {"model": name, "stream": False, "keep_alive": keep_alive, **self._bounds(options)}
        self._request("/api/generate", body, self.timing.load, LOADED)

    def unload(self, name: str) -> None:
        """Ask for a model to be unloaded. It is gone only when `loaded` says so; poll that.

        The reply comes at once even when the model is busy, and while it loads nothing happens.
        """
        body = {"model": name, "stream": False, "keep_alive": 0}
        self._request("/api/generate", body, self.timing.quick, UNLOADED)

    # What changes the store

    def has_blob(self, digest: str) -> bool:
        """Whether the store has a blob. Its presence is no proof that it is sound."""
        with self._transport.exchange(
            "HEAD", f"/api/blobs/{digest}", deadlines=self.timing.quick
        ) as reply:
            reply.read()
            if reply.status in {200, 404}:
                return reply.status == 200  # noqa: PLR2004 - HTTP's own number
            raise error_of(reply.status, f"the server refuses the digest {digest}".encode())

    def upload(self, path: Path, digest: str) -> None:
        """Upload a file as a blob. There is no resume: ask `has_blob` first.

        Raises OllamaError(DIGEST) when the file is not what the digest says.
        """

        def pieces() -> Iterator[bytes]:
            with path.open("rb") as file:
                while piece := file.read(_PIECE):
                    yield piece

        with self._transport.exchange(
            "POST",
            f"/api/blobs/{digest}",
            deadlines=self.timing.upload,
            content=pieces(),
            headers={
                "content-type": "application/octet-stream",
                "content-length": str(path.stat().st_size),
            },
        ) as reply:
            body = reply.read()
            if reply.status not in {200, 201}:
                raise error_of(reply.status, body)

    def create(self, request: Mapping[str, Any]) -> Iterator[str]:
        """Create a model and yield the statuses; the last is `success` or OllamaError is raised.

        Closing the iterator before its end abandons the creation on the server.
        """
        with self._transport.exchange(
            "POST",
            "/api/create",
            deadlines=self.timing.create,
            body={**request, "stream": True},
        ) as reply:
            yield from read_statuses(reply.status, reply.chunks)

    def copy(self, source: str, destination: str) -> None:
        """Give a model a second name."""
        self._silent("POST", "/api/copy", {"source": source, "destination": destination})

    def delete(self, name: str) -> None:
        """Delete a name. A name that is not there is done already."""
        try:
            self._silent("DELETE", "/api/delete", {"model": name})
        except OllamaError as error:
            if error.fault is not Fault.NO_MODEL:
                raise

    def close(self) -> None:
        """Give back what the client holds. Safe to call twice."""
        with self._lock:
            if self._lazy_transport is not None:
                self._lazy_transport.close()
                self._lazy_transport = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # Inside

    @property
    def _transport(self) -> Transport:
        with self._lock:
            if self._lazy_transport is None:
                # The HTTP library is slow to import; commands that only name us do not pay.
                from so8t.engines.ollama.transport import Transport  # noqa: PLC0415 - as said

                self._lazy_transport = Transport(self.url, max_bytes=self._max_bytes)
            return self._lazy_transport

    def _bounds(self, options: Mapping[str, Any]) -> dict[str, Any]:
        # `shift` is a load-time property too, so it goes with every request, the preload included.
        return {"options": check_options(options), "truncate": False, "shift": False}

    def _answer(
        self,
        path: str,
        body: dict[str, Any],
        options: Mapping[str, Any],
        *,
        keep_alive: str | int,
        call: Call | None,
        deadlines: Deadlines | None,
    ) -> OllamaAnswer:
        if "num_predict" not in options:
            raise OllamaError(Fault.REFUSED, "num_predict is missing: the answer had no limit")
        body = {**body, "keep_alive": keep_alive, **self._bounds(options)}
        return self._request(path, body, deadlines or self.timing.answer, FINISHED, call)

    def _request(
        self,
        path: str,
        body: Mapping[str, Any],
        deadlines: Deadlines,
        ends: frozenset[str],
        call: Call | None = None,
    ) -> OllamaAnswer:
        with self._transport.exchange(
            "POST", path, deadlines=deadlines, body=body, call=call
        ) as reply:
            return read_answer(reply.status, reply.chunks, ends)

    def _object(self, method: str, path: str, body: Any, deadlines: Deadlines) -> dict[str, Any]:
        with self._transport.exchange(method, path, deadlines=deadlines, body=body) as reply:
            return read_object(reply.status, reply.read())

    def _look(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        from so8t.engines.ollama.retry import attempts  # noqa: PLC0415 - stamina, only when asked

        for attempt in attempts(self.timing.retries):
            with attempt:
                return self._object(method, path, body, self.timing.quick)
        raise AssertionError("attempts() ends with an answer or an error")

    def _silent(self, method: str, path: str, body: Any) -> None:
        with self._transport.exchange(
            method, path, deadlines=self.timing.quick, body=body
        ) as reply:
            content = reply.read()
            if reply.status != 200:  # noqa: PLR2004 - HTTP's own number
                raise error_of(reply.status, content)


def _plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]
