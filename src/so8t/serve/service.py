"""One request from its question to what leaves: asked, judged, logged, and only then answered."""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from so8t.domain.exchange import Decoding, EngineRequest, Status
from so8t.domain.fourfold import Label, Ruling, rule
from so8t.errors import SO8TError
from so8t.journal.audit import AuditRow, keyed_hash
from so8t.report.text import Text
from so8t.serve.prompt import conversation
from so8t.serve.safety_gate import GateDecision
from so8t.system.files import free_bytes

if TYPE_CHECKING:
    from so8t.domain.exchange import EngineReply
    from so8t.journal.audit import AuditLog
    from so8t.serve.limits import RequestLimits
    from so8t.serve.metrics import Metrics
    from so8t.serve.prompt import Role
    from so8t.serve.safety_gate import SafetyGate
    from so8t.serve.worker import AnswerWorker


# More than a row and its witness take, with the log of the database.
_ROOM = 1 << 20


@dataclass(frozen=True, slots=True)
class ThinkQuestion:
    """What a client asked, already checked. `language` is that of a refusal's words.

    `accepted` is when, in seconds of the monotonic clock.
    """

    id: str
    query: str = field(repr=False)
    language: str
    max_tokens: int
    accepted: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class ThinkAnswer:
    """What leaves the server.

    Attributes:
        id: the request's, also in the audit log.
        label: ALLOW, ESCALATE or REFUSE.
        final: the answer, or words of refusal that are never the model's.
        outcome: answered, refused (by the check, the label or the safety gate), failed (the model
            did not answer), timeout.
        reason: why it is not an answer, as a word; None for an answer.

    """

    id: str
    label: Label
    final: str
    outcome: str
    reason: str | None

    @property
    def status(self) -> int:
        """The HTTP status."""
        return {"failed": 502, "timeout": 504}.get(self.outcome, 200)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "id": self.id,
            "label": self.label.value,
            "final": self.final,
            "outcome": self.outcome,
            "reason": self.reason,
        }


class NotLoggedError(SO8TError):
    """The request could not be written to the audit log, so it is not answered."""


@dataclass(frozen=True, slots=True)
class Served:
    """Who answers, as the audit log names it."""

    model: str
    engine: str


