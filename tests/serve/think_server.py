"""A real server process, and a client that can misbehave."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

FAST = {"per_minute": 1e9, "burst": 10**9}


@dataclass
class Server:
    """A running server: its port, its directory, and how to talk to it."""

    process: subprocess.Popen
    port: int
    directory: Path

    def post(self, query, *, headers=None, body=None, timeout=30, **more):
        """Ask; return status, headers, and the JSON (or text) that came."""
        raw = json.dumps({"query": query, **more}).encode() if body is None else body
        return self.send(
            "POST", "/think", raw, {"Content-Type": "application/json", **(headers or {})}, timeout
        )

    def send(self, method, path, body=None, headers=None, timeout=30):
        """Send any request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            said = response.read()
            kind = response.headers.get("Content-Type", "")
            return (
                response.status,
                response.headers,
                json.loads(said) if kind.startswith("application/json") else said.decode(),
            )
        finally:
            connection.close()

    def open(self, raw=b""):
        """Open a plain connection and send bytes."""
        made = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        if raw:
            made.sendall(raw)
        return made

    def stop(self):
        """End it as a service manager would; return its exit code and what it wrote."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


def start(directory, **options):
    """Start a server process on a directory."""
    options.setdefault("limits", FAST)
    process = subprocess.Popen(
        [
            sys.executable,
            str(Path(__file__).with_name("serve_under_test.py")),
            str(directory),
            json.dumps(options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    port = process.stdout.readline()
    if not port:
        pytest.fail(process.communicate()[1])
    return Server(process, int(port), directory)
