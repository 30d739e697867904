"""The embedded engine: llama.cpp in a child process of ours, nothing to install or to start.

Each session owns one child, so that a crash of native code ends one attempt and not the run. The
parent never loads native code itself.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from so8t.domain.exchange import EngineInfo, EngineReply, LoadReport, Status
from so8t.engines.embedded_capabilities import CAPABILITIES
from so8t.engines.protocol import at_once
from so8t.errors import (
    EngineCrashed,
    EngineError,
    EngineOutOfMemory,
    ModelError,
    PrerequisiteError,
)
from so8t.system.child import Child, ChildTimeoutError
from so8t.system.gguf import read_header
from so8t.system.memory import resident_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from so8t.domain.exchange import EngineRequest, LoadProfile, PromptTemplate, ServedModel
    from so8t.engines.protocol import Capabilities

_LANE = "embedded"
# Texts to be measured that the child may hold: it takes as many as fit into one batch, and should
# have the next batch before the parent has committed this one.
_MEASURED_IN_FLIGHT = 128
_LIBRARY = "xllamacpp"
_WORKER = "so8t.engines.embedded_worker"
# llama.cpp's OpenMP threads spin while they wait for each other. With fewer free cores than
# threads the spinning starves the one that works: on two busy cores two threads made 60 tokens a
# second spinning and 300 sleeping (one thread 390). The price is a wake-up at each barrier.
_SLEEP_WHILE_WAITING = {"OMP_WAIT_POLICY": "passive"}
_LOG_PREFIX = re.compile(r"^[\d.]+ [A-Z] +")
_TOO_LARGE = "not enough memory: lower context, slots or gpu_layers, or quantize the model."
# What llama.cpp says, and what a person can do about it. The first match counts.
_HINTS = (
    ("not within the file bounds", "the file is incomplete: copy, download or convert it again."),
    ("failed to read", "the file is damaged: copy, download or convert it again."),
    ("unknown model architecture", "update xllamacpp, or convert the model from its HF directory."),
    ("alloc", _TOO_LARGE),
    ("memory", _TOO_LARGE),
)
_HINT = "check the file with another tool, or convert the model again."


@dataclass(frozen=True, slots=True)
class EmbeddedDeadlines:
    """How long to wait before a child counts as hung and is killed. All in seconds.

    Generous on purpose: a slow machine is no fault, and a hang is rare.

    Attributes:
        load: for loading, besides `load_per_gib` for each GiB of the file.
        answer: for one answer, besides `answer_per_token` for each token that it can take.

    """

    load: float = 120.0
    load_per_gib: float = 120.0
    answer: float = 120.0
    answer_per_token: float = 2.0

    def for_load(self, size: int) -> float:
        """Seconds for loading a file of `size` bytes."""
        return self.load + self.load_per_gib * size / (1 << 30)

    def for_answer(self, request: EngineRequest, context: int) -> float:
        """Seconds for one answer in a slot of `context` tokens."""
        # A token is at least one byte, so the bytes bound the tokens of the prompt.
        prompt = sum(len(message.content.encode(errors="replace")) for message in request.messages)
        if request.form is not None:
            prompt += len((request.form.prompt or "").encode(errors="replace"))
        return self.answer + self.answer_per_token * min(
            context, prompt + request.decoding.max_tokens
        )

    def for_measuring(self, request: EngineRequest, context: int) -> float:
        """Seconds for measuring one request's continuations, behind whatever waits before it."""
        assert request.form is not None  # noqa: S101 - only such a request is measured
        return self.answer_per_token * sum(
            min(context, len(f"{one.context or ''}{one.text}".encode(errors="replace")))
            for one in request.form.continuations
        )


