"""How far a pool of places carries: answers a second against the ideal, CPU an answer, memory.

    python benchmarks/places.py scale         1, 4, 16, 64 places of 200 ms answers
    python benchmarks/places.py kills         16 places, one killed each few seconds
    python benchmarks/places.py run           a whole `so8t run`, both arms, 1,000 answers
    python benchmarks/places.py rate          a whole run at 20 ms with 64 in flight

The places are stubs in one process beside the driver's. What is measured is the driver: its pool,
its HTTP, and in `run` and `rate` all else that a run does, with each answer committed.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from so8t.config.engine_section import engine_settings
from so8t.domain.exchange import Arm, Decoding, EngineRequest, LoadProfile, Message, ServedModel
from so8t.engines.openai.engine import OpenAIEngine
from so8t.engines.openai.kind import CAPABILITIES

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS, SLOTS = 0.2, 4
MODELS = json.dumps(
    {"object": "list", "data": [{"id": n, "object": "model", "owned_by": "stub"} for n in "ab"]}
)


def chat(body: dict) -> str:
    """Answer with the model's name and the question's last word."""
    words = body["messages"][-1]["content"].split()
    message = {"role": "assistant", "content": f"{body['model']} {words[-1]}"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": len(words), "completion_tokens": 2}
    return json.dumps({"choices": [choice], "usage": usage})


class Place(asyncio.Protocol):
    """One connection to a place: the least of HTTP/1.1 that a client needs."""

    def __init__(self, stub: Stubs, number: int) -> None:
        self.stub, self.number, self.buffer = stub, number, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.stub.open[self.number].add(transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self.stub.open[self.number].discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(body) < length:
            return
        self.buffer = b""
        path = head.split(b" ", 2)[1].decode()
        if path == "/v1/models":
            self.send("200 OK", MODELS)
        elif path == "/v1/chat/completions":
            asked = json.loads(body)
            loop = asyncio.get_running_loop()
            loop.call_later(self.stub.seconds, self.send, "200 OK", chat(asked))
        else:
            self.send("404 Not Found", '{"detail": "Not Found"}')

    def send(self, status: str, text: str) -> None:
        if not self.transport.is_closing():
            data = text.encode()
            self.transport.write(
                f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data
            )


class Stubs:
    """So many places on so many ports; a line `N SECONDS` on standard input closes place N."""

    def __init__(self, count: int, seconds: float) -> None:
        self.count, self.seconds = count, seconds
        self.open: list[set] = [set() for _ in range(count)]
        self.tasks: list[asyncio.Task] = []

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        servers = []
        for number in range(self.count):
            made = await loop.create_server(lambda n=number: Place(self, n), "127.0.0.1", 0)
            servers.append(made)
        ports = [server.sockets[0].getsockname()[1] for server in servers]
        print(json.dumps(ports), flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            number, seconds = line.split()
            work = self.kill(servers, ports, int(number), float(seconds))
            self.tasks.append(loop.create_task(work))

    async def kill(self, servers: list, ports: list[int], number: int, seconds: float) -> None:
        servers[number].close()
        for transport in list(self.open[number]):
            transport.abort()
        await asyncio.sleep(seconds)
        loop = asyncio.get_running_loop()
        servers[number] = await loop.create_server(
            lambda: Place(self, number), "127.0.0.1", ports[number]
        )


class Stub:
    """The stubs in a process of their own."""

    def __init__(self, count: int, seconds: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "stubs", str(count), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.urls = [f"http://127.0.0.1:{p}" for p in json.loads(self.process.stdout.readline())]

    def kill(self, number: int, seconds: float) -> None:
        self.process.stdin.write(f"{number} {seconds}\n")
        self.process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=10)


def places(urls: list[str], slots: int) -> list[dict]:
    return [{"name": f"p{n}", "url": url, "slots": slots} for n, url in enumerate(urls)]


def questions(count: int) -> Iterator[EngineRequest]:
    for n in range(count):
        yield EngineRequest(str(n), (Message("user", f"q {n}"),), Decoding(8), item=str(n))


def measure(stub: Stub, count: int, *, kill: float = 0.0) -> dict:
    """Ask `count` questions; with `kill`, end a place every so many seconds, for one second."""
    settings = engine_settings("openai", places=places(stub.urls, SLOTS), patience=60.0)
    lost = []
    engine = OpenAIEngine(settings, CAPABILITIES, lambda kind, **_: lost.append(kind))
    adopted = {arm: engine.adopt(ServedModel(arm, arm.value, ""), "", Path()) for arm in Arm}
    over = threading.Event()

    def killer() -> None:
        number = 0
        while not over.wait(kill):
            stub.kill(number % len(stub.urls), 1.0)
            number += 1

    if kill:
        threading.Thread(target=killer, daemon=True).start()
    with engine.open(adopted[Arm.A], LoadProfile()) as session:
        cpu, began = time.process_time(), time.perf_counter()
        keys = [reply.key for reply in session.serve(questions(count)) if reply.text]
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    over.set()
    engine.close()
    ideal = len(stub.urls) * SLOTS / SECONDS
    return {
        "places": len(stub.urls),
        "answers": len(keys),
        "twice": len(keys) - len(set(keys)),
        "answers_a_second": round(len(keys) / took),
        "of_ideal": round(len(keys) / took / ideal, 3),
        "driver_cpu_ms_an_answer": round(1000 * cpu / len(keys), 3),
        "driver_cores": round(cpu / took, 2),
        "driver_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "places_lost": lost.count("place_lost"),
    }


def whole_run(stub: Stub, *, items: int, slots: int) -> dict:
    """Run `so8t run` over one place and measure its process, start and report included."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        lines = [
            {"id": str(n), "category": "x", "prompt": f"q {n}", "grader": "exact", "reference": "a"}
            for n in range(items)
        ]
        (directory / "suite.jsonl").write_text("\n".join(map(json.dumps, lines)))
        (directory / "so8t.yaml").write_text(
            json.dumps(
                {
                    "name": "race",
                    "a": {"source": {"served": "a"}},
                    "b": {"source": {"served": "b"}},
                    "engine": {"kind": "openai", "places": places(stub.urls, slots)},
                    "benchmark": {"suites": ["suite.jsonl"], "noise_floor": 0},
                    "verdict": {"stop": "full"},
                    "notify": {"sound": False},
                }
            )
        )
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "so8t", "run", "so8t.yaml", "--quiet"],
            cwd=directory,
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "SO8T_STATE_DIR": temporary},
        )
        took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        log = (directory / "runs" / "race" / "artifacts" / "results.json").read_text()
        if json.loads(log)["coverage"]["a"]["answered"] != items:
            raise SystemExit("not every question was answered")
        return {
            "answers": 2 * items,
            "in_flight": slots,
            "seconds": round(took, 2),
            "answers_a_second_with_start_and_report": round(2 * items / took),
            "cpu_seconds": round(cpu, 2),
            "cpu_ms_an_answer": round(1000 * cpu / (2 * items), 2),
        }


def main() -> None:
    what = sys.argv[1] if len(sys.argv) > 1 else "scale"
    if what == "stubs":
        asyncio.run(Stubs(int(sys.argv[2]), float(sys.argv[3])).serve())
    elif what == "scale":
        for count in (1, 4, 16, 64):
            with Stub(count, SECONDS) as stub:
                print(json.dumps(measure(stub, min(12_000, count * SLOTS * 50))))
    elif what == "kills":
        with Stub(16, SECONDS) as stub:
            print(json.dumps(measure(stub, 6_000, kill=3.0)))
    elif what == "run":
        with Stub(1, 0.0) as stub:
            print(json.dumps(whole_run(stub, items=500, slots=32)))
    else:
        with Stub(1, 0.02) as stub:
            print(json.dumps(whole_run(stub, items=5_000, slots=64)))


if __name__ == "__main__":
    main()
