"""POST /think: the answer of a model and nothing else, whatever the model or the client does."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time

import jsonschema
import pytest
from think_server import FAST

MARKER = "zqx-7f3a-qzx"
THOUGHT = (
    f"<think-task>{MARKER}</think-task><think-safety>{MARKER}\nALLOW</think-safety>"
    f"<think-policy>{MARKER}</think-policy>"
)


def test_only_the_final_part_comes_back(server):
    """The answer with its label; the thinking before it stays inside."""
    status, headers, said = server.post(f"say:{THOUGHT}<final>\nParis & <b>Rome</b>\n</final>")
    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    assert (said["label"], said["final"]) == ("ALLOW", "Paris & <b>Rome</b>")
    assert (said["outcome"], said["reason"]) == ("answered", None)


@pytest.mark.parametrize(
    ("reply", "label", "reason"),
    [
        (f"<think-safety>ESCALATE</think-safety><final>x</final>{MARKER}", "REFUSE", "after_final"),
        (
            f"<think-safety>{MARKER}\nREFUSE</think-safety><final>{MARKER}</final>",
            "REFUSE",
            "label",
        ),
        (f"<think-safety>{MARKER}</think-safety><final>{MARKER}</final>", "REFUSE", "no_label"),
        (f"{THOUGHT}{MARKER}", "REFUSE", "no_final"),
        (f"{THOUGHT}<final>a <think>{MARKER}</think></final>", "REFUSE", "unbalanced"),
        (f"{THOUGHT}<final>&lt;think&gt;{MARKER}</final>", "REFUSE", "tag_inside"),
        ("<think>" * 2_000 + MARKER, "REFUSE", "no_final"),
    ],
    ids=["after", "refuse", "no-label", "no-final", "nested", "entity", "flood"],
)
def test_what_is_not_clearly_an_answer_is_refused(server, reply, label, reason):
    """A refusal in our own words, never a fragment of the model's."""
    status, _, said = server.post(f"say:{reply}", language="ja")
    assert status == 200
    assert (said["label"], said["outcome"], said["reason"]) == (label, "refused", reason)
    assert said["final"] == "この質問にはお答えできません。"
    assert MARKER not in json.dumps(said)


def test_an_escalated_answer_carries_its_label(server):
    """ESCALATE leaves with the answer, for the client to route it to a person."""
    _, _, said = server.post("say:<think-safety>ESCALATE</think-safety><final>x</final>")
    assert (said["label"], said["final"]) == ("ESCALATE", "x")


def test_a_reply_that_was_cut_is_refused(server):
    """It looks whole, but the model was not done."""
    _, _, said = server.post(f"cut:{THOUGHT}<final>x</final>")
    assert (said["outcome"], said["reason"]) == ("refused", "unfinished")


def test_a_crash_of_the_engine_is_an_answer_too(server):
    """The client hears that there is none, without the engine's last words; the next one works."""
    status, _, said = server.post("crash")
    assert (status, said["outcome"], said["reason"]) == (502, "failed", "engine")
    assert MARKER not in json.dumps(said)
    assert server.post("hello")[2]["final"] == "Hello."


def test_a_question_beyond_the_context_is_told_so(server):
    """Nobody is told to try again later what can never work."""
    status, _, said = server.post("long")
    assert (status, said["outcome"], said["reason"]) == (502, "failed", "context")
    assert said["final"] == "The question is too long for this model."


def test_a_stream_has_progress_and_then_the_whole_answer(server):
    """Server-sent events: thinking while it lasts, one answer, and nothing of the thinking."""
    status, headers, text = server.post("sleep:1.3", headers={"Accept": "text/event-stream"})
    assert status == 200
    assert headers["Content-Type"].startswith("text/event-stream")
    events = [block.split("\ndata: ") for block in text.strip().split("\n\n")]
    assert [name for name, _ in events] == ["event: thinking"] * 2 + ["event: answer"]
    assert json.loads(events[-1][1])["final"] == "awake"
    _, _, text = server.post(f"say:{THOUGHT}<final>x", headers={"Accept": "text/event-stream"})
    assert MARKER not in text
    assert "I cannot answer this." in text


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "json"),
        (b"{", 400, "json"),
        (b"\xff\xfe{}", 400, "json"),
        (b'{"query": "a", "query": "b"}', 400, "json"),
        (b'{"query": NaN}', 400, "json"),
        (b"[" * 60_000, 400, "json"),
        (b"[]", 422, "value"),
        (b"{}", 422, "value"),
        (b'{"query": 1}', 422, "value"),
        (b'{"query": ""}', 422, "value"),
        (b'{"query": " \\n"}', 422, "value"),
        (b'{"query": "\\ud800"}', 422, "value"),
        (b'{"query": "a", "system": "b"}', 422, "value"),
        (b'{"query": "a", "max_tokens": 0}', 422, "value"),
        (b'{"query": "a", "language": "xx"}', 422, "value"),
        (json.dumps({"query": "a" * 16_001}).encode(), 422, "value"),
        (json.dumps({"query": "a" * 66_000}).encode(), 413, "too_large"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else str(value),
)
def test_bad_bodies_are_named_and_never_repeated(server, body, status, code):
    """Invalid JSON, invalid UTF-8, unknown keys, wrong values, too much: each has its status."""
    found, _, said = server.post("", body=body)
    assert (found, said["error"]["code"]) == (status, code)
    assert "system" not in said["error"]["message"]


