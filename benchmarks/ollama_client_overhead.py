"""What the Ollama engine itself costs per answer: CPU milliseconds of this process.

The server is another process that answers at once with bytes made beforehand, so what is left is
the client: a connection, the stream's lines, the checks, the queue. Run it with

    python benchmarks/ollama_client_overhead.py [answers]
"""

from __future__ import annotations

import json
import platform
import socket
import subprocess
import sys
import threading
import time

from so8t.domain.exchange import Arm, Decoding, EngineRequest, LoadProfile, Message, ServedModel
from so8t.engines.ollama import OllamaClient, OllamaEngine, Timing

DIGEST = "a" * 64
HELLO = (Message("user", "hello"),)
LENGTHS = (1, 32, 256)


def _response(value: object) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def _stream(tokens: int) -> bytes:
    made = "2026-11-23T04:20:48.748338794Z"
    line = {"model": "m", "created_at": made, "message": {"role": "assistant", "content": "word "}}
    lines = [json.dumps({**line, "done": False}) for _ in range(tokens)]
    end = {
        "done": True,
        "done_reason": "length",
        "total_duration": 9070258,
        "load_duration": 1886256,
        "prompt_eval_count": 21,
        "prompt_eval_duration": 1648000,
        "eval_count": tokens,
        "eval_duration": 3547000,
    }
    lines.append(json.dumps(line | {"message": {"role": "assistant", "content": ""}} | end))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n"
    head += b"transfer-encoding: chunked\r\n\r\n"
    chunks = (f"{len(text) + 1:x}\r\n{text}\n\r\n".encode() for text in lines)
    return head + b"".join(chunks) + b"0\r\n\r\n"


def serve() -> None:
    """Be the server: tell the port, then answer until the parent is gone."""
    listed = {"model": "m:latest", "digest": DIGEST, "size": 9, "size_vram": 9}
    plain = {
        "/api/version": _response({"version": "0.33.0"}),
        "/api/tags": _response({"models": [listed]}),
        "/api/ps": _response({"models": [{**listed, "context_length": 2048}]}),
        "/api/show": _response({"template": "t"}),
    }
    load = _response({"done": True, "done_reason": "load", "response": ""})
    token = _response({"done": True, "done_reason": "length", "response": "a"})
    streams = {length: _stream(length) for length in LENGTHS}

    def handle(connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        path = stream.readline().split(b" ", 2)[1].decode()
        length = 0
        while (line := stream.readline().lower()) != b"\r\n":
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        body = json.loads(stream.read(length) or b"{}")
        if path == "/api/chat" and not body.get("_debug_render_only"):
            connection.sendall(streams[body["options"]["num_predict"]])
        elif path == "/api/chat":
            connection.sendall(_response({"_debug_info": {"rendered_template": "t"}}))
        elif path == "/api/generate":
            connection.sendall(token if "prompt" in body else load)
        else:
            connection.sendall(plain[path])
        connection.close()

    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=handle, args=(connection,), daemon=True).start()


def measure(work: object, answers: int) -> tuple[float, float]:
    """Return CPU and wall milliseconds per answer of `work(answers)`."""
    assert callable(work)  # noqa: S101 - a benchmark may
    work(max(10, answers // 20))
    cpu, wall = time.process_time(), time.perf_counter()
    work(answers)
    return (
        (time.process_time() - cpu) * 1000 / answers,
        (time.perf_counter() - wall) * 1000 / answers,
    )


def main() -> None:
    """Print a table: what is asked, tokens of the answer, CPU and wall milliseconds."""
    if "--serve" in sys.argv:
        serve()
        return
    answers = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE)
    assert server.stdout is not None  # noqa: S101 - Popen was given PIPE
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        print(f"Python {platform.python_version()}, {platform.machine()}, {answers} answers a row")
        print(f"{'':28}{'tokens':>8}{'CPU ms':>9}{'wall ms':>9}")
        timing = Timing().scaled(0.02)  # a benchmark that hangs should end
        client = OllamaClient(url, timing=timing)
        engine = OllamaEngine(url, timing=timing, parallel=8)
        for length in LENGTHS:
            options = {"num_predict": length, "seed": 1}

            def alone(count: int, options: dict[str, int] = options) -> None:
                for _ in range(count):
                    client.chat("m", HELLO, options)

            cpu, wall = measure(alone, answers)
            print(f"{'client.chat':28}{length:8}{cpu:9.2f}{wall:9.2f}")
        for slots in (1, 8):
            for length in LENGTHS:
                profile = LoadProfile(slots=slots)
                session = engine.open(ServedModel(Arm.A, "m", DIGEST), profile)
                decoding = Decoding(max_tokens=length)

                def through(count: int, session=session, decoding=decoding) -> None:  # noqa: ANN001 - bound here
                    requests = (EngineRequest(str(n), HELLO, decoding) for n in range(count))
                    for _reply in session.serve(requests):
                        pass

                cpu, wall = measure(through, answers)
                print(f"{f'session.serve, {slots} slots':28}{length:8}{cpu:9.2f}{wall:9.2f}")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
