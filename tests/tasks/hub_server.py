"""A hub of data sets on this machine: what `datasets` asks of huggingface.co, from files."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


class Hub(ThreadingHTTPServer):
    """Serves one data set: `files` by their paths in it; `asked` are the requests so far."""

    def __init__(self, name: str, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name = name
        self.files = files
        self.asked: list[str] = []
        self.address = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        name, files = self.server.name, self.server.files
        api, repository = f"/api/datasets/{name}", f"/datasets/{name}/resolve/"
        if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            self._json(_info(name, files))
        elif path.startswith(f"{api}/tree/"):
            self._json(_tree(files, path.removeprefix(f"{api}/tree/").partition("/")[2]))
        elif path.startswith(repository):
            self._file(path.removeprefix(repository).partition("/")[2])
        else:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _file(self, file: str) -> None:
        data = self.server.files.get(file)
        if data is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        else:
            self._send(200, data, {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": COMMIT})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def hub(name: str, files: dict[str, bytes]) -> Iterator[Hub]:
    """Run a hub with one data set; `hub.address` is what HF_ENDPOINT takes."""
    with Hub(name, files) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _entry(path: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(data), "oid": _oid(data)}


def _info(name: str, files: dict[str, bytes]) -> dict[str, Any]:
    return {
        "_id": "0", "id": name, "sha": COMMIT, "private": False, "gated": False, "disabled": False,
        "downloads": 0, "likes": 0, "tags": [], "lastModified": "2024-01-01T00:00:00.000Z",
        "siblings": [{"rfilename": path} for path in files],
    }  # fmt: skip


def _tree(files: dict[str, bytes], below: str) -> list[dict[str, Any]]:
    inside = [path for path in files if not below or path.startswith(f"{below}/")]
    folders = sorted({path.rpartition("/")[0] for path in inside} - {"", below})
    return [
        *({"type": "directory", "path": one, "size": 0, "oid": "0" * 40} for one in folders),
        *(_entry(path, files[path]) for path in inside),
    ]