def test_a_body_that_does_not_say_its_size_is_bounded_too(server):
    """A chunked body is cut off at the same size."""
    with server.open(
        f"POST /think HTTP/1.1\r\nHost: localhost:{server.port}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    ) as connection:
        for _ in range(80):
            try:
                connection.sendall(b"400\r\n" + b"a" * 1024 + b"\r\n")
            except OSError:
                break
        assert b" 413 " in connection.recv(1000)


def test_the_door(server, serve):
    """Another host name, another site's page, another kind of content and no token are refused."""
    for headers, status in (
        ({"Host": "evil.example"}, 403),
        ({"Host": f"evil.example:{server.port}"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Origin": f"http://localhost:{server.port}"}, 200),
    ):
        assert server.post("hello", headers=headers)[0] == status, headers
    guarded = serve(token="0123456789abcdef")  # noqa: S106 - of this test
    for value, status in (
        (None, 401),
        ("Bearer wrong", 401),
        ("Basic 0123456789abcdef", 401),
        ("Bearer 0123456789abcdef", 200),
    ):
        headers = {} if value is None else {"Authorization": value}
        assert guarded.post("hello", headers=headers)[0] == status, value
    assert guarded.send("GET", "/metrics")[0] == 401
    assert guarded.send("GET", "/healthz")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allow"),
    [
        ("GET", "/", 404, "path", None),
        ("GET", f"/{MARKER}", 404, "path", None),
        ("POST", "/think/", 404, "path", None),
        ("GET", "/think", 405, "method", "POST"),
        ("POST", "/healthz", 405, "method", "GET, HEAD"),
    ],
)
def test_what_is_not_there_is_said_as_json(server, method, path, status, code, allow):
    """No such path, or not with this method: the error form of all others, nothing repeated."""
    found, headers, said = server.send(method, path)
    assert (found, said["error"]["code"]) == (status, code)
    assert headers["Content-Type"] == "application/json"
    given = headers.get("Allow")
    assert (given and sorted(given.split(", "))) == (allow and allow.split(", "))
    assert MARKER not in json.dumps(said)


@pytest.mark.slow
def test_more_than_may_wait_are_told_to_come_back(serve):
    """One is answered, two wait, the rest hear 429 at once; those that wait get their answers."""
    server = serve(limits={**FAST, "waiting": 2})
    found = []

    def ask():
        found.append(server.post("sleep:1.0")[0])

    threads = [threading.Thread(target=ask) for _ in range(6)]
    threads[0].start()
    time.sleep(0.3)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200, 200, 200, 429, 429, 429]


def test_a_client_that_asks_too_often_is_told_when_to_come_back(serve):
    """The rate is bounded for each address."""
    server = serve(limits={"per_minute": 1, "burst": 3})
    answers = [server.post("hello") for _ in range(4)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1][1]["Retry-After"]) <= 61


def test_a_model_that_takes_too_long_is_not_waited_for(serve):
    """The time limit ends the request; the row is written."""
    server = serve(limits={**FAST, "answer": 0.5})
    status, _, said = server.post("sleep:2")
    assert (status, said["outcome"], said["label"]) == (504, "timeout", "REFUSE")
    assert "so8t_think_audit_rows 1" in server.send("GET", "/metrics")[2]


def _sent_before_cut(connection, piece, pause):
    """Send pieces until the other side cuts the connection; return how many went out."""
    for number in range(1000):
        time.sleep(pause)
        try:
            connection.sendall(piece)
        except OSError:
            return number
    pytest.fail("never cut off")
    return None


