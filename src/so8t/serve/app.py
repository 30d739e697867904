"""The HTTP application: access, the routes, the stream of events."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from so8t.domain.language import is_japanese
from so8t.errors import EngineError, UsageError
from so8t.serve.access import Rate
from so8t.serve.messages import openapi, read_request
from so8t.serve.service import NotLoggedError, ThinkQuestion
from so8t.serve.worker import QueueFullError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from so8t.serve.access import Access
    from so8t.serve.service import ThinkAnswer, ThinkService

_TICK = 1.0
_COME_BACK = 5
# Nothing of an answer is kept by a cache or taken for another kind of content.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class TurnedAwayError(Exception):
    """A request that is not let in; the status and a word say why."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def make_app(service: ThinkService, access: Access) -> ASGIApp:
    """Make the application. It owns nothing that must be closed."""
    endpoint = _Endpoint(service)
    app = Starlette(
        routes=[
            Route("/think", endpoint.think, methods=["POST"]),
            Route("/healthz", endpoint.healthz, methods=["GET"]),
            Route("/metrics", endpoint.metrics, methods=["GET"]),
            Route("/openapi.json", endpoint.openapi, methods=["GET"]),
        ],
        exception_handlers={
            404: endpoint.unknown,
            405: endpoint.unknown,
            Exception: endpoint.unforeseen,
        },
    )
    # A path with a slash too many is another path: a redirect would name this server's address.
    app.router.redirect_slashes = False
    return _AccessControl(app, access, service)


