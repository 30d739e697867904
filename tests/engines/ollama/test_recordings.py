"""Every recorded exchange of a real server, replayed byte for byte against the client."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from wire import WireServer, body_chunks, closed_port, hold, recordings, sending, wire_pieces

from so8t.engines.ollama.answers import (
    FINISHED,
    LOADED,
    UNLOADED,
    read_answer,
    read_object,
    read_statuses,
)
from so8t.engines.ollama.client import OllamaClient
from so8t.engines.ollama.faults import OllamaError, error_of
from so8t.engines.ollama.lines import split_lines
from so8t.engines.ollama.timing import Deadlines, Timing

EXPECTED = json.loads((Path(__file__).parent / "expected.json").read_text("utf-8"))
RECORDED = dict(recordings())
SCENARIOS = sorted({identity.partition("#")[0] for identity in RECORDED})
SHORT = Deadlines(connect=1.0, first_byte=0.15, between=0.15, whole=5.0)
TIMING = Timing(answer=SHORT, quick=SHORT)


def outcome_of(request, status, chunks):
    """Read a response as the client does; return what came of it, as one line."""
    path, body = request["path"], request["body"] or {}
    try:
        if path in {"/api/generate", "/api/chat"} and not body.get("_debug_render_only"):
            asks = body.get("prompt") or body.get("messages")
            unload = body.get("keep_alive") == 0 and not asks
            ends = FINISHED if asks else UNLOADED if unload else LOADED
            answer = read_answer(status, chunks, ends)
            return f"{answer.done_reason} {answer.completion_tokens} {answer.text!r}"
        if path == "/api/create" and body.get("stream", True):
            return f"statuses {list(read_statuses(status, chunks))[-1]}"
        content = b"".join(chunks)
        if path.startswith("/api/blobs/") or path in {"/api/copy", "/api/delete", "/"}:
            if status in {200, 201} or (request["method"] == "HEAD" and status == 404):
                return f"status {status}"
            raise error_of(status, content)
        return "object " + ",".join(sorted(read_object(status, content)))
    except OllamaError as error:
        return f"{error.fault.name} {'again' if error.retryable else 'final'}"


def exchange(client, request):
    """Send a recorded request and return what came of it."""
    try:
        with client._transport.exchange(
            request["method"], request["path"], deadlines=SHORT, body=request["body"]
        ) as reply:
            return outcome_of(request, reply.status, reply.chunks)
    except OllamaError as error:
        return f"{error.fault.name} {'again' if error.retryable else 'final'}"


def replay(identity, cut):
    """Serve one recorded response, cut into pieces by `cut`, and return what the client made."""
    recorded = RECORDED[identity]
    response = recorded["response"]
    if "error" in response:
        client = OllamaClient(f"http://127.0.0.1:{closed_port()}", timing=TIMING)
        return exchange(client, recorded["request"])
    stays = response["closed"] in {"client_timeout", "client_closed"}
    script = sending(cut(wire_pieces(response)), then=hold if stays else None)
    with WireServer(script) as server, OllamaClient(server.url, timing=TIMING) as client:
        return exchange(client, recorded["request"])


def replay_all(scenario, cut):
    """Replay a scenario's exchanges; return the outcomes and those that the table expects."""
    mine = [identity for identity in RECORDED if identity.partition("#")[0] == scenario]
    return {i: replay(i, cut) for i in mine}, {i: EXPECTED[i] for i in mine}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_recorded_chunks(scenario):
    """Recorded exchanges, with their own chunk boundaries, give the outcomes in the table."""
    found, expected = replay_all(scenario, lambda pieces: pieces)
    assert found == expected


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_all_bytes_at_once(scenario):
    """All bytes of a response in one piece give the same outcomes."""
    found, expected = replay_all(scenario, lambda pieces: [b"".join(pieces)])
    assert found == expected


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_byte_by_byte(scenario):
    """One byte at a time gives the same outcomes."""
    found, expected = replay_all(
        scenario, lambda pieces: [bytes([byte]) for byte in b"".join(pieces)]
    )
    assert found == expected


def _whole_bodies(scenario):
    for identity, recorded in RECORDED.items():
        response = recorded["response"]
        whole = response.get("status") is not None and response["closed"] == "normal"
        if identity.partition("#")[0] == scenario and whole and response["chunks"]:
            yield identity, recorded, b"".join(body_chunks(response))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_cut_at_every_place(scenario):
    """A body cut in two at any byte, inside a line or a character, is read the same.

    The lines are compared for every place; what follows from them, which is a thousand times
    slower, for every place of a short body and for 200 places of a long one.
    """
    for identity, recorded, body in _whole_bodies(scenario):
        lines = list(split_lines([body]))
        for place in range(len(body) + 1):
            assert list(split_lines([body[:place], body[place:]])) == lines
        status = recorded["response"]["status"]
        for place in range(0, len(body) + 1, max(1, len(body) // 200)):
            pieces = [body[:place], body[place:]]
            assert outcome_of(recorded["request"], status, pieces) == EXPECTED[identity]


def test_the_table_is_complete():
    """Every recorded exchange has an expected outcome, and no other has one."""
    assert set(EXPECTED) == set(RECORDED)


def _plain_reading(recorded):
    """Read a recorded answer without any of the code under test."""
    response = recorded["response"]
    text = "".join(chunk["text"] for chunk in response["chunks"])
    lines = [json.loads(line) for line in text.split("\n") if line.strip()]
    said = "".join(
        (x.get("message") or {}).get("content") or x.get("response") or "" for x in lines
    )
    good = (
        response["status"] == 200
        and response["closed"] == "normal"
        and not any("error" in line for line in lines)
        and lines[-1].get("done") is True
        and lines[-1].get("done_reason") in {"stop", "length"}
    )
    return good, said, lines[-1].get("eval_count") if lines else None


def _answers():
    return [
        identity
        for identity, recorded in RECORDED.items()
        if recorded["request"]["path"] in {"/api/generate", "/api/chat"}
        and (recorded["request"]["body"] or {}).get("prompt", "")
        + str((recorded["request"]["body"] or {}).get("messages") or "")
        and "error" not in recorded["response"]
        and not (recorded["request"]["body"] or {}).get("_debug_render_only")
    ]


def test_the_table_agrees_with_a_plain_reading():
    """An outcome is a success exactly where the raw recording is one, with its text and count."""
    assert len(_answers()) > 200
    for identity in _answers():
        good, text, count = _plain_reading(RECORDED[identity])
        outcome = EXPECTED[identity]
        assert good == outcome.startswith(("stop ", "length ")), identity
        if good:
            assert outcome.split(" ", 1)[1] == f"{count} {text!r}", identity