def _until(connection, end):
    said = b""
    while not said.endswith(end):
        said += connection.recv(1000)


@pytest.mark.slow
def test_slow_clients_are_cut_off(serve):
    """A head or a body that drips in, on a new connection or on a used one, has a deadline."""
    server = serve(limits={**FAST, "headers": 1.0, "body_time": 1.0})
    with server.open() as connection:  # sends nothing
        assert connection.recv(10) == b""
    with server.open(b"POST /think HTTP/1.1\r\n") as connection:
        assert _sent_before_cut(connection, b"x: y\r\n", 0.1) < 30
    head = f"Host: localhost:{server.port}\r\n"
    with server.open(f"GET /healthz HTTP/1.1\r\n{head}\r\n".encode()) as connection:
        _until(connection, b"}")
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert connection.recv(10) == b""
    head += "Content-Type: application/json\r\nContent-Length: 50\r\n"
    with server.open(f"POST /think HTTP/1.1\r\n{head}\r\n{{".encode()) as connection:
        assert b" 408 " in connection.recv(1000)


def test_a_client_that_reads_nothing_is_cut_off(serve):
    """An answer that nobody takes does not hold a connection for ever."""
    server = serve(limits={**FAST, "write": 1.0})
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(("127.0.0.1", server.port))
        request = f"GET /openapi.json HTTP/1.1\r\nHost: localhost:{server.port}\r\n\r\n".encode()
        assert _sent_before_cut(connection, request * 200, 0.02) < 200
    assert server.post("hello")[0] == 200


@pytest.mark.slow
def test_a_thousand_silent_connections_disturb_nobody(serve):
    """They are held, others are answered meanwhile, and they go at their deadline."""
    server = serve(limits={**FAST, "headers": 3.0})
    silent = [server.open() for _ in range(1000)]
    try:
        assert server.post("hello")[2]["final"] == "Hello."
        assert [connection.recv(1) for connection in silent] == [b""] * 1000
        assert server.post("hello")[0] == 200
    finally:
        for connection in silent:
            connection.close()


def test_more_connections_than_allowed_are_closed_unheard(serve):
    """The number is bounded, and room that gets free is used."""
    server = serve(limits={**FAST, "connections": 5})
    held = [server.open() for _ in range(5)]
    time.sleep(0.2)
    with pytest.raises((OSError, ValueError)):
        server.post("hello")
    for connection in held:
        connection.close()
    time.sleep(0.2)
    assert server.post("hello")[0] == 200


def test_a_client_that_goes_away_is_logged_all_the_same(serve):
    """The row is written though nobody waits for the answer."""
    server = serve()
    body = b'{"query": "sleep:0.6"}'
    head = (
        f"POST /think HTTP/1.1\r\nHost: localhost:{server.port}\r\nAccept: text/event-stream\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection = server.open(head.encode() + body)
    time.sleep(0.3)
    connection.close()
    time.sleep(0.8)
    assert "so8t_think_audit_rows 1" in server.send("GET", "/metrics")[2]


def test_the_description_fits_what_is_said(server):
    """OpenAPI names the routes, and answers have the form that it describes."""
    _, _, described = server.send("GET", "/openapi.json")
    assert set(described["paths"]) == {"/think", "/healthz", "/metrics"}
    schemas = described["components"]["schemas"]
    _, _, said = server.post("hello")
    jsonschema.validate(said, schemas["ThinkResponse"])
    jsonschema.validate(server.post("", body=b"{}")[2], schemas["Error"])
    jsonschema.validate({"query": "a", "max_tokens": 3}, schemas["ThinkRequest"])
    assert server.send("GET", "/think")[0] == 405
    assert server.send("GET", "/other")[0] == 404


def test_metrics_are_numbers_alone(server):
    """Prometheus text: every line is a comment or a name with a number."""
    _, headers, text = server.send("GET", "/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for line in text.strip().split("\n"):
        assert line.startswith("# ") or float(line.rsplit(" ", 1)[1]) >= 0
    assert 'so8t_think_requests_total{outcome="answered",label="ALLOW"}' in text


def test_sigterm_ends_it_in_order(serve):
    """What is being answered is finished first; the process says how it ended."""
    server = serve()
    found = []
    asking = threading.Thread(target=lambda: found.append(server.post("sleep:1.0")[2]["final"]))
    asking.start()
    time.sleep(0.4)
    code, errors = server.stop()
    asking.join()
    assert found == ["awake"]
    assert (code, errors) == (128 + signal.SIGTERM, "")
