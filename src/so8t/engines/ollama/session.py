"""One loaded model, answering: the queue, the retries, and what each answer reveals."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from so8t.domain.exchange import EngineReply, Status
from so8t.engines.ollama.choosing import choose
from so8t.engines.ollama.degradation import (
    Finding,
    Notice,
    SpeedCanary,
    check_length,
    check_reload,
    check_truncation,
)
from so8t.engines.ollama.faults import Fault, OllamaError
from so8t.engines.ollama.options import run_options
from so8t.engines.ollama.worker_pool import in_completion_order
from so8t.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from so8t.domain.exchange import EngineRequest, LoadReport
    from so8t.engines.ollama.answers import OllamaAnswer
    from so8t.engines.ollama.supervisor import Supervisor
    from so8t.engines.ollama.transport import Call
    from so8t.engines.protocol import CountTokens


class Findings:
    """Findings on their way to whoever listens, in that one's own thread.

    Workers notice things, but the listener writes to the journal, which has one writer.
    """

    def __init__(self, listener: Callable[[Finding], None] | None) -> None:
        self._listener = listener
        self._waiting: deque[Finding] = deque()
        self.all: list[Finding] = []

    def note(self, finding: Finding) -> None:
        """Keep a finding, from any thread."""
        self._waiting.append(finding)

    def tell(self) -> None:
        """Hand over what was kept; called in the thread that uses the engine."""
        while self._waiting:
            finding = self._waiting.popleft()
            self.all.append(finding)
            if self._listener is not None:
                self._listener(finding)


class OllamaSession:
    """One loaded model, ready to answer; made by `OllamaEngine.open`."""

    def __init__(
        self,
        supervisor: Supervisor,
        report: LoadReport,
        *,
        slots: int,
        model_stops: tuple[str, ...],
        findings: Findings,
        think: bool | str | None,
        count_tokens: CountTokens | None,
        on_close: Callable[[], None],
    ) -> None:
        self._supervisor = supervisor
        self._report = report
        self._slots = slots
        self._model_stops = model_stops
        self._findings = findings
        self._think = think
        self._count_tokens = count_tokens
        self._on_close = on_close
        self._canary = SpeedCanary()
        self._canary_lock = threading.Lock()
        self._closed = False

    @property
    def report(self) -> LoadReport:
        """What loading really gave."""
        return self._report

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was noticed so far, from the load on."""
        return tuple(self._findings.all)

    @property
    def ready(self) -> bool:
        """False: it is not known here."""
        return False

    def serve(
        self,
        requests: Iterable[EngineRequest],
        *,
        in_flight: Callable[[], int] | None = None,
    ) -> Iterator[EngineReply]:
        """Answer requests, never more at a time than there are slots.

        Requests are pulled as slots get free; replies come in the order of completion; closing
        the iterator cuts off what is in flight. A request that fails alone is a reply with
        status failed and the reason. Raises ServerGone (an EngineCrashed) when the server or the
        model on it is lost, EngineError on a closed session.
        """
        if self._closed:
            raise EngineError("This session is closed.")
        stopped = threading.Event()

        def stop() -> None:
            stopped.set()
            self._supervisor.withdraw("nobody waits for the answer any more", again=False)

        replies = in_completion_order(
            lambda request: self._answer(request, stopped),
            requests,
            workers=self._slots,
            in_flight=in_flight,
            on_stop=stop,
        )
        try:
            for reply in replies:
                self._findings.tell()
                yield reply
        finally:
            replies.close()
            self._findings.tell()

    def close(self) -> None:
        """Cut off what is in flight and give the model's memory back. Safe to call twice.

        Where both arms were measured to fit side by side the model stays loaded; the engine's
        own `close` then unloads it.
        """
        if self._closed:
            return
        self._closed = True
        self._supervisor.close()
        self._on_close()
        self._findings.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _answer(self, request: EngineRequest, stopped: threading.Event) -> EngineReply:
        from so8t.engines.ollama.retry import attempts  # noqa: PLC0415 - stamina, only when used

        def retried(error: OllamaError) -> None:
            self._findings.note(
                Finding(
                    Notice.RETRIED,
                    f"One answer was asked for again: {error.detail}",
                    data={"key": request.key, "fault": error.fault.value},
                )
            )

        try:
            for attempt in attempts(self._supervisor.client.timing.retries, retried):
                with attempt:
                    return self._ask(request, stopped)
        except OllamaError as error:
            return EngineReply(request.key, Status.FAILED, reason=error.message)
        raise AssertionError("attempts() ends with an answer or an error")

    def _ask(self, request: EngineRequest, stopped: threading.Event) -> EngineReply:
        supervisor = self._supervisor
        decoding = request.decoding
        if request.form is not None:
            decoding = replace(decoding, stop=(*decoding.stop, *request.form.stop))
        options = {**supervisor.options, **run_options(decoding, self._model_stops)}
        began = time.monotonic()
        with supervisor.call() as (call, epoch):
            # Looked at after the call is known to `withdraw`, so that none slips through.
            if stopped.is_set():
                raise OllamaError(Fault.WITHDRAWN, "nobody waits for it", retryable=False)
            try:
                answer = self._put(request, options, call)
            except OllamaError as error:
                failure: OllamaError | None = error
            else:
                failure = None
        if failure is not None:
            if not stopped.is_set():
                supervisor.mend(failure, epoch)
            raise failure
        seconds = time.monotonic() - began
        supervisor.succeeded()
        self._examine(request, answer)
        return _reply(request, answer, seconds)

    def _put(self, request: EngineRequest, options: dict[str, Any], call: Call) -> OllamaAnswer:
        """Put a request to the server in the way that its form asks for."""
        supervisor, form = self._supervisor, request.form
        if form is not None and form.continuations and not form.choices:
            raise OllamaError(
                Fault.REFUSED, "log likelihoods of given texts are not to be had from Ollama"
            )

        def chat(options: Mapping[str, Any], **more: Any) -> OllamaAnswer:
            return supervisor.client.chat(
                supervisor.name,
                request.messages,
                options,
                keep_alive=supervisor.keep_alive,
                think=self._think,
                call=call,
                **more,
            )

        if form is None:
            return chat(options)
        if form.choices:
            return choose(chat, options, form.choices)
        if form.prompt is None:
            return chat(options)
        return supervisor.client.generate(
            supervisor.name, form.prompt, options, keep_alive=supervisor.keep_alive, call=call
        )

    def _examine(self, request: EngineRequest, answer: OllamaAnswer) -> None:
        found = [
            check_reload(answer, key=request.key),
            check_length(answer, request.decoding.max_tokens, key=request.key),
        ]
        found.append(self._check_count(request, answer))
        with self._canary_lock:
            found.append(self._canary.add(answer))
        for finding in found:
            if finding is not None:
                self._findings.note(finding)

    def _check_count(self, request: EngineRequest, answer: OllamaAnswer) -> Finding | None:
        if self._count_tokens is None:
            return None
        expected = self._count_tokens(request.messages)
        return None if expected is None else check_truncation(expected, answer, key=request.key)


def _reply(request: EngineRequest, answer: OllamaAnswer, seconds: float) -> EngineReply:
    cut = answer.done_reason == "length"
    made, asked = answer.completion_tokens, request.decoding.max_tokens
    at_context = cut and made is not None and made < asked
    return EngineReply(
        key=request.key,
        status=Status.TRUNCATED if cut else Status.COMPLETED,
        text=answer.text,
        reason=f"the context was full after {made} of {asked} tokens" if at_context else None,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=made,
        seconds=seconds,
        thinking=answer.thinking,
    )