class EmbeddedEngine:
    """llama.cpp through xllamacpp, one child process a session."""

    def __init__(
        self,
        *,
        deadlines: EmbeddedDeadlines | None = None,
        batch_likelihood: bool = True,
    ) -> None:
        """Without `batch_likelihood` continuations are measured token by token through the server.

        So they are where the wheel of xllamacpp exports no C interface.
        """
        self._deadlines = deadlines or EmbeddedDeadlines()
        self._batch = batch_likelihood

    @property
    def info(self) -> EngineInfo:
        """Name and version. Raises PrerequisiteError where xllamacpp is not installed."""
        try:
            version = metadata.version(_LIBRARY)
        except metadata.PackageNotFoundError:
            raise _library_missing("it is not installed") from None
        # xllamacpp takes the last part of its version from the llama.cpp build that it wraps.
        return EngineInfo(_LANE, f"{_LIBRARY} {version}", f"llama.cpp b{version.split('.')[-1]}")

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return CAPABILITIES

    def adopt(self, model: ServedModel, name: str, artifacts: Path) -> ServedModel:  # noqa: ARG002 - the Protocol's
        """Return the model as it is: llama.cpp loads the file itself."""
        return model

    def recall(self, models: Iterable[ServedModel]) -> None:
        """Do nothing: a model is looked up when it is opened."""

    def open(self, model: ServedModel, profile: LoadProfile) -> EmbeddedSession:
        """Load a GGUF file in a new child.

        Call it in a thread that lives as long as the session: on Linux the kernel ends the child
        with the *thread* that started it (PR_SET_PDEATHSIG), not only with the process.

        Raises ModelError for a file that cannot be loaded, PrerequisiteError without xllamacpp,
        EngineOutOfMemory where memory was short, EngineCrashed when the child ends or hangs
        meanwhile.
        """
        path = Path(model.location)
        read_header(path)
        started = time.monotonic()
        child = Child(
            _WORKER,
            # Who has set the policy themselves knows their machine.
            environment={**_SLEEP_WHILE_WAITING, **os.environ},
        )
        try:
            deadline = self._deadlines.for_load(path.stat().st_size)
            loaded = _load(
                child,
                path,
                profile,
                deadline,
                batch_likelihood=self._batch,
                template=model.template,
            )
            report = LoadReport(
                seconds=time.monotonic() - started,
                context=loaded["context"],
                slots=loaded["slots"],
                memory=resident_memory(child.pid),
                template_digest=loaded["template_digest"],
            )
        except BaseException:
            child.kill()
            child.close()
            raise
        return EmbeddedSession(child, report, profile, self._deadlines, deadline)


class EmbeddedSession:
    """One model in one child. Serve from one thread at a time."""

    def __init__(
        self,
        child: Child,
        report: LoadReport,
        profile: LoadProfile,
        deadlines: EmbeddedDeadlines,
        load_seconds: float,
    ) -> None:
        """`load_seconds` is the deadline for loading, once more before the first measuring."""
        self._child = child
        self._report = report
        self._slots = report.slots or profile.slots
        self._context = report.context or profile.context
        self._deadlines = deadlines
        self._next_ticket = 0
        # What the child is working on, also for an iterator that was closed: ticket -> when it
        # must be done, in time.monotonic() seconds.
        self._busy: dict[int, float] = {}
        self._measured: set[int] = set()
        self._measured_by = time.monotonic() + load_seconds
        self._next: EngineRequest | None = None
        self._serving = False
        self._end: EngineError | None = None

    @property
    def report(self) -> LoadReport:
        """What loading really gave."""
        return self._report

    @property
    def pid(self) -> int:
        """The child's process id, for probes of its memory and for tests that kill it."""
        return self._child.pid

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
        """Answer requests, at most one a slot at a time; replies come as they complete.

        The next request goes out before a reply is yielded, so the model works while the caller
        commits. What a closed iterator left behind runs to its end in its slot, unheard.

        Raises EngineCrashed when the child ended or an answer passed its deadline, EngineError
        when the session is closed or another iterator is still open.
        """
        if self._end is not None:
            raise self._end
        if self._serving:
            raise EngineError("This session is already serving; close the other iterator first.")
        self._serving = True
        asked: dict[int, str] = {}
        try:
            yield from self._exchange(iter(requests), asked, in_flight)
        finally:
            self._serving = False

    def _exchange(
        self,
        requests: Iterator[EngineRequest],
        asked: dict[int, str],
        in_flight: Callable[[], int] | None,
    ) -> Iterator[EngineReply]:
        more = self._refill(requests, asked, in_flight)
        while asked or more:
            answered = self._receive()
            key = asked.pop(answered["ticket"], None)
            more = more and self._refill(requests, asked, in_flight)
            if key is not None:
                yield _reply(key, answered)

    def _refill(
        self,
        requests: Iterator[EngineRequest],
        asked: dict[int, str],
        in_flight: Callable[[], int] | None,
    ) -> bool:
        """Send requests while there is room; False when there are no more."""
        while self._room(at_once(self._slots, in_flight)):
            request, self._next = self._next or next(requests, None), None
            if request is None:
                return False
            if not self._room(at_once(self._slots, in_flight), request):
                self._next = request
                return True
            ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
            asked[ticket] = request.key
            message = {**_message(request), "ticket": ticket}
            self._busy[ticket] = self._deadline(request, ticket)
            try:
                self._child.send(message)
            except EngineCrashed:
                # Answers from before the crash are still waiting; receive() raises after them.
                return False
        return True

    def _room(self, slots: int, request: EngineRequest | None = None) -> bool:
        """Whether a request, or any at all, may be sent now, with so many slots in use."""
        measured = len(self._measured) < _MEASURED_IN_FLIGHT
        answered = len(self._busy) - len(self._measured) < slots
        if request is None:
            return measured and answered if self._next is None else self._room(slots, self._next)
        return measured if _is_measured(request) else answered

    def _deadline(self, request: EngineRequest, ticket: int) -> float:
        """When a request must be done, in time.monotonic() seconds."""
        now = time.monotonic()
        if not _is_measured(request):
            return now + self._deadlines.for_answer(request, self._context)
        self._measured.add(ticket)
        own = self._deadlines.for_measuring(request, self._context)
        self._measured_by = max(self._measured_by, now + self._deadlines.answer) + own
        return self._measured_by

    def _receive(self) -> dict[str, Any]:
        try:
            message = self._child.receive(
                max(0.0, min(self._busy.values()) - time.monotonic()) if self._busy else None
            )
        except ChildTimeoutError:
            self._fail(
                EngineCrashed(
                    f"The embedded engine (pid {self.pid}) did not answer within its deadline "
                    "and was ended.",
                    hint="if the machine is only slow, lower slots or max_tokens.",
                )
            )
        except EngineCrashed as error:
            self._fail(error)
        self._busy.pop(message["ticket"], None)
        self._measured.discard(message["ticket"])
        return message

    def _fail(self, error: EngineCrashed) -> NoReturn:
        self._end = error
        self._child.kill()
        self._child.close()
        raise error

    def close(self) -> None:
        """End the child and give back its memory. Safe to call twice."""
        if self._end is None:
            self._end = EngineError("This session is closed; open a new one.")
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _is_measured(request: EngineRequest) -> bool:
    return request.form is not None and bool(request.form.continuations)


