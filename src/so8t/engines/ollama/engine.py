"""The engine: which model is loaded when, and whether both may stay."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from so8t.domain.exchange import EngineInfo, Message
from so8t.engines.loads import SHARE_TOLERANCE
from so8t.engines.ollama.capabilities import CAPABILITIES
from so8t.engines.ollama.client import DEFAULT_URL, OllamaClient, is_loopback
from so8t.engines.ollama.degradation import Finding, Notice
from so8t.engines.ollama.faults import MODEL_FAULTS, Fault, OllamaError
from so8t.engines.ollama.options import load_options, stops_of
from so8t.engines.ollama.records import ServerModel, bare_digest, full_name
from so8t.engines.ollama.registration import register
from so8t.engines.ollama.session import Findings, OllamaSession
from so8t.engines.ollama.sources import SourceRegistration
from so8t.engines.ollama.supervisor import Supervisor, unload_and_wait
from so8t.engines.rendering import ChatTemplate
from so8t.errors import EngineError, EngineOutOfMemory, ModelError, UsageError
from so8t.system.files import free_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from so8t.domain.exchange import LoadProfile, LoadReport, ServedModel
    from so8t.engines.ollama.records import LocalModel, Shown
    from so8t.engines.ollama.timing import Timing
    from so8t.engines.protocol import Capabilities, CountTokens

LANE = "ollama"
_CHAT = (Message("user", "Say a word."),)
_MARGIN = 1.3  # loaded size over file size, where the loaded size was not yet measured


@dataclass(frozen=True, slots=True)
class _Known:
    """What a model that this engine loaded was measured to need."""

    loaded: ServerModel
    weights: str | None


class OllamaEngine:
    """Ollama over its native API, as one Engine.

    Args:
        url: the server.
        timing: every deadline and retry; the defaults suit a real server.
        parallel: what the server was started with as OLLAMA_NUM_PARALLEL; no API tells it, and
            requests above it would wait inside the server.
        num_batch: prompt tokens a step, a load-time option and so fixed for the whole run.
        keep_alive: how long an idle model stays, sent with every request; longer than any pause.
        think: None leaves thinking to the model; False asks a thinking model not to.
        stay_loaded: keep both arms' models loaded where that is measured to work.
        available_memory: bytes of RAM that are free for models, needed to try that without a GPU.
        gpu_expected: a model that is not on the GPU at all is then a finding.
        counter_of: gives, for a model's name on the server, what counts the tokens of its rendered
            conversations; None where the files for that are not at hand. Called at each load.
        on_finding: hears of every finding, in the thread that uses the engine.
        restart: starts the server again when it is gone or hangs; `ManagedServer.restart` is one.
        overwrite: let `adopt` replace another model that has the name.

    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timing: Timing | None = None,
        parallel: int = 1,
        num_batch: int = 512,
        keep_alive: str | int = "30m",
        think: bool | str | None = None,
        stay_loaded: bool = True,
        available_memory: Callable[[], int | None] | None = None,
        gpu_expected: bool = False,
        counter_of: Callable[[str], CountTokens | None] | None = None,
        on_finding: Callable[[Finding], None] | None = None,
        restart: Callable[[], None] | None = None,
        overwrite: bool = False,
    ) -> None:
        if parallel < 1:
            raise UsageError(f"parallel is {parallel}; a server has at least one slot.")
        self.client = OllamaClient(url, timing=timing)
        self._parallel = parallel
        self._num_batch = num_batch
        self._keep_alive = keep_alive
        self._think = think
        self._stay_loaded = stay_loaded
        self._available_memory = available_memory
        self._gpu_expected = gpu_expected
        self._counter_of = counter_of
        self._on_finding = on_finding
        self._restart = restart
        self._overwrite = overwrite
        self._version: str | None = None
        self._known: dict[str, _Known] = {}
        self._fit: dict[frozenset[str], bool] = {}

    @property
    def info(self) -> EngineInfo:
        """Name, server version and the fixed settings. Raises OllamaError without a server."""
        if self._version is None:
            self._version = self.client.version()
        return EngineInfo(
            LANE, self._version, f"chat, num_batch {self._num_batch}, no truncation, no shift"
        )

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return CAPABILITIES

    def adopt(self, model: ServedModel, name: str, artifacts: Path) -> ServedModel:
        """Register a GGUF file or a directory as `name`, or look a tag up, by the server's digest.

        Raises ModelError for a tag that is not there or a file that cannot be registered,
        PrerequisiteError for a full disk or a name that another model holds.
        """
        path = Path(model.location)
        if path.exists():
            made = register(
                self.client,
                SourceRegistration(
                    name,
                    source=path,
                    quantize=model.quantize and model.quantize.upper(),
                    expected=ChatTemplate(path).render(_CHAT) if path.is_file() else None,
                    overwrite=self._overwrite,
                ),
                artifacts=artifacts,
                free_bytes=self._free_bytes,
            )
            return replace(model, location=made.name, digest=made.digest, quantize=None)
        found = self.client.find(model.location)
        if found is None:
            raise ModelError(
                f"the Ollama server at {self.client.url} has no model {model.location!r}.",
                hint=f"ollama pull {model.location}; `ollama list` shows what it has",
            )
        return replace(model, location=found.name, digest=found.digest)

    def _free_bytes(self) -> int | None:
        """Bytes free where the server keeps its models; None on another machine."""
        if not is_loopback(self.client.url):
            return None
        return free_bytes(Path(os.environ.get("OLLAMA_MODELS", Path.home() / ".ollama")))

    def recall(self, models: Iterable[ServedModel]) -> None:
        """Do nothing: a model is looked up when it is opened."""

    def open(self, model: ServedModel, profile: LoadProfile) -> OllamaSession:
        """Load a model and check what was loaded.

        Other models are unloaded first, unless both are measured to fit. Raises ModelError for a
        model that is missing, another one or cannot be loaded, EngineOutOfMemory where the server
        names memory as the reason, else OllamaError (an EngineError).
        """
        findings = Findings(self._on_finding)
        try:
            return self._open(model, profile, findings)
        except OllamaError as error:
            if error.fault is Fault.MEMORY:
                raise EngineOutOfMemory(
                    f"{model.location} cannot be loaded: {error.detail}", hint=error.hint
                ) from error
            if error.fault in MODEL_FAULTS:
                raise ModelError(
                    f"{model.location} cannot be loaded: {error.detail}", hint=error.hint
                ) from error
            raise
        finally:
            findings.tell()

    def close(self) -> None:
        """Unload what this engine left loaded and give back its connections. Safe to call twice.

        A server that is gone has nothing loaded; that is no error here.
        """
        try:
            names = [m.name for m in self.client.loaded() if m.name in self._known]
            unload_and_wait(self.client, names)
        except OllamaError as error:
            if not error.retryable:
                raise
        finally:
            self._known.clear()
            self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # Inside

    def _open(self, model: ServedModel, profile: LoadProfile, findings: Findings) -> OllamaSession:
        slots = max(1, min(profile.slots, self._parallel))
        version = self._checked_version()
        name = full_name(model.location)
        local = self._registered(model)
        described = self.client.show(name)
        supervisor = Supervisor(
            self.client,
            model,
            profile,
            options=load_options(profile, self._num_batch),
            keep_alive=self._keep_alive,
            version=version,
            note=findings.note,
            restart=self._restart,
            gpu_expected=self._gpu_expected,
        )
        known = self._known.get(name)
        if known is not None:
            supervisor.share = known.loaded.gpu_share
        beside = self._make_room(name, local, described, findings)
        # What a trial that fails would tell (a share that fell) is not how the model will stay.
        trial: list[Finding] = []
        if beside:
            supervisor.note = trial.append
        report = self._load(supervisor, slots, beside)
        if report is None or (beside and not self._fits(name, beside)):
            # Measured: they do not fit together. This one again, alone.
            trial.clear()
            supervisor.note = findings.note
            self._fit |= {frozenset({name, other}): False for other in beside}
            unload_and_wait(self.client, [*beside, name])
            supervisor.share = None if known is None else known.loaded.gpu_share
            report = supervisor.load(slots)
        elif beside:
            self._fit |= {frozenset({name, other}): True for other in beside}
            findings.note(
                Finding(
                    Notice.BOTH_FIT,
                    f"{name} is loaded beside {', '.join(beside)}.",
                    data={"models": [name, *beside]},
                )
            )
        supervisor.note = findings.note
        for finding in trial:
            findings.note(finding)
        if supervisor.loaded is not None:
            self._known[name] = _Known(supervisor.loaded, described.weights)
        return OllamaSession(
            supervisor,
            report,
            slots=slots,
            model_stops=stops_of(described.parameters),
            findings=findings,
            think=self._think,
            count_tokens=self._counter(name, findings),
            on_close=lambda: self._release(name),
        )

    def _counter(self, name: str, findings: Findings) -> CountTokens | None:
        if self._counter_of is None:
            return None
        counter = self._counter_of(name)
        if counter is None:
            findings.note(
                Finding(
                    Notice.UNCOUNTED,
                    f"The prompts of {name} are not counted here: no tokenizer of it is at hand. "
                    "The server was told to refuse a prompt that does not fit, not to cut it.",
                    data={"model": name},
                )
            )
        return counter

    def _load(self, supervisor: Supervisor, slots: int, beside: list[str]) -> LoadReport | None:
        """Load; None where it failed with other models beside it, which may be the reason."""
        try:
            return supervisor.load(slots)
        except OllamaError as error:
            if beside and error.fault in {Fault.MEMORY, Fault.CRASHED, Fault.SERVER}:
                return None
            raise

    def _checked_version(self) -> str:
        version = self.client.version()
        if self._version not in {None, version}:
            raise EngineError(
                f"The server is version {version} now, this run began with {self._version}.",
                hint="answers of two versions are not comparable; start a new run",
            )
        self._version = version
        return version

    def _registered(self, model: ServedModel) -> LocalModel:
        local = self.client.find(model.location)
        if local is None:
            raise ModelError(
                f"The server at {self.client.url} has no model {full_name(model.location)}.",
                hint="register it again; `ollama list` shows what is there",
            )
        if local.digest != bare_digest(model.digest):
            raise ModelError(
                f"{local.name} is another model now: its digest is {local.digest[:12]}, "
                f"registered was {bare_digest(model.digest)[:12]}.",
                hint="someone replaced it on the server; register it again",
            )
        return local

    def _make_room(
        self, name: str, local: LocalModel, described: Shown, findings: Findings
    ) -> list[str]:
        """Unload what may not stay; return the names of the models that stay beside ours."""
        others = [loaded for loaded in self.client.loaded() if loaded.name != name]
        stay = [o.name for o in others if self._may_stay(o, name, local, described)]
        go = [other.name for other in others if other.name not in stay]
        if go:
            unload_and_wait(self.client, go)
            findings.note(
                Finding(
                    Notice.EVICTED,
                    f"Unloaded to make room for {name}: {', '.join(go)}.",
                    data={"models": go},
                )
            )
        return stay

    def _may_stay(self, other: ServerModel, name: str, local: LocalModel, described: Shown) -> bool:
        known = self._known.get(other.name)
        if not self._stay_loaded or known is None:
            return False
        if self._fit.get(frozenset({name, other.name})) is False:
            return False
        # Two names on one blob can share a model process, and with it the wrong template.
        if known.weights is None or described.weights in {None, known.weights}:
            return False
        if other.gpu_size:
            return True  # the GPU's memory is measured by trying, after the load
        return self._enough_memory(name, local)

    def _enough_memory(self, name: str, local: LocalModel) -> bool:
        """Whether RAM is free for one more model. Unknown is no."""
        free = self._available_memory() if self._available_memory is not None else None
        known = self._known.get(name)
        if known is not None and known.loaded.size is not None:
            need: float | None = known.loaded.size
        else:
            need = None if local.size is None else local.size * _MARGIN
        return free is not None and need is not None and need <= free

    def _fits(self, name: str, beside: list[str]) -> bool:
        """Whether all are loaded, and each as much on the GPU as when it was alone."""
        now = {loaded.name: loaded for loaded in self.client.loaded()}
        for one in [name, *beside]:
            loaded = now.get(one)
            if loaded is None:
                return False
            known = self._known.get(one)
            alone = 1.0 if known is None else known.loaded.gpu_share
            share = loaded.gpu_share
            if share and alone and share < alone - SHARE_TOLERANCE:
                return False
        return True

    def _release(self, name: str) -> None:
        """At the end of a session: unload, unless staying is possible and was not ruled out."""
        known = self._known.get(name)
        ruled_out = any(not fits for pair, fits in self._fit.items() if name in pair)
        on_gpu = known is not None and bool(known.loaded.gpu_size)
        if self._stay_loaded and not ruled_out and (on_gpu or self._available_memory is not None):
            return
        try:
            unload_and_wait(self.client, [name])
        except OllamaError as error:
            if not error.retryable:
                raise
            # The server is gone, and the model's memory with it.
