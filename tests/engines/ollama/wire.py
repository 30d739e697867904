"""Servers made of bare sockets: they send exactly the bytes that a test says, and misbehave."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

EXCHANGES = Path(__file__).parent / "exchanges"


def recordings():
    """Yield (id, exchange) for every recorded exchange, in order."""
    for path in sorted(EXCHANGES.glob("*.json")):
        scenario = json.loads(path.read_text("utf-8"))
        for number, exchange in enumerate(scenario["exchanges"]):
            yield f"{scenario['id']}#{number}", exchange


def body_chunks(response):
    """Return the recorded body, one entry a chunk."""
    return [chunk["text"].encode() for chunk in response["chunks"]]


def wire_pieces(response):
    """Return the recorded response as it was on the wire, one piece a recorded chunk."""
    if response["status"] is None:
        return []
    head = [f"HTTP/1.1 {response['status']} Recorded"]
    head += [f"{name}: {value}" for name, value in response["headers"].items()]
    chunked = response["headers"].get("transfer-encoding") == "chunked"
    if not chunked and "content-length" not in response["headers"]:
        head.append("content-length: 0")
    pieces = [("\r\n".join(head) + "\r\n\r\n").encode()]
    pieces += [b"%x\r\n%s\r\n" % (len(c), c) if chunked else c for c in body_chunks(response)]
    if chunked and response["closed"] == "normal":
        pieces.append(b"0\r\n\r\n")
    return pieces


def read_request(connection):
    """Read one HTTP request; return its first line and its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return "", b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        0,
    )
    while len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            break
        body += piece
    return head.split(b"\r\n")[0].decode(), body


class WireServer:
    """A loopback server: each connection is handled by the next script, the last one for ever.

    A script is a function of the connected socket; the connection is closed when it returns.
    """

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                script = self.scripts[min(self.connections, len(self.scripts) - 1)]
                self.connections += 1
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection, script), daemon=True).start()

    def _serve(self, connection, script):
        with suppress(OSError):
            script(connection)
        with suppress(OSError):
            connection.close()

    def close(self):
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


def closed_port():
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def hold(connection):
    """Wait until the client has had enough."""
    with suppress(OSError):
        while connection.recv(65536):
            pass


def sending(pieces, *, pause=0.0, then=None):
    """Script: read the request, send the pieces, then close, or do `then`."""
    reply = replying(pieces, pause=pause, then=then)

    def script(connection):
        read_request(connection)
        reply(connection)

    return script


def replying(pieces, *, pause=0.0, then=None):
    """Script: as `sending`, for a request that has been read already."""

    def script(connection):
        for piece in pieces:
            connection.sendall(piece)
            if pause:
                time.sleep(pause)
        if then is not None:
            then(connection)

    return script


def reset(connection):
    """End the connection with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def json_response(value, status=200):
    """Return a whole response with a JSON body."""
    return plain_response(json.dumps(value).encode(), status, "application/json; charset=utf-8")


def plain_response(body, status=200, kind="text/plain"):
    """Return a whole response."""
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
)
STREAM_END = b"0\r\n\r\n"


def chunk(line):
    """Return one HTTP chunk that holds one JSON line."""
    data = json.dumps(line).encode() + b"\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def said(text):
    """Return one line of a streamed chat."""
    return {"model": "m", "message": {"role": "assistant", "content": text}, "done": False}


DONE = {
    "model": "m",
    "message": {"role": "assistant", "content": ""},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 5,
    "eval_count": 2,
    "eval_duration": 1000,
}
GOOD_ANSWER = [STREAM_HEAD, chunk(said("yes")), chunk(DONE), STREAM_END]