def _message(request: EngineRequest) -> dict[str, Any]:
    """Return what the child is asked, as so8t.engines.embedded_worker describes it."""
    form = request.form
    if form is not None and form.continuations:
        pairs = [[one.context, one.text] for one in form.continuations]
        return {"op": "measure", "continuations": pairs}
    messages = [asdict(message) for message in request.messages]
    if form is not None and form.choices:
        return {"op": "choose", "messages": messages, "choices": list(form.choices)}
    decoding = asdict(request.decoding)
    if form is None:
        return {"op": "answer", "messages": messages, "decoding": decoding}
    decoding["stop"] = [*decoding["stop"], *form.stop]
    return {"op": "answer", "messages": messages, "decoding": decoding, "prompt": form.prompt}


def _load(
    child: Child,
    path: Path,
    profile: LoadProfile,
    deadline: float,
    *,
    batch_likelihood: bool,
    template: PromptTemplate | None,
) -> dict[str, Any]:
    child.send(
        {
            "op": "load",
            "path": str(path.absolute()),
            "slots": profile.slots,
            "context": profile.context,
            "threads": profile.threads,
            "gpu_layers": profile.gpu_layers,
            "batch": profile.batch,
            "cache_type": profile.cache_type,
            "batch_likelihood": batch_likelihood,
            "template": None if template is None else asdict(template),
        }
    )
    try:
        answer = child.receive(timeout=deadline)
    except ChildTimeoutError:
        raise EngineCrashed(
            f"The embedded engine did not load {path} within {deadline:.0f} s and was ended.",
            hint="if the disk is only slow, raise Deadlines.load.",
        ) from None
    if answer["op"] == "loaded":
        return answer
    if answer["kind"] == "library":
        raise _library_missing(answer["message"])
    if answer["kind"] == "template":
        raise ModelError(answer["message"], hint="mend the template, or give one: `template: FILE`")
    # Closing waits for the last lines of the native log, which may be behind the message.
    child.close()
    log = [_LOG_PREFIX.sub("", line) for line in child.tail()]
    hint = next((hint for words, hint in _HINTS if any(words in line for line in log)), _HINT)
    said = "".join(f"\n  | {line}" for line in log) or f" {answer['message']}"
    if hint == _TOO_LARGE:
        raise EngineOutOfMemory(f"llama.cpp cannot load {path}:{said}", hint=hint)
    raise ModelError(f"llama.cpp cannot load {path}:{said}", hint=hint)


def _reply(key: str, answered: dict[str, Any]) -> EngineReply:
    return EngineReply(
        key=key,
        status=Status(answered["status"]),
        text=answered.get("text", ""),
        reason=answered.get("reason"),
        prompt_tokens=answered.get("prompt_tokens"),
        completion_tokens=answered.get("completion_tokens"),
        seconds=answered.get("seconds"),
    )


def _library_missing(why: str) -> PrerequisiteError:
    return PrerequisiteError(
        f"The embedded engine needs xllamacpp: {why}.",
        hint="pip install xllamacpp, or choose the ollama engine.",
    )