class ThinkService:
    """Answers questions; every answer that it returns has its row in the audit log."""

    def __init__(
        self,
        worker: AnswerWorker,
        audit: AuditLog,
        text_key: bytes,
        served: Served,
        *,
        limits: RequestLimits,
        metrics: Metrics,
        instruction: str,
        role: Role,
        gate: SafetyGate | None = None,
    ) -> None:
        self.worker = worker
        self.audit = audit
        self.served = served
        self.limits = limits
        self.metrics = metrics
        self._text_key = text_key
        self._instruction = instruction
        self._role: Role = role
        self._gate = gate
        # The log is written from one thread; a commit waits for the disk, the event loop does not.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._places: set[str] = set()
        # Whether the last row could be written; while not, room is looked for.
        self._logs = True
        self._words = {language: Text(language) for language in ("en", "ja")}

    @property
    def healthy(self) -> bool:
        """Whether a request could be answered and logged now.

        After a row that did not go to the disk: whether the disk has room again.
        """
        if not (self.worker.alive and self.audit.usable):
            return False
        return self._logs or all(
            (free_bytes(path) or 0) >= _ROOM for path in (self.audit.path, self.audit.witness)
        )

    def unforeseen(self, error: BaseException) -> None:
        """Count an error of our own, and say once for each place where it was, not what it says."""
        self.metrics.rejected("internal")
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {frame.filename}:{frame.lineno}"
        if place not in self._places:
            self._places.add(place)
            sys.stderr.write(f"so8t serve: unforeseen {place}\n")

    def words(self, language: str, why: str) -> str:
        """Return the words for a client that gets no answer: `refused`, `context` or `failed`."""
        text = self._words[language]
        if why == "context":
            return text("serve.too_long")
        return text("serve.refused") if why == "refused" else text("serve.failed")

    async def ask(self, question: ThinkQuestion) -> Future[EngineReply] | None:
        """Put a question to the model; None where the safety gate refuses it first.

        Raises QueueFullError, NotLoggedError where it could not be logged, EngineError where the
        model is not served any more. Nothing was asked then.
        """
        if not self.audit.usable:
            raise NotLoggedError("the audit log cannot be written")
        if self._gate is not None:
            # A long question takes a while; the event loop does not wait for it.
            decision = await asyncio.to_thread(self._gate.decide, question.query)
            self.metrics.gated(decision.value)
            if decision is GateDecision.REFUSED:
                return None
        return self.worker.submit(self._request(question))

    async def answer(
        self, question: ThinkQuestion, future: Future[EngineReply] | None
    ) -> ThinkAnswer:
        """Wait for the reply, judge it whole, log the request, and return what may leave.

        `future` is what `ask` gave. Raises NotLoggedError where the row could not be written: then
        nothing leaves.
        """
        if future is None:
            words = self.words(question.language, "refused")
            refusal = ThinkAnswer(question.id, Label.REFUSE, words, "refused", "safety_gate")
            return await self._logged(question, refusal, "")
        failed = ""
        reply: EngineReply | None = None
        try:
            async with asyncio.timeout(self.limits.answer):
                reply = await asyncio.wrap_future(future)
        except TimeoutError:
            failed = "timeout"
        except SO8TError:
            # Its message may hold what the engine wrote last, so it is not passed on.
            failed = "engine"
        answer, thinking = self._judge(question, reply, failed)
        return await self._logged(question, answer, thinking)

    async def _logged(
        self, question: ThinkQuestion, answer: ThinkAnswer, thinking: str
    ) -> ThinkAnswer:
        await self._log(question, answer, thinking, time.monotonic() - question.accepted)
        seconds = time.monotonic() - question.accepted
        self.metrics.answered(answer.outcome, answer.label.value, seconds)
        return answer

    def _request(self, question: ThinkQuestion) -> EngineRequest:
        return EngineRequest(
            question.id,
            conversation(question.query, self._instruction, self._role),
            Decoding(max_tokens=question.max_tokens),
        )

    def _judge(
        self, question: ThinkQuestion, reply: EngineReply | None, failed: str
    ) -> tuple[ThinkAnswer, str]:
        if reply is None or reply.status is Status.FAILED:
            outcome = "timeout" if failed == "timeout" else "failed"
            reason = failed or ("context" if reply and reply.reason == "context" else "engine")
            words = self.words(question.language, reason)
            return ThinkAnswer(question.id, Label.REFUSE, words, outcome, reason), ""
        ruling: Ruling = rule(
            reply.text,
            ended=reply.status is Status.COMPLETED,
            separate=reply.thinking,
            query=question.query,
        )
        if ruling.final is None:
            words = self.words(question.language, "refused")
            return (
                ThinkAnswer(question.id, ruling.label, words, "refused", ruling.reason),
                ruling.thinking,
            )
        return (
            ThinkAnswer(question.id, ruling.label, ruling.final, "answered", None),
            ruling.thinking,
        )

    async def _log(
        self, question: ThinkQuestion, answer: ThinkAnswer, thinking: str, seconds: float
    ) -> None:
        row = AuditRow(
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            monotonic=time.monotonic(),
            id=question.id,
            outcome=answer.outcome,
            label=answer.label.value,
            reason=answer.reason,
            query=keyed_hash(self._text_key, "query", question.query),
            thinking=keyed_hash(self._text_key, "thinking", thinking) if thinking else None,
            answer=keyed_hash(self._text_key, "answer", answer.final),
            model=self.served.model,
            engine=self.served.engine,
            seconds=round(seconds, 6),
        )
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._writer, self.audit.append, row)
            self._logs = True
        except (SO8TError, OSError) as error:
            self._logs = False
            self.metrics.rejected("audit")
            raise NotLoggedError("the audit log cannot be written") from error

    def close(self) -> None:
        """Wait for the last row. The worker and the log are their makers' to close."""
        self._writer.shutdown()
