"""The fault table: each fault is a real server on loopback that misbehaves in one way.

Each ends in a retry, a failed answer with its reason, or a clear stop; never in a wrong text, and
never later than the deadlines allow.
"""

from __future__ import annotations

import json
import time
from itertools import count

import pytest
from ollama_engine import FAST, HELLO, question
from wire import (
    DONE,
    GOOD_ANSWER,
    STREAM_END,
    STREAM_HEAD,
    WireServer,
    chunk,
    closed_port,
    hold,
    json_response,
    plain_response,
    read_request,
    replying,
    reset,
    said,
    sending,
)

from so8t.domain.exchange import (
    Arm,
    EngineRequest,
    LoadProfile,
    ServedModel,
    Status,
)
from so8t.engines.ollama.engine import OllamaEngine
from so8t.engines.ollama.faults import Fault, OllamaError, ServerGone
from so8t.errors import EngineCrashed

OPTIONS = {"num_predict": 8, "seed": 1}
DIGEST = "a" * 64
TAGS = json_response({"models": [{"model": "m:latest", "digest": DIGEST, "size": 10}]})
PS = json_response(
    {
        "models": [
            {
                "model": "m:latest",
                "digest": DIGEST,
                "size": 10,
                "size_vram": 10,
                "context_length": 2048,
            }
        ]
    }
)


def ask(client):
    """One try, with the time that it took."""
    began = time.monotonic()
    with pytest.raises(OllamaError) as caught:
        client.chat("m", HELLO, OPTIONS)
    return caught.value, time.monotonic() - began


class Ollama(WireServer):
    """A server that is sound except for how it answers a chat: by the next script."""

    def __init__(self, *chats):
        self.chats = list(chats)
        self.asked = 0
        super().__init__(self._route)

    def _route(self, connection):
        line, body = read_request(connection)
        path = line.split(" ")[1] if line else ""
        if path == "/api/chat":
            wish = json.loads(body)
            if wish.get("_debug_render_only"):
                connection.sendall(
                    json_response({"done": False, "_debug_info": {"rendered_template": "x"}})
                )
                return
            script = self.chats[min(self.asked, len(self.chats) - 1)]
            self.asked += 1
            script(connection)
            return
        reply = {
            "/api/version": json_response({"version": "0.33.0"}),
            "/api/tags": TAGS,
            "/api/ps": PS,
            "/api/show": json_response({"template": "t", "modelfile": "", "parameters": ""}),
            # Loads and probes are sound; what counts are the questions.
            "/api/generate": json_response(
                {
                    "done": True,
                    "done_reason": "length" if b'"prompt"' in body else "load",
                    "response": "",
                }
            ),
        }[path]
        connection.sendall(reply)


def serve_one(*chats):
    """Ask one question of a session on such a server; return the reply, tries and seconds."""
    with Ollama(*chats) as server:
        engine = OllamaEngine(server.url, timing=FAST)
        session = engine.open(ServedModel(Arm.A, "m", DIGEST), LoadProfile())
        began = time.monotonic()
        (reply,) = session.serve([question()])
        return reply, server.asked, time.monotonic() - began


CHAT_GOOD = replying(GOOD_ANSWER)