class _AccessControl:
    """Looks at host, origin and token before anything else is done."""

    def __init__(self, app: ASGIApp, access: Access, service: ThinkService) -> None:
        self._app = app
        self._access = access
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = self._look(scope)
        if refused is None:
            await self._answered(scope, receive, send)
        else:
            self._service.metrics.rejected(refused.code)
            await _told(refused)(scope, receive, send)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer; what it did not foresee is told without a word of it."""
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            self._service.metrics.rejected("left")  # nobody is there to be told
        except Exception as error:  # noqa: BLE001 - its message may hold what the model wrote
            self._service.unforeseen(error)

    def _look(self, scope: Scope) -> TurnedAwayError | None:
        def given(name: bytes) -> list[str]:
            return [value.decode("latin-1") for key, value in scope["headers"] if key == name]

        if not self._access.knows_host(given(b"host")):
            return TurnedAwayError(403, "host", "this server has another name")
        if not self._access.knows_origin(given(b"origin")):
            return TurnedAwayError(403, "origin", "pages of other sites may not ask")
        if scope["path"] != "/healthz" and not self._access.knows_token(given(b"authorization")):
            return TurnedAwayError(
                401, "token", "a bearer token is needed", WWW_Authenticate="Bearer"
            )
        return None


class _Endpoint:
    def __init__(self, service: ThinkService) -> None:
        self._service = service
        self._limits = service.limits
        self._rate = Rate(service.limits.per_minute, service.limits.burst)
        self._openapi = openapi(service.limits)
        # A request whose client went away is still logged; the loop itself keeps no task alive.
        self._tasks: set[asyncio.Task[ThinkAnswer]] = set()

    async def think(self, request: Request) -> Response:
        try:
            question = await self._question(request)
            task = await self._begin(question)
        except TurnedAwayError as refused:
            self._service.metrics.rejected(refused.code)
            return _told(refused)
        if "text/event-stream" in request.headers.get("accept", ""):
            return StreamingResponse(
                _events(task), media_type="text/event-stream", headers=_HEADERS
            )
        try:
            answer = await asyncio.shield(task)
        except NotLoggedError as error:
            return _told(_not_logged(error))
        return JSONResponse(answer.plain(), answer.status, headers=_HEADERS)

    async def healthz(self, _request: Request) -> Response:
        healthy = self._service.healthy
        body = {"status": "ok" if healthy else "unavailable", "model": self._service.served.model}
        return JSONResponse(body, 200 if healthy else 503, headers=_HEADERS)

    async def metrics(self, _request: Request) -> Response:
        lines = self._service.metrics.lines(
            waiting=self._service.worker.waiting,
            audit_rows=self._service.audit.head.seq,
            up=self._service.healthy,
        )
        return PlainTextResponse(
            "\n".join(lines) + "\n",
            media_type="text/plain; version=0.0.4",
        )

    async def openapi(self, _request: Request) -> Response:
        return JSONResponse(self._openapi)

    async def unknown(self, _request: Request, error: Exception) -> Response:
        """Say that a path is not there, or not with this method; what was asked is not repeated."""
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for these alone
        code, message = {
            404: (
                "path",
                "there is no such path; /openapi.json describes what there is",
            ),
            405: ("method", "this path takes another method; Allow names it"),
        }[error.status_code]
        self._service.metrics.rejected(code)
        return _told(TurnedAwayError(error.status_code, code, message, **(error.headers or {})))

    async def unforeseen(self, _request: Request, _error: Exception) -> Response:
        """Answer where our own code failed; the error goes on to whoever counts it."""
        return _told(TurnedAwayError(500, "internal", "the server failed at this request"))

    async def _question(self, request: Request) -> ThinkQuestion:
        client = request.client.host if request.client else ""
        wait = self._rate.wait(client, time.monotonic())
        if wait:
            raise TurnedAwayError(
                429, "rate", "too many requests from this address", Retry_After=str(int(wait) + 1)
            )
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            # A page of another site can send other kinds without asking first.
            raise TurnedAwayError(415, "content_type", "the body must be application/json")
        try:
            asked = read_request(await self._body(request))
        except UsageError as error:
            code = "json" if error.message.startswith("the body is n") else "value"
            raise TurnedAwayError(400 if code == "json" else 422, code, error.message) from error
        if len(asked.query) > self._limits.query:
            raise TurnedAwayError(422, "value", f"query: more than {self._limits.query} characters")
        return ThinkQuestion(
            id=secrets.token_hex(16),
            query=asked.query,
            language=asked.language or ("ja" if is_japanese(asked.query) else "en"),
            max_tokens=min(asked.max_tokens or self._limits.max_tokens, self._limits.max_tokens),
        )

    async def _body(self, request: Request) -> bytes:
        """Read the body, bounded in size and time."""
        large = TurnedAwayError(413, "too_large", f"more than {self._limits.body} bytes")
        announced = request.headers.get("content-length", "0")
        if not announced.isdecimal() or int(announced) > self._limits.body:
            raise large
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_time):
                async for piece in request.stream():
                    body += piece
                    if len(body) > self._limits.body:
                        raise large
        except TimeoutError:
            raise TurnedAwayError(
                408, "slow", f"the body took longer than {self._limits.body_time:g} s"
            ) from None
        return bytes(body)

    async def _begin(self, question: ThinkQuestion) -> asyncio.Task[ThinkAnswer]:
        try:
            future = await self._service.ask(question)
        except QueueFullError as error:
            raise TurnedAwayError(
                429, "queue", error.message, Retry_After=str(_COME_BACK)
            ) from error
        except EngineError as error:
            raise TurnedAwayError(503, "engine", "the model is not served any more") from error
        except NotLoggedError as error:
            raise _not_logged(error) from error
        task = asyncio.create_task(self._service.answer(question, future))
        self._tasks.add(task)
        self._service.metrics.in_flight += 1
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[ThinkAnswer]) -> None:
        self._tasks.discard(task)
        self._service.metrics.in_flight -= 1
        if not task.cancelled():
            # Whoever waited has it; where nobody does any more it is not an unheard error.
            task.exception()


async def _events(task: asyncio.Task[ThinkAnswer]) -> AsyncIterator[str]:
    """Say that the model thinks while it does; the answer comes whole or not at all."""
    began = time.monotonic()
    yield _event("thinking", {"seconds": 0})
    while not task.done():
        await asyncio.wait({task}, timeout=_TICK)
        if not task.done():
            yield _event("thinking", {"seconds": round(time.monotonic() - began)})
    try:
        yield _event("answer", task.result().plain())
    except NotLoggedError as error:
        refused = _not_logged(error)
        yield _event("error", {"code": refused.code, "message": refused.message})


def _event(name: str, data: dict[str, Any]) -> str:
    # JSON without raw line breaks: one data line is the whole event.
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _not_logged(error: NotLoggedError) -> TurnedAwayError:
    return TurnedAwayError(503, "audit", f"{error.message}, so nothing is answered")


def _told(refused: TurnedAwayError) -> Response:
    return JSONResponse(
        {"error": {"code": refused.code, "message": refused.message}},
        refused.status,
        # What is left of a request that was not read cannot be told from the next one.
        headers={**_HEADERS, **refused.headers, "Connection": "close"},
    )
