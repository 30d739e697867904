"""An engine that answers from a function: for tests, for `doctor`, and for trying a suite.

It keeps every promise of the Protocol and breaks on request, always at the same place, so that
what happens after a fault can be tested without patching anything.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from so8t.domain.canonical import digest_of
from so8t.domain.exchange import EngineInfo, EngineReply, LoadReport, Status
from so8t.engines.protocol import Capabilities, at_once
from so8t.errors import EngineCrashed, EngineError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from so8t.domain.exchange import Arm, EngineRequest, LoadProfile, ServedModel

    Answer = Callable[[EngineRequest], str]

_LANE = "scripted"
CAPABILITIES = Capabilities(loads_files=True, renders_templates=True, continues_prompts=True)


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, and where.

    Attributes:
        crash_after: the first session crashes after so many answers, the second after the next
            number, and so on; sessions beyond the last one do not crash.
        fail: request key -> reason; the reply has status failed.
        truncate: request keys whose reply is cut to half its words, with status truncated.
        refuse: model locations that open() refuses with ModelError.
        delay: seconds that each answer takes.
        reverse: of the requests in flight the newest completes first, instead of the oldest.

    """

    crash_after: tuple[int, ...] = ()
    fail: Mapping[str, str] = field(default_factory=dict)
    truncate: frozenset[str] = frozenset()
    refuse: frozenset[str] = frozenset()
    delay: float = 0.0
    reverse: bool = False


class ScriptedEngine:
    """Answers from a pure function of the request, or from one function for each arm."""

    def __init__(
        self,
        answer: Answer | Mapping[Arm, Answer],
        faults: Faults | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        capabilities: Capabilities = CAPABILITIES,
    ) -> None:
        """`capabilities` are those of the engine that it stands for."""
        self._answer = answer
        self._faults = faults or Faults()
        self._sleep = sleep
        self._crashes = deque(self._faults.crash_after)
        self.capabilities = capabilities

    @property
    def info(self) -> EngineInfo:
        """Name and version."""
        return EngineInfo(_LANE, "1", "answers from a function; no model is asked")

    def adopt(self, model: ServedModel, name: str, artifacts: Path) -> ServedModel:  # noqa: ARG002 - the Protocol's
        """Return the model as it is: there is nothing to register."""
        return model

    def recall(self, models: Iterable[ServedModel]) -> None:
        """Do nothing: a model is looked up when it is opened."""

    def open(self, model: ServedModel, profile: LoadProfile) -> ScriptedSession:
        """Return a session. Raises ModelError for the locations named in `Faults.refuse`."""
        if model.location in self._faults.refuse:
            raise ModelError(
                f"The scripted engine was told to refuse {model.location}.",
                hint="take the location out of Faults.refuse.",
            )
        answer = self._answer[model.arm] if isinstance(self._answer, Mapping) else self._answer
        crash_after = self._crashes.popleft() if self._crashes else None
        return ScriptedSession(answer, self._faults, profile, crash_after, self._sleep)


class ScriptedSession:
    """One pretended model."""

    def __init__(
        self,
        answer: Answer,
        faults: Faults,
        profile: LoadProfile,
        crash_after: int | None,
        sleep: Callable[[float], None],
    ) -> None:
        self._answer = answer
        self._faults = faults
        self._profile = profile
        self._answers_left = crash_after
        self._sleep = sleep
        self._serving = False
        self._end: EngineError | None = None

    @property
    def report(self) -> LoadReport:
        """The profile, taken at its word. There is no template, but equal ones must be told."""
        return LoadReport(
            seconds=0.0,
            context=self._profile.context,
            slots=self._profile.slots,
            memory=0,
            template_digest=digest_of(_LANE),
        )

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
        """Answer requests, at most one a slot at a time.

        Raises EngineCrashed where `Faults.crash_after` says so, EngineError when the session is
        closed or another iterator is still open.
        """
        if self._end is not None:
            raise self._end
        if self._serving:
            raise EngineError("This session is already serving; close the other iterator first.")
        self._serving = True
        try:
            yield from self._exchange(iter(requests), in_flight)
        finally:
            self._serving = False

    def _exchange(
        self, requests: Iterator[EngineRequest], in_flight: Callable[[], int] | None
    ) -> Iterator[EngineReply]:
        flying: deque[EngineRequest] = deque()
        more = True
        while True:
            while more and len(flying) < at_once(self._profile.slots, in_flight):
                request = next(requests, None)
                if request is None:
                    more = False
                else:
                    flying.append(request)
            if self._end is not None:
                raise self._end
            if not flying:
                return
            if self._answers_left == 0:
                self._end = EngineCrashed("The scripted engine crashed, as it was told to.")
                raise self._end
            if self._answers_left is not None:
                self._answers_left -= 1
            yield self._reply(flying.pop() if self._faults.reverse else flying.popleft())

    def _reply(self, request: EngineRequest) -> EngineReply:
        if self._faults.delay:
            self._sleep(self._faults.delay)
        seconds = self._faults.delay
        asked = sum(len(message.content.split()) for message in request.messages)
        reason = self._faults.fail.get(request.key)
        if reason is not None:
            return EngineReply(request.key, Status.FAILED, reason=reason, seconds=seconds)
        text, status = self._answer(request), Status.COMPLETED
        if request.key in self._faults.truncate:
            words = text.split()
            text, status = " ".join(words[: len(words) // 2]), Status.TRUNCATED
        # A word is a token here.
        return EngineReply(
            request.key,
            status,
            text,
            prompt_tokens=asked,
            completion_tokens=len(text.split()),
            seconds=seconds,
        )

    def close(self) -> None:
        """End the session. Safe to call twice."""
        if self._end is None:
            self._end = EngineError("This session is closed; open a new one.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