# One client call each: (script, fault, retryable)
TORN = [STREAM_HEAD, chunk(said("ye")), b'40\r\n{"model":"m","mess']
CALLS = {
    "reset in the middle of a line": (sending(TORN, then=reset), Fault.LOST, True),
    "closed in the middle of a line": (sending(TORN), Fault.LOST, True),
    "closed before a status": (sending([]), Fault.LOST, True),
    "end without done": (
        sending([STREAM_HEAD, chunk(said("yes")), STREAM_END]),
        Fault.UNFINISHED,
        True,
    ),
    "end without done, not chunked": (
        sending([b"HTTP/1.1 200 OK\r\n\r\n", json.dumps(said("yes")).encode()]),
        Fault.UNFINISHED,
        True,
    ),
    "done that never completes the body": (
        sending([STREAM_HEAD, chunk(said("yes")), chunk(DONE)]),
        Fault.LOST,
        True,
    ),
    "accepts and never answers": (sending([], then=hold), Fault.DEADLINE, True),
    "stops after the first line": (
        sending([STREAM_HEAD, chunk(said("y"))], then=hold),
        Fault.DEADLINE,
        True,
    ),
    "503": (
        sending([json_response({"error": "server busy, please try again."}, 503)]),
        Fault.BUSY,
        True,
    ),
    "500 crash text": (
        sending([plain_response(b"panic: runtime error", 500)]),
        Fault.SERVER,
        True,
    ),
    "500 with the crash's own words": (
        sending(
            [
                json_response(
                    {"error": "an error was encountered while running the model: unexpected EOF"},
                    500,
                )
            ]
        ),
        Fault.CRASHED,
        True,
    ),
    "JSON that is no object": (sending([json_response([1, 2])]), Fault.MALFORMED, False),
    "JSON nested without end": (
        sending([plain_response(b"[" * 100_000)]),
        Fault.MALFORMED,
        False,
    ),
    "no JSON": (sending([plain_response(b"<html>hello</html>")]), Fault.MALFORMED, False),
    "no UTF-8": (sending([plain_response(b'{"a":"\xff"}')]), Fault.MALFORMED, False),
    "no HTTP": (sending([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"]), Fault.MALFORMED, False),
    "half a surrogate pair": (
        sending(
            [plain_response(b'{"message":{"content":"\\ud83d"},"done":true,"done_reason":"stop"}')]
        ),
        Fault.MALFORMED,
        False,
    ),
    "a text that is a number": (
        sending([json_response({"message": {"content": 7}, "done": True})]),
        Fault.MALFORMED,
        False,
    ),
    "done: 1 instead of true": (
        sending([json_response({"message": {"content": "x"}, "done": 1, "done_reason": "stop"})]),
        Fault.UNFINISHED,
        True,
    ),
    "done for a reason that is none": (
        sending([json_response({"message": {"content": ""}, "done": True, "done_reason": "load"})]),
        Fault.UNFINISHED,
        True,
    ),
    "an error after the text": (
        sending([STREAM_HEAD, chunk(said("yes")), chunk({"error": "boom"}), STREAM_END]),
        Fault.SERVER,
        True,
    ),
    "a line after done": (
        sending([STREAM_HEAD, chunk(DONE), chunk(said("more")), STREAM_END]),
        Fault.MALFORMED,
        False,
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_one_call(client_of, name):
    """A misbehaving answer is a fault of the right kind, told in time, and never a text."""
    script, fault, retryable = CALLS[name]
    with WireServer(script) as server:
        error, seconds = ask(client_of(server.url))
    assert (error.fault, error.retryable) == (fault, retryable)
    assert seconds < FAST.answer.whole + 0.5


def test_refused_connection(client_of):
    """A refused connection is told at once, and another try can help."""
    error, seconds = ask(client_of(f"http://127.0.0.1:{closed_port()}"))
    assert (error.fault, error.retryable) == (Fault.UNREACHABLE, True)
    assert "ollama serve" in error.hint
    assert seconds < 0.5


def test_one_byte_a_time_does_not_outlive_the_whole_answers_deadline(client_of):
    """A drip that satisfies every single read ends at the deadline of the whole answer."""

    def drip(connection):
        read_request(connection)
        connection.sendall(STREAM_HEAD)
        line = chunk(said("y" * 4000))
        for byte in line:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)

    with WireServer(drip) as server:
        error, seconds = ask(client_of(server.url))
    assert error.fault is Fault.DEADLINE
    assert "whole answer" in error.detail
    assert not error.retryable
    assert FAST.answer.whole <= seconds < FAST.answer.whole + 0.4


def test_one_byte_a_time_in_the_headers_ends_too(client_of):
    """A drip inside the headers, where an HTTP client never returns, ends at the same deadline."""

    def drip(connection):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nx-long: ")
        for _ in count():
            connection.sendall(b"y")
            time.sleep(0.02)

    with WireServer(drip) as server:
        error, seconds = ask(client_of(server.url))
    assert error.fault is Fault.DEADLINE
    assert seconds < FAST.answer.whole + 0.4


def test_200_megabytes(client_of):
    """A huge answer is refused at the cap, with memory and time bounded."""
    sent = 0

    def flood(connection):
        nonlocal sent
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 200000000\r\n\r\n")
        block = b'{"message":{"content":"' + b"y" * (1 << 20)
        while sent < 200_000_000:
            connection.sendall(block)
            sent += len(block)

    with WireServer(flood) as server:
        error, seconds = ask(client_of(server.url, max_bytes=20_000_000))
    assert (error.fault, error.retryable) == (Fault.TOO_LARGE, False)
    assert sent < 60_000_000
    assert seconds < FAST.answer.whole


def test_a_server_that_does_not_read(client_of, tmp_path):
    """An upload to a server that stops reading ends at the deadline between bytes."""
    blob = tmp_path / "blob"
    blob.write_bytes(b"x" * 30_000_000)

    def deaf(connection):
        connection.recv(100)
        time.sleep(4)

    with WireServer(deaf) as server, pytest.raises(OllamaError) as caught:
        client_of(server.url).upload(blob, f"sha256:{'0' * 64}")
    assert caught.value.fault is Fault.DEADLINE


# What a session makes of a fault: a retry that heals, or a failed reply with its reason.
HEALED = {
    "reset in the middle of a line": replying(TORN, then=reset),
    "end without done": replying([STREAM_HEAD, chunk(said("no")), STREAM_END]),
    "accepts and never answers": hold,
    "stops after the first line": replying([STREAM_HEAD, chunk(said("n"))], then=hold),
    "503": replying([json_response({"error": "server busy, please try again."}, 503)]),
    "500 crash text": replying([plain_response(b"panic: runtime error", 500)]),
    "crash in the middle": replying(
        [
            STREAM_HEAD,
            chunk(said("no")),
            chunk({"error": "an error was encountered while running the model: unexpected EOF"}),
            STREAM_END,
        ]
    ),
}


@pytest.mark.parametrize("name", HEALED)
def test_one_fault_costs_one_retry(name):
    """A fault that does not return costs one more try, and the text is the second try's alone."""
    reply, tries, seconds = serve_one(HEALED[name], CHAT_GOOD)
    assert (reply.status, reply.text, tries) == (Status.COMPLETED, "yes", 2)
    assert seconds < 2.0


FAILED = {
    "end without done": (HEALED["end without done"], "without done: true", 3),
    "crash in the middle": (HEALED["crash in the middle"], "unexpected EOF", 3),
    "reset in the middle of a line": (HEALED["reset in the middle of a line"], "broke", 3),
    "500 crash text": (HEALED["500 crash text"], "panic: runtime error", 3),
    "JSON that is no object": (replying([json_response([1])]), "no object", 1),
    "too long a prompt": (
        replying(
            [
                json_response(
                    {
                        "error": '{"error":{"message":"request (9 tokens) exceeds the available '
                        'context size (8 tokens), try increasing it"}}'
                    },
                    400,
                )
            ]
        ),
        "exceeds the available context size",
        1,
    ),
    "wrong option type": (
        replying([json_response({"error": 'option "stop" must be of type array'}, 500)]),
        "must be of type",
        1,
    ),
    "repetition": (
        replying([STREAM_HEAD, *[chunk(said("q"))] * 31, STREAM_END]),
        "31 equal tokens in a row",
        1,
    ),
    "never answers": (hold, "first byte", 3),
}


@pytest.mark.parametrize("name", FAILED)
def test_a_lasting_fault_is_a_failed_reply(name):
    """A fault that stays ends in a failed reply with its reason, after bounded tries."""
    script, reason, tries = FAILED[name]
    reply, tried, seconds = serve_one(script)
    assert reply.status is Status.FAILED
    assert reply.text == ""
    assert reason in reply.reason
    assert tried == tries
    assert seconds < tries * (FAST.answer.whole + 0.5)


def test_a_drip_is_a_failed_reply_after_one_try():
    """An answer that took its whole time is not asked for again for as long."""

    def drip(connection):
        connection.sendall(STREAM_HEAD)
        for byte in chunk(said("y" * 4000)):
            connection.sendall(bytes([byte]))
            time.sleep(0.02)

    reply, tries, seconds = serve_one(drip)
    assert (reply.status, tries) == (Status.FAILED, 1)
    assert "whole answer" in reply.reason
    assert seconds < FAST.answer.whole + 0.6


def test_503_for_a_while_is_waited_for():
    """A full queue is met more often than other faults are, until it is no longer full."""
    busy = HEALED["503"]
    reply, tries, _seconds = serve_one(*[busy] * 8, CHAT_GOOD)
    assert (reply.text, tries) == ("yes", 9)


def test_503_for_ever_ends():
    """A queue that stays full is a failed reply when the time for it is over."""
    reply, _tries, seconds = serve_one(HEALED["503"])
    assert reply.status is Status.FAILED
    assert "server busy" in reply.reason
    assert seconds < FAST.retries.busy_seconds + 0.5


def test_a_server_that_is_gone_is_a_clear_stop(fake, served):
    """A server that does not come back ends in EngineCrashed, in time, with what to do."""
    engine = OllamaEngine(fake.url, timing=FAST)
    session = engine.open(served(), LoadProfile())
    fake.stop()
    began = time.monotonic()
    with pytest.raises(EngineCrashed) as caught:
        list(session.serve([EngineRequest("k", HELLO)]))
    assert isinstance(caught.value, ServerGone)
    assert "ollama serve" in caught.value.hint
    assert time.monotonic() - began < FAST.restart + 1.0


@pytest.mark.slow
def test_a_server_that_hangs_for_good_is_a_clear_stop(fake, served):
    """A server that answers nothing even after the unload ends in EngineCrashed, in time."""
    engine = OllamaEngine(fake.url, timing=FAST)
    session = engine.open(served(), LoadProfile())
    fake.store.stuck = fake.store.stubborn = True
    began = time.monotonic()
    with pytest.raises(EngineCrashed):
        list(session.serve([EngineRequest("k", HELLO)]))
    assert time.monotonic() - began < 6.0
    fake.store.stuck = False
