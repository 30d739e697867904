"""What the server writes into the audit log: nothing is answered unlogged, no word is kept."""

from __future__ import annotations

import json
import re
import sys

import apsw
import pytest
from think_server import FAST

from so8t.journal.audit import keyed_hash, verify_audit
from so8t.system.secret_file import read_secret

MARKER = "zqx-7f3a-qzx"


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file size are POSIX's")
def test_what_cannot_be_logged_is_not_answered(serve):
    """With no room for the row the client gets 503 and no word of the answer."""
    server = serve(file_bytes=120_000)
    answered, refused = 0, None
    while refused is None and answered < 500:
        status, _, said = server.post("hello")
        if status == 200:
            answered += 1
        else:
            refused = status, said
    assert answered > 0
    assert refused is not None
    assert refused[0] == 503
    assert "Hello." not in json.dumps(refused[1])
    assert server.send("GET", "/healthz")[0] == 503
    assert server.post("hello")[0] == 503
    text = server.post("hello", headers={"Accept": "text/event-stream"})[2]
    assert "Hello." not in json.dumps(text)
    server.stop()
    count, findings = verify_audit(
        server.directory / "log", read_secret(server.directory / "keys" / "c")
    )
    assert findings == []
    assert answered <= count <= answered + 1


def files_with(directory, words):
    """All files below a directory that hold any of the words, in the usual encodings."""
    forms = [form for word in words for form in (word.encode(), word.encode("utf-16-le"))]
    return [
        path
        for path in directory.rglob("*")
        if path.is_file() and any(form in path.read_bytes() for form in forms)
    ]


def test_no_word_of_a_request_is_on_any_disk(serve, tmp_path, monkeypatch):
    """Thinking, query and answer are in no database, log, WAL or temporary file, during and after.

    Each has a marker of its own; the server's whole output is searched too.
    """
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    for name in ("TMPDIR", "HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(temporary))
    server = serve()
    words = [MARKER, "answer-9k2-marker", "query-4h8-marker"]
    reply = f"<think-safety>{MARKER}\nALLOW</think-safety><final>answer-9k2-marker</final>"
    assert server.post(f"say:{reply}")[2]["final"] == "answer-9k2-marker"
    server.post(f"say:query-4h8-marker {MARKER}")
    server.post(f"cut:{reply}")
    server.post("crash")
    server.post("", body=json.dumps({"query": [MARKER]}).encode())
    server.post("", body=b'{"' + MARKER.encode() + b'": 1}')
    server.send("GET", f"/{MARKER}?{MARKER}")
    server.post(f"say:{reply}", headers={"Accept": "text/event-stream"})
    assert files_with(tmp_path, words) == []
    assert (tmp_path / "log" / "audit.sqlite-wal").exists()
    _, errors = server.stop()
    assert files_with(tmp_path, words) == []
    assert not any(word in errors for word in words)
    rows = verify_audit(tmp_path / "log", read_secret(tmp_path / "keys" / "c"))
    assert rows == (5, [])


def test_a_row_says_what_happened_without_the_words(serve):
    """Label, outcome, model, engine, latency and keyed hashes; the hashes can be made again."""
    server = serve(limits=FAST)
    asked = "say:<think-safety>ALLOW</think-safety><final>x</final>"
    said = server.post(asked)[2]
    server.stop()
    connection = apsw.Connection(str(server.directory / "log" / "audit.sqlite"))
    columns = "id, outcome, label, query, thinking, answer, model, engine, at, seconds"
    (found,) = connection.execute(f"SELECT {columns} FROM request")  # noqa: S608 - of this test
    key = read_secret(server.directory / "keys" / "t")
    assert found[:8] == (
        said["id"],
        "answered",
        "ALLOW",
        keyed_hash(key, "query", asked),
        keyed_hash(key, "thinking", "<think-safety>ALLOW</think-safety>"),
        keyed_hash(key, "answer", "x"),
        "sha256:abc",
        "scripted 1",
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", found[8])
    assert found[9] >= 0
