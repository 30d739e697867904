"""Keeps one model loaded on a server that crashes, restarts and gets stuck.

Loading, checking what was really loaded, the one-token probe, waiting for a server that went
away, and freeing one whose scheduler hangs. All of it bounded in time.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from so8t.domain.canonical import digest_of
from so8t.domain.exchange import LoadReport, Message
from so8t.engines.ollama.degradation import Finding, Notice, check_context, check_gpu
from so8t.engines.ollama.faults import MODEL_FAULTS, Fault, OllamaError, ServerGone
from so8t.engines.ollama.records import bare_digest, full_name
from so8t.errors import EngineError, ModelError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from so8t.domain.exchange import LoadProfile, ServedModel
    from so8t.engines.ollama.answers import OllamaAnswer
    from so8t.engines.ollama.client import OllamaClient
    from so8t.engines.ollama.records import ServerModel
    from so8t.engines.ollama.transport import Call

CONVERSATION = (
    Message("user", "Hello?"),
    Message("assistant", "Hello."),
    Message("user", "Goodbye."),
)
"""What is rendered to tell one template from another."""

_MOST_MENDS = 5  # repairs in a row without a single answer in between
_ASK_AGAIN = 8  # polls after which an unload is asked for again


def unload_and_wait(
    client: OllamaClient, names: Collection[str], pause: Callable[[float], object] = time.sleep
) -> None:
    """Unload models and wait until the server no longer lists them.

    Raises OllamaError(DEADLINE), not retryable, when they do not go within `timing.unload`.
    """
    wanted = {full_name(name) for name in names}
    end = time.monotonic() + client.timing.unload
    looks = 0
    while present := wanted & {model.name for model in client.loaded()}:
        if time.monotonic() >= end:
            raise OllamaError(
                Fault.DEADLINE,
                f"{', '.join(sorted(present))} did not go within {client.timing.unload:g} s of "
                "being unloaded; someone else may be using it",
                retryable=False,
                hint="stop other users of this server, or restart it",
            )
        if looks % _ASK_AGAIN == 0:  # an unload during a load does nothing: ask again
            # A name that was deleted while loaded cannot be asked to go; its keep_alive ends it.
            wanted -= {name for name in sorted(present) if not _unload(client, name)}
        looks += 1
        pause(client.timing.poll)


def _unload(client: OllamaClient, name: str) -> bool:
    """Ask a model to go; false if there is no model of that name to be asked."""
    try:
        client.unload(name)
    except OllamaError as error:
        if error.fault is not Fault.NO_MODEL:
            raise
        return False
    return True


class Supervisor:
    """One model under one frozen load profile, on one server. Safe for many threads."""

    def __init__(
        self,
        client: OllamaClient,
        model: ServedModel,
        profile: LoadProfile,
        *,
        options: dict[str, Any],
        keep_alive: str | int,
        version: str,
        note: Callable[[Finding], None],
        restart: Callable[[], None] | None,
        gpu_expected: bool,
    ) -> None:
        self.client = client
        self.name = full_name(model.location)
        self.options = options
        self.keep_alive = keep_alive
        self.share: float | None = None
        self.loaded: ServerModel | None = None
        self._digest = bare_digest(model.digest)
        self._profile = profile
        self._version = version
        self.note = note
        self._restart = restart
        self._gpu_expected = gpu_expected
        self._lock = threading.RLock()
        self._calls: set[Call] = set()
        self._calls_lock = threading.Lock()
        self._epoch = 0
        self._mends = 0
        self._look_again = False
        self._closing = threading.Event()

    # Loading

    def load(self, slots: int) -> LoadReport:
        """Load the model, check what was loaded, and ask for one token.

        Raises ModelError for a model that is not the one that was meant or cannot be loaded,
        else OllamaError.
        """
        began = time.monotonic()
        self._load()
        seconds = time.monotonic() - began
        loaded = self.check_loaded()
        self.probe()
        return LoadReport(
            seconds=seconds,
            context=loaded.context,
            slots=slots,
            memory=loaded.size,
            gpu_memory=loaded.gpu_size,
            template_digest=self._template_digest(),
        )

    def check_loaded(self) -> ServerModel:
        """Compare what `/api/ps` says with what was asked for; note what differs."""
        loaded = next((model for model in self.client.loaded() if model.name == self.name), None)
        if loaded is None:
            raise OllamaError(
                Fault.SERVER, f"{self.name} was loaded, but the server does not list it"
            )
        if loaded.digest != self._digest:
            raise ModelError(
                f"{self.name} is another model now: its digest is {loaded.digest[:12]}, "
                f"registered was {self._digest[:12]}.",
                hint="someone replaced it on the server; register it again",
            )
        findings = [
            check_context(self._profile.context, loaded),
            check_gpu(loaded, before=self.share, gpu_expected=self._gpu_expected),
        ]
        for finding in findings:
            if finding is not None:
                self.note(finding)
        if self.share is None:
            self.share = loaded.gpu_share
        self.loaded = loaded
        return loaded

    def probe(self) -> OllamaAnswer:
        """Ask for one token with a deadline: the only health check that a stuck server fails."""
        return self.client.generate(
            self.name,
            "a",  # raw and short, so that it fits into any context
            {**self.options, "num_predict": 1, "temperature": 0.0, "seed": 1},
            keep_alive=self.keep_alive,
            deadlines=self.client.timing.probe,
        )

    def _load(self) -> None:
        from so8t.engines.ollama.retry import attempts  # noqa: PLC0415 - stamina, only when used

        for attempt in attempts(self.client.timing.retries):
            with attempt:
                self._look_alive()
                try:
                    self.client.load(self.name, self.options, keep_alive=self.keep_alive)
                except OllamaError as error:
                    if error.fault is Fault.DEADLINE:
                        self._free_server()
                    raise

    def _template_digest(self) -> str | None:
        try:
            rendered = self.client.render(
                self.name, CONVERSATION, self.options, keep_alive=self.keep_alive
            )
        except OllamaError as error:
            if error.retryable:
                raise
            # An older server, or a template that refuses this conversation.
            rendered = self.client.show(self.name).template
        return digest_of(rendered) if rendered else None

    # Calls in flight

    @contextmanager
    def call(self) -> Iterator[tuple[Call, int]]:
        """Yield a handle for one answer and the epoch that it is asked in.

        Waits while the server is being repaired: an answer asked for meanwhile would revive the
        very model whose unloading is waited for.
        """
        with self._lock:
            call = self.client.new_call()
        with self._calls_lock:
            self._look_alive()
            self._calls.add(call)
            epoch = self._epoch
        try:
            yield call, epoch
        finally:
            with self._calls_lock:
                self._calls.discard(call)

    def withdraw(self, why: str, *, again: bool) -> None:
        """Cut off every answer in flight; `again` says whether they may be asked again."""
        with self._calls_lock:
            for call in self._calls:
                call.cancel(OllamaError(Fault.WITHDRAWN, why, retryable=again))

    def close(self) -> None:
        """Make every wait and every answer end now."""
        with self._calls_lock:
            self._closing.set()
        self.withdraw("the session was closed", again=False)

    def succeeded(self) -> None:
        """Hear of an answer; after a crash, look where the new process was loaded."""
        self._mends = 0
        if not self._look_again:
            return
        with self._lock:
            if not self._look_again:
                return
            try:
                self.check_loaded()
            except OllamaError:
                return  # the answer stands; the next one looks again
            except ModelError as error:
                raise ServerGone(error.message, hint=error.hint) from error
            self._look_again = False

    # Repair

    def mend(self, error: OllamaError, epoch: int) -> None:
        """Do what makes another try worth it. `epoch` is that of the request that failed.

        Raises ServerGone when the server, or the model on it, is lost.
        """
        if error.fault in MODEL_FAULTS:
            raise ServerGone(f"{self.name} can no longer be asked: {error.detail}", hint=error.hint)
        if error.fault in {Fault.UNREACHABLE, Fault.LOST}:
            self._guarded(epoch, self._find_server)
        elif error.fault is Fault.DEADLINE:
            self._guarded(epoch, self._unstick)
        elif error.fault is Fault.CRASHED:
            self._look_again = True

    def _guarded(self, epoch: int, repair: Callable[[], bool]) -> None:
        with self._lock:
            if epoch != self._epoch:
                return  # repaired since that request was sent, by another thread
            if self._mends >= _MOST_MENDS:
                raise ServerGone(
                    f"{self._mends} repairs in a row brought no answer from {self.client.url}.",
                    hint="see the server's own log",
                )
            try:
                repaired = repair()
            except ServerGone:
                raise
            except (EngineError, PrerequisiteError) as error:
                raise ServerGone(
                    f"The server at {self.client.url} could not be repaired: {error.message}",
                    hint=error.hint,
                ) from error
            if repaired:
                self._mends += 1
                with self._calls_lock:
                    self._epoch += 1

    def _find_server(self) -> bool:
        """After a broken connection: wait for the server and see that the model is loaded."""
        away = not self.client.reachable()
        if away:
            self._wait_for_server()
        version = self.client.version()
        if version != self._version:
            message = f"The server came back as version {version}, it was {self._version}."
            self.note(
                Finding(
                    Notice.RESTARTED,
                    message,
                    stop=True,
                    data={"before": self._version, "after": version},
                )
            )
            raise ServerGone(message, hint="answers of two versions are not comparable")
        there = any(model.name == self.name for model in self.client.loaded())
        if there and not away:
            return False
        self._load()
        self.check_loaded()
        self.note(Finding(Notice.RESTARTED, "The server went away and came back."))
        return True

    def _wait_for_server(self) -> None:
        end = time.monotonic() + self.client.timing.restart
        if self._restart is not None:
            self._restart()
        while not self.client.reachable():
            if time.monotonic() >= end:
                raise ServerGone(
                    f"The server at {self.client.url} went away and did not come back within "
                    f"{self.client.timing.restart:g} s.",
                    hint="start it with `ollama serve`, then run the same command again",
                )
            self._pause(self.client.timing.poll)

    def _unstick(self) -> bool:
        """After a deadline: probe; if nothing comes, unload all, which frees a stuck scheduler."""
        try:
            self.probe()
        except OllamaError as error:
            if error.fault in {Fault.UNREACHABLE, Fault.LOST}:
                return self._find_server()
            if not error.retryable and error.fault is not Fault.DEADLINE:
                raise
        else:
            return False
        # What else hangs has to go first: a model with requests in flight is not unloaded.
        self.withdraw("the server is stuck", again=True)
        try:
            self._free_server()
            self._load_and_probe()
        except OllamaError:
            if self._restart is None:
                raise
            self._restart()
            self._load_and_probe()
        self.note(
            Finding(
                Notice.UNSTUCK,
                "The server listed healthy models but answered nothing; unloading freed it.",
            )
        )
        return True

    def _load_and_probe(self) -> None:
        self._load()
        self.check_loaded()
        self.probe()

    def _free_server(self) -> None:
        names = [model.name for model in self.client.loaded()]
        # A model that is still loading is not listed; asking for our own does no harm.
        for name in {*names, self.name}:
            _unload(self.client, name)
        unload_and_wait(self.client, names, self._pause)

    def _pause(self, seconds: float) -> None:
        self._closing.wait(seconds)
        self._look_alive()

    def _look_alive(self) -> None:
        if self._closing.is_set():
            raise OllamaError(Fault.WITHDRAWN, "the session was closed", retryable=False)
