"""Runs the server: sockets, process limits, signals, the order of opening and closing."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from so8t.domain.exchange import Decoding, EngineRequest, Status
from so8t.errors import EngineError, Interrupted, PrerequisiteError
from so8t.serve.app import make_app
from so8t.serve.connection import bounded
from so8t.serve.metrics import Metrics
from so8t.serve.prompt import conversation
from so8t.serve.service import Served, ThinkService
from so8t.serve.worker import AnswerWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from starlette.types import ASGIApp

    from so8t.domain.exchange import LoadProfile, ServedModel
    from so8t.engines.protocol import Engine
    from so8t.journal.audit import AuditLog
    from so8t.serve.access import Access
    from so8t.serve.limits import RequestLimits
    from so8t.serve.prompt import PromptForm, Role
    from so8t.serve.safety_gate import SafetyGate

_BACKLOG = 1024
_SPARE_FILES = 128
# A terminal that is closed; Windows has no such signal, and `nohup` ignores it.
_HANGUP: int | None = getattr(signal, "SIGHUP", None)


def listen(host: str, port: int) -> socket.socket:
    """Listen; port 0 takes a free one. Raises PrerequisiteError where that cannot be."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # asyncio switches Nagle's algorithm off only where the protocol is named: without it each
        # answer waited 40 ms for the client's acknowledgement of its head.
        made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if sys.platform != "win32":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(_BACKLOG)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot listen on {host}:{port}: {error.strerror or error}.",
            hint="another program may use the port: choose one with --port",
        ) from error
    made.setblocking(False)
    return made


def guard_process(connections: int) -> None:
    """Make room for the connections, and leave no memory image behind after a crash.

    A core file would hold thinking and queries. Children inherit the limit.
    """
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - not on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def serve_app(
    app: ASGIApp,
    listener: socket.socket,
    limits: RequestLimits,
    *,
    refused: Callable[[str], None],
    ready: Callable[[], None],
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP; what is being answered is finished first.

    `refused` counts what is no HTTP.
    """
    import uvicorn  # noqa: PLC0415 - only a server needs it

    # Nothing is logged for a request, so nothing of one can be; nor can a client fill the pipe
    # that standard error may be, which would stop the server. `refused` counts.
    for name in ("uvicorn", "uvicorn.error", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app,
        http=bounded(limits, refused),
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=16 * 1024,
        timeout_keep_alive=int(limits.headers),
        timeout_graceful_shutdown=int(limits.answer),
    )

    class _Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            with super().capture_signals(), ExitStack() as stack:
                if _HANGUP is not None and _is_main():
                    before = signal.signal(_HANGUP, self.handle_exit)
                    stack.callback(signal.signal, _HANGUP, before)
                yield

    # uvicorn gives a signal that it heard back to whoever handled it before: an exception, so
    # that everything is closed in order on the way out.
    with ExitStack() as stack:
        for number in (signal.SIGTERM, _HANGUP):
            if number is not None and _is_main():
                stack.callback(signal.signal, number, signal.signal(number, _interrupted))
        asyncio.run(_Server(config).serve([listener]))


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _interrupted(number: int, _frame: FrameType | None) -> None:
    raise Interrupted("the server was asked to end.", signal=number)


def serve_think(
    model: tuple[Engine, ServedModel, LoadProfile],
    log: tuple[AuditLog, bytes],
    listener: socket.socket,
    access: Access,
    *,
    limits: RequestLimits,
    form: PromptForm,
    ready: Callable[[], None],
    gate: SafetyGate | None = None,
) -> None:
    """Load the model, find out how to ask it for the form, and serve until a signal.

    `log` is the audit log and the key of its texts. `gate` is asked before the model. `ready` is
    called once requests are taken.
    Raises what the engine raises, EngineError where the model takes no instruction, Interrupted
    at SIGTERM and SIGHUP.
    """
    engine, served, profile = model
    audit, text_key = log
    metrics = Metrics()
    worker = AnswerWorker(engine, served, profile, waiting=limits.waiting)
    try:
        worker.start()
        service = ThinkService(
            worker,
            audit,
            text_key,
            Served(served.digest, f"{engine.info.name} {engine.info.version}"),
            limits=limits,
            metrics=metrics,
            instruction=form.instruction,
            role=_role(worker, form),
            gate=gate,
        )
        try:
            app = make_app(service, access)
            serve_app(app, listener, limits, refused=metrics.rejected, ready=ready)
        finally:
            service.close()
    finally:
        worker.close()


def _role(worker: AnswerWorker, form: PromptForm) -> Role:
    """Find the role that the model's template takes the instruction in, with one short answer."""
    reason: str | None = None
    for role in form.roles:
        messages = conversation("Hello", form.instruction, role)
        request = EngineRequest(f"try-{role}", messages, Decoding(max_tokens=1))
        reply = worker.submit(request).result()
        if reply.status is not Status.FAILED:
            return role
        reason = reply.reason
    raise EngineError(
        f"the model does not take the words that ask for the form: {reason}.",
        hint="raise --context, or give shorter words with --instruction FILE",
    )
