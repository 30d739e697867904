"""Clients that leave or speak no HTTP, a disk that fills: refused as documented, in silence."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from think_server import start

from so8t.errors import signal_exit_code

BODY = b'{"query":"hello"}'


def request(port, body=BODY, *more):
    lines = [
        b"POST /think HTTP/1.1",
        b"Host: 127.0.0.1:%d" % port,
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        *more,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def answer(connection, seconds=20):
    """Everything that comes until the other end closes."""
    connection.settimeout(seconds)
    said = b""
    while piece := connection.recv(65536):
        said += piece
    return said


def leave(connection, *, rudely):
    if rudely:  # a reset instead of an end
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def counted(server, why):
    found = re.search(rf'rejected_total{{.*"{why}"}} (\d+)', server.send("GET", "/metrics")[2])
    return int(found[1]) if found else 0


NO_HTTP = [
    b"\x00\xff\xfe\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost\x00: b\r\n\r\n",
    b"POST /think HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST /think HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
]


@pytest.mark.parametrize("raw", NO_HTTP)
def test_what_is_no_http_is_refused_in_the_form_of_all_refusals(server, raw):
    """Status 400 and the documented JSON, then the connection is closed; it is counted."""
    before = counted(server, "http")
    head, _, body = answer(server.open(raw)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == "http"
    assert counted(server, "http") == before + 1


def test_clients_that_leave_are_counted_and_nothing_is_said_of_them(serve):
    """Ends and resets within head, body and answer: no word on standard error, and it serves on."""
    server = serve()
    whole = request(server.port)
    slow = request(server.port, b'{"query":"sleep:0.3"}')
    events = request(server.port, b'{"query":"sleep:0.3"}', b"Accept: text/event-stream")
    for rudely in (False, True):
        for cut in (1, 20, len(whole) - len(BODY), len(whole) - 3):
            leave(server.open(whole[:cut]), rudely=rudely)
        for raw in (slow, events):
            left = server.open(raw)
            time.sleep(0.1)
            leave(left, rudely=rudely)
    until = time.monotonic() + 20
    while counted(server, "left") < 4 and time.monotonic() < until:
        time.sleep(0.05)
    assert counted(server, "left") == 4
    assert server.post("hello")[0] == 200
    assert server.stop() == (143, "")


def test_nobody_reads_what_the_server_would_say_and_it_serves_on(serve):
    """A thousand broken requests, seeded, while standard error is a pipe that nobody reads."""
    server, chance = serve(), random.Random(14)
    whole = request(server.port)
    for _ in range(1000):
        raw = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(raw))
            match chance.randrange(3):
                case 0:
                    raw[place] = chance.randrange(256)
                case 1:
                    del raw[place]
                case _:
                    raw[place:place] = chance.choice([b"\r\n", b"\0", b" ", b":", b"\n\n"])
        connection = server.open(bytes(raw))
        leave(connection, rudely=chance.random() < 0.3)
    assert server.post("hello")[0] == 200
    assert server.send("GET", "/healthz")[0] == 200
    assert server.stop() == (143, "")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB of our own; made by root alone."""
    place = tmp_path / "small"
    place.mkdir()
    made = (
        sys.platform == "linux"
        and not subprocess.run(
            ["/bin/mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place],
            capture_output=True,
            check=False,
        ).returncode
    )
    if not made:
        pytest.skip("a small file system can be mounted by root alone, on Linux")
    yield place
    subprocess.run(["/bin/umount", "-l", place], check=True)


def test_a_full_disk_refuses_and_says_so_until_there_is_room(small_disk):
    """503 for questions and for /healthz, no word of the answer; with room again all is well."""
    server = start(small_disk)
    try:
        assert server.post("hello")[0] == 200
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 512)
        for _ in range(3):
            status, _, said = server.post("hello")
            assert (status, said["error"]["code"]) == (503, "audit")
            assert "Hello." not in json.dumps(said)
            assert server.send("GET", "/healthz")[0] == 503
        filler.unlink()
        assert server.send("GET", "/healthz")[0] == 200
        assert server.post("hello")[0] == 200
        assert "audit" in server.send("GET", "/metrics")[2]
    finally:
        assert server.stop() == (143, "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no hang-up")
def test_a_hang_up_ends_the_server_as_sigterm_does(serve):
    """What is being answered when the terminal is closed is answered and logged first."""
    import signal  # noqa: PLC0415 - named where it exists

    server = serve()
    asked = server.open(request(server.port, b'{"query":"sleep:0.5"}', b"Connection: close"))
    time.sleep(0.2)
    os.kill(server.process.pid, signal.SIGHUP)
    assert b'"awake"' in answer(asked)
    assert server.process.wait(20) == signal_exit_code(signal.SIGHUP)
    assert server.stop() == (129, "")
