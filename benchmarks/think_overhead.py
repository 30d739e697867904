"""What POST /think costs over a bare Starlette endpoint on the same engine stub.

    python benchmarks/think_overhead.py [--requests 2000] [--clients 4] [--rounds 5]

Both servers run in this process, on uvicorn, one after the other in turns; the stub answers at
once with a whole fourfold reply. The bare endpoint reads JSON, asks the stub and returns its text;
/think adds the door, the queue and its thread, the check of the reply, the durable row of the
audit log with its witness, and the deadlines of the connection. `--no-sync` leaves out the
flush to the disk, to tell its share. Prints requests a second for both, and their ratio.
"""

from __future__ import annotations

import argparse
import http.client
import json
import logging
import statistics
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from so8t.domain.exchange import Arm, EngineRequest, LoadProfile, Message, ServedModel
from so8t.engines.scripted import ScriptedEngine
from so8t.journal.audit import AuditLog
from so8t.serve.access import access
from so8t.serve.app import make_app
from so8t.serve.connection import bounded
from so8t.serve.limits import RequestLimits
from so8t.serve.metrics import Metrics
from so8t.serve.prompt import INSTRUCTION
from so8t.serve.run import listen
from so8t.serve.service import Served, ThinkService
from so8t.serve.worker import AnswerWorker

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

LIMITS = RequestLimits(waiting=10_000, per_minute=1e12, burst=10**12)
REPLY = (
    f"<think-task>{'a plan ' * 60}</think-task><think-safety>harmless\nALLOW</think-safety>"
    f"<think-policy>none</think-policy><final>{'Paris is the capital. ' * 20}</final>"
)
MODEL = ServedModel(Arm.B, "stub", "sha256:stub")


def stub(_request: EngineRequest) -> str:
    """Answer at once."""
    return REPLY


@contextmanager
def running(app: ASGIApp, listener: socket.socket, *, protocol: object) -> Iterator[int]:
    """Serve in a thread; yield the port."""
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    config = uvicorn.Config(
        app, http=protocol, ws="none", loop="asyncio", log_config=None, access_log=False,
        lifespan="off", backlog=1024,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def bare() -> ASGIApp:
    """Make the bare endpoint."""
    session = ScriptedEngine(stub).open(MODEL, LoadProfile())

    async def think(request: Request) -> Response:
        query = (await request.json())["query"]
        (reply,) = session.serve([EngineRequest("k", (Message("user", query),))])
        return JSONResponse({"final": reply.text})

    return Starlette(routes=[Route("/think", think, methods=["POST"])])


def one_client(port: int, count: int) -> None:
    """Ask over one kept connection."""
    body = json.dumps({"query": "What is the capital of France?"})
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(count):
        connection.request("POST", "/think", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        if b"Paris" not in response.read():
            raise RuntimeError(response.status)
    connection.close()


def load(pool: ProcessPoolExecutor, port: int, requests: int, clients: int) -> float:
    """Ask from processes of their own; return requests a second."""
    began = time.perf_counter()
    asked = [pool.submit(one_client, port, requests // clients) for _ in range(clients)]
    for one in asked:
        one.result()
    return requests / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-sync", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
        audit = AuditLog(Path(place), b"k" * 32)
        if arguments.no_sync:
            audit._connection.pragma("synchronous", 0)  # noqa: SLF001 - to tell the disk's share
        desk = AnswerWorker(
            ScriptedEngine(stub), MODEL, LoadProfile(slots=16), waiting=LIMITS.waiting
        )
        desk.start()
        service = ThinkService(
            desk, audit, b"t" * 32, Served("sha256:stub", "stub 1"),
            limits=LIMITS, metrics=Metrics(), instruction=INSTRUCTION, role="system",
        )  # fmt: skip
        listeners = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
        app = make_app(service, access("127.0.0.1", listeners[1].getsockname()[1]))
        ratios = []
        with (
            ProcessPoolExecutor(arguments.clients) as pool,
            running(bare(), listeners[0], protocol="h11") as plain,
            running(app, listeners[1], protocol=bounded(LIMITS)) as think,
        ):
            for number in range(arguments.rounds):
                first = load(pool, plain, arguments.requests, arguments.clients)
                second = load(pool, think, arguments.requests, arguments.clients)
                ratios.append(second / first)
                speeds = f"bare {first:7.0f}/s, /think {second:7.0f}/s"
                print(f"round {number + 1}: {speeds}, ratio {ratios[-1]:.2f}")
        service.close()
        desk.close()
        audit.close()
    print(f"median ratio {statistics.median(ratios):.2f} (1 is as fast as the bare endpoint)")


if __name__ == "__main__":
    main()
