"""The routes of the fake server, as a real one answers them."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, cast

from fake_ollama.answer import Refused, prepare
from fake_ollama.create import create_lines
from fake_ollama.shapes import (
    answer_line,
    compact,
    details_of,
    last_counts,
    timestamp,
    wants_answer,
)
from so8t.engines.ollama.records import full_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fake_ollama.answer import Prepared
    from fake_ollama.server import FakeOllama
    from fake_ollama.store import Runner

_BLOB = re.compile(r"sha256[:-][0-9a-f]{64}")
_JSON = "application/json; charset=utf-8"
_STREAM = "application/x-ndjson"
_SOUND_PIECES = 2  # what comes of an answer before its trouble
_GET_ONLY = {"/api/version", "/api/tags", "/api/ps"}
_POST_ONLY = {"/api/generate", "/api/chat", "/api/show", "/api/create", "/api/copy"}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    @property
    def fake(self) -> FakeOllama:
        """The server that this connection belongs to."""
        return cast("FakeOllama", self.server.fake)  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""

    def do_GET(self) -> None:
        """Answer the lists."""
        self._route("GET")

    def do_HEAD(self) -> None:
        """Answer whether a blob is there."""
        self._route("HEAD")

    def do_POST(self) -> None:
        """Answer all else."""
        self._route("POST")

    def do_PUT(self) -> None:
        """Refuse."""
        self._route("PUT")

    def do_DELETE(self) -> None:
        """Delete a model."""
        self._route("DELETE")

    # Routing

    def _route(self, method: str) -> None:
        host = (self.headers.get("host") or "").rpartition(":")[0] or self.headers.get("host", "")
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        if host not in {"127.0.0.1", "localhost", "[::1]"}:
            self._reply(403, b"", None)
            return
        blob = re.fullmatch(r"/api/blobs/(.*)", self.path)
        if blob:
            self.fake.requests.append((method, self.path, len(content)))
            self._blob(method, blob.group(1), content)
            return
        body = self._parsed(content) if method in {"POST", "DELETE"} else {}
        self.fake.requests.append((method, self.path, body))
        if body is None:
            return
        routes = {
            ("GET", "/api/version"): self._version,
            ("GET", "/api/tags"): self._tags,
            ("GET", "/api/ps"): self._ps,
            ("POST", "/api/show"): self._show,
            ("POST", "/api/create"): self._create,
            ("POST", "/api/copy"): self._copy,
            ("DELETE", "/api/delete"): self._delete,
            ("POST", "/api/generate"): self._answer,
            ("POST", "/api/chat"): self._answer,
        }
        if self.path == "/":
            self._reply(200, b"Ollama is running", "text/plain; charset=utf-8")
        elif (method, self.path) in routes:
            routes[method, self.path](body)
        elif self.path in _GET_ONLY | _POST_ONLY:
            self._reply(405, b"405 method not allowed", "text/plain")
        else:
            self._reply(404, b"404 page not found", "text/plain")

    def _parsed(self, content: bytes) -> dict[str, Any] | None:
        if not content:
            self._error(400, "missing request body")
            return None
        try:
            return cast("dict[str, Any]", json.loads(content))
        except ValueError:
            word = content[1:2].decode("utf-8", "replace")
            self._error(
                400, f"invalid character '{word}' looking for beginning of object key string"
            )
            return None

    # What only looks

    def _version(self, _body: dict[str, Any]) -> None:
        self._object({"version": self.fake.version})

    def _tags(self, _body: dict[str, Any]) -> None:
        with self.fake.store.changed:
            models = [
                {
                    "name": name,
                    "model": name,
                    "modified_at": timestamp(),
                    "size": toy.size,
                    "digest": toy.digest,
                    "details": {
                        **details_of(toy),
                        "context_length": 2048,
                        "embedding_length": 512,
                    },
                    "capabilities": ["completion"],
                }
                for name, toy in self.fake.store.models.items()
            ]
        self._object({"models": models})

    def _ps(self, _body: dict[str, Any]) -> None:
        with self.fake.store.changed:
            models = [
                {
                    "name": name,
                    "model": name,
                    "size": runner.size,
                    "digest": runner.toy.digest,
                    "details": details_of(runner.toy),
                    "expires_at": timestamp(),
                    "size_vram": round(runner.size * runner.toy.gpu_share),
                    "context_length": runner.context,
                }
                for name, runner in self.fake.store.runners.items()
            ]
        self._object({"models": models})

    def _show(self, body: dict[str, Any]) -> None:
        name = str(body.get("model", ""))
        if not name:
            self._error(400, "model is required")
            return
        toy = self.fake.store.find(name)
        if toy is None:
            self._error(404, f"model '{full_name(name)}' not found")
            return
        stops = 'stop                           "<|im_start|>"\n' * bool(toy.template)
        self._object(
            {
                "modelfile": f"# FROM {full_name(name)}\n\n"
                f"FROM /models/blobs/sha256-{toy.weights}\n",
                "parameters": stops + stops.replace("start", "end").rstrip("\n"),
                "template": toy.template,
                "details": details_of(toy),
                "model_info": {"general.architecture": "llama", "llama.context_length": 2048},
                "tensors": [],
                "capabilities": ["completion"],
                "modified_at": timestamp(),
            }
        )

    # What changes the store

    def _blob(self, method: str, digest: str, content: bytes) -> None:
        store = self.fake.store
        if not _BLOB.fullmatch(digest):
            self._error(400, "invalid digest format", body=method != "HEAD")
        elif method == "HEAD":
            self._reply(200 if digest in store.blobs else 404, b"", None)
        else:
            true = f"sha256:{hashlib.sha256(content).hexdigest()}"
            with store.changed:
                present = digest in store.blobs
                store.blobs.setdefault(true, content)
            if true != digest and not present:
                self._error(400, f'digest mismatch, expected "{digest}", got "{true}"')
            else:
                self._reply(200 if present else 201, b"", None)

    def _create(self, body: dict[str, Any]) -> None:
        status, lines = create_lines(self.fake.store, body)
        early = status != HTTPStatus.OK
        if not body.get("stream", True):
            # One object: the last line. An error that would come late then has a real status.
            late = "error" in lines[-1] and not early
            self._object(lines[-1], status=500 if late else status, kind="application/json")
        elif early:
            self._object(lines[-1], status=status)
        else:
            self._lines(lines)

    def _copy(self, body: dict[str, Any]) -> None:
        source = str(body.get("source", ""))
        toy = self.fake.store.find(source)
        if toy is None:
            self._error(404, f'model "{source}" not found')
            return
        self.fake.store.add(str(body["destination"]), toy)
        self._reply(200, b"", None)

    def _delete(self, body: dict[str, Any]) -> None:
        name = str(body.get("model", ""))
        if self.fake.store.remove(name):
            self._reply(200, b"", None)
        else:
            self._error(404, f"model '{name}' not found")

    # Answers

    def _answer(self, body: dict[str, Any]) -> None:
        fake = self.fake
        name = str(body.get("model", ""))
        chat = self.path == "/api/chat"
        toy = fake.store.find(name)
        if toy is None:
            if chat and not name:
                self._error(400, "model is required")
            else:
                self._error(404, f"model '{name}' not found")
            return
        if body.get("keep_alive") == 0 and not body.get("prompt") and not body.get("messages"):
            fake.store.unload(name)
            self._object(answer_line(body, chat, "", done_reason="unload"))
            return
        trouble = fake.trouble.popleft() if fake.trouble and wants_answer(body) else None
        if trouble == "busy":
            self._error(503, "server busy, please try again.  maximum pending requests exceeded")
            return
        try:
            prepared = prepare(toy, body, chat=chat)
            runner, loading, waited = fake.store.acquire(name, prepared.options)
        except Refused as refused:
            self._error(refused.status, refused.words)
            return
        except RuntimeError as damaged:
            self._error(500, str(damaged))
            return
        except ConnectionAbortedError:
            self._cut()
            return
        try:
            fake.most_at_once = max(fake.most_at_once, runner.busy)
            self._make(body, prepared, runner, (loading, waited), trouble)
        finally:
            fake.store.release(name, runner, keep=body.get("keep_alive") != 0)

    def _make(
        self,
        body: dict[str, Any],
        prepared: Prepared,
        runner: Runner,
        before: tuple[float, float],
        trouble: str | None,
    ) -> None:
        chat = self.path == "/api/chat"
        if prepared.only_render:
            line = answer_line(body, chat, "", done=False)
            if chat:
                line["message"]["role"] = ""
            self._object({**line, "_debug_info": {"rendered_template": prepared.prompt}})
            return
        if not prepared.asks:
            self._object(answer_line(body, chat, "", done_reason="load"))
            return
        if trouble == "crash":
            self.fake.store.crash(str(body["model"]))
            self._error(500, "an error was encountered while running the model: unexpected EOF")
            return
        try:
            said, counted = prepared.say(runner.context, self.fake.count)
        except Refused as refused:
            self._error(refused.status, refused.words)
            return
        odds = prepared.logprobs(said)
        began = time.monotonic()
        ends = "unfinished" if trouble == "unfinished" else said.reason
        if not body.get("stream", True):
            time.sleep(self.fake.piece_seconds * len(said.pieces))
            text = "".join(said.pieces)
            end = last_counts(prepared, text, before, counted, said.made, began) if ends else {}
            end |= {"logprobs": odds} if odds else {}
            self._object(
                answer_line(body, chat, text, done_reason=said.reason, done=bool(ends), **end)
            )
            return
        self._head(200, _STREAM, chunked=True)
        for number, piece in enumerate(said.pieces):
            if trouble in {"crash_midway", "drop", "hang"} and number == _SOUND_PIECES:
                self._trouble(trouble, str(body["model"]))
                return
            line = answer_line(body, chat, piece, done=False)
            self._chunk(line | ({"logprobs": [odds[number]]} if odds else {}))
            time.sleep(self.fake.piece_seconds)
        if ends is not None and trouble != "unfinished":
            text = "".join(said.pieces)
            end = last_counts(prepared, text, before, counted, said.made, began)
            self._chunk(answer_line(body, chat, "", done_reason=said.reason, **end))
        self._chunk(None)

    def _trouble(self, trouble: str, name: str) -> None:
        if trouble == "crash_midway":
            self.fake.store.crash(name)
            words = "an error was encountered while running the model: unexpected EOF"
            self._chunk({"error": words})
            self._chunk(None)
        elif trouble == "drop":
            self.wfile.write(b'30\r\n{"model":"torn')
            self._cut()
        else:
            # Silence until the other side has had enough.
            with suppress(OSError):
                self.connection.recv(1)
            self._cut()

    # Writing

    def _object(self, value: dict[str, Any], *, status: int = 200, kind: str = _JSON) -> None:
        self._reply(status, compact(value), kind)

    def _error(self, status: int, words: str, *, body: bool = True) -> None:
        self._reply(status, compact({"error": words}) if body else b"", _JSON)

    def _lines(self, lines: Iterable[dict[str, Any]]) -> None:
        self._head(200, _STREAM, chunked=True)
        for line in lines:
            self._chunk(line)
        self._chunk(None)

    def _reply(self, status: int, content: bytes, kind: str | None) -> None:
        self._head(status, kind, length=len(content))
        if self.command != "HEAD":
            self.wfile.write(content)

    def _head(
        self, status: int, kind: str | None, *, length: int = 0, chunked: bool = False
    ) -> None:
        self.send_response(status)
        if kind is not None:
            self.send_header("content-type", kind)
        if chunked:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(length))
        self.end_headers()

    def _chunk(self, line: dict[str, Any] | None) -> None:
        data = b"" if line is None else compact(line) + b"\n"
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
