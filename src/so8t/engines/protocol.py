"""What every engine can do. One Protocol, one file an engine.

Outside this folder nobody asks for an engine's name: what it can do stands in its Capabilities,
and its EngineKind, found by an entry point in the group `so8t.engines`, opens it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from so8t.config.engine_section import EngineSettings
from so8t.domain.exchange import Message
from so8t.engines.checks import Check, TaskNeeds
from so8t.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from so8t.domain.exchange import (
        EngineInfo,
        EngineReply,
        EngineRequest,
        LoadProfile,
        LoadReport,
        ServedModel,
    )

CountTokens = Callable[[tuple[Message, ...]], int | None]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do, asked where its name must not be.

    Attributes:
        exact_likelihood: it measures the log likelihood of given texts. A kind that says so may
            still find, at a server, that this one does not; its engine then says False.
        loads_files: it opens a GGUF file that lies here; else a model is a name on a server.
        registers: it keeps models of its own, and makes ours one of them.
        imports_directories: it makes a servable model of a Hugging Face directory itself.
        serves_directories: it answers with a Hugging Face directory as it is.
        quantizes: the types that it makes itself of weights that it imports.
        renders_templates: it renders a model's template itself, from the model's own file.
        continues_prompts: it can be given a text to continue as it stands, besides conversations.
        local: the models' memory and time are this machine's, ours to estimate.
        measures_threads: threads and slots are ours to choose, and so are measured.
        cache_types: types of the KV cache that one model can be loaded with.
        max_in_flight: the most answers at a time, None where the load profile alone says.
        processes: names of processes that work for the run without being its children.

    """

    exact_likelihood: bool = False
    loads_files: bool = False
    registers: bool = False
    imports_directories: bool = False
    serves_directories: bool = False
    quantizes: tuple[str, ...] = ()
    renders_templates: bool = False
    continues_prompts: bool = False
    local: bool = False
    measures_threads: bool = False
    cache_types: tuple[str, ...] = ()
    max_in_flight: int | None = None
    processes: tuple[str, ...] = ()


class Session(Protocol):
    """One loaded model, ready to answer."""

    @property
    def report(self) -> LoadReport:
        """What loading really gave."""

    @property
    def ready(self) -> bool:
        """Whether `serve` has another reply that need not be waited for. False where unknown."""

    def serve(
        self,
        requests: Iterable[EngineRequest],
        *,
        in_flight: Callable[[], int] | None = None,
    ) -> Iterator[EngineReply]:
        """Answer requests, at most as many at a time as there are slots.

        `in_flight` is asked before each request and bounds them further, so that the load can
        change between answers; below 1 counts as 1. What is in flight is never cut short by it.

        Requests are pulled only as slots get free, so an endless iterable is fine; closing the
        iterator abandons what is in flight. Replies come in the order of completion.

        A request that fails alone is a reply with status failed. Raises EngineCrashed when the
        engine itself is gone (EngineOutOfMemory when memory was the reason): replies already
        yielded stand, all others may be asked again in a new session.
        """

    def close(self) -> None:
        """Unload the model and give back its memory. Safe to call twice."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...


class Engine(Protocol):
    """Who answers."""

    @property
    def info(self) -> EngineInfo:
        """Name and version, recorded with every answer."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, at the server or on the machine where it is."""

    def adopt(self, model: ServedModel, name: str, artifacts: Path) -> ServedModel:
        """Make a prepared model known to the engine, and return it as `open` wants it.

        An engine that loads files returns it as it is; a server with models of its own registers
        it as `name` and writes what a person needs to repeat that into `artifacts`. Doing it
        again changes nothing.
        """

    def recall(self, models: Iterable[ServedModel]) -> None:
        """Take up models that an earlier process has adopted, as `adopt` gave them back.

        An engine that keeps nothing between processes has nothing to do. Raises as `adopt`.
        """

    def open(self, model: ServedModel, profile: LoadProfile) -> Session:
        """Load a model. Raises ModelError for a model that cannot be loaded, else EngineError.

        EngineOutOfMemory says that a smaller profile may do.
        """


@dataclass(frozen=True, slots=True)
class EngineContext:
    """What an engine is opened with.

    Attributes:
        settings: the section `engine` of the config, of the kind's own class.
        directory: where a server that is started for us writes its log.
        note: hears of what the engine notices: the event's kind, and its data.
        count_prompts: gives, for the name of a model on a server, what counts the tokens of its
            rendered conversations; None where that cannot be known.
        answer_seconds: after so long without an answer it counts as hung; None leaves that to
            the engine.
        private: no prompt may stand in any log.

    """

    settings: Any
    directory: Path
    note: Callable[..., None] = lambda _kind, **_data: None
    count_prompts: Callable[[str], CountTokens | None] | None = None
    answer_seconds: float | None = None
    private: bool = False


@dataclass(frozen=True, slots=True)
class EngineKind:
    """An engine as it is registered: the entry point's object.

    Attributes:
        name: the registered name, the value of `engine.kind`.
        settings: the pydantic model of the config's section.
        capabilities: what an engine of this kind can do at best.
        open: opens one, and closes it behind the `with`.
        examine: looks whether what the settings name is there and can do what tasks need, and
            says what is not. For `so8t doctor`; None where there is nothing to look at.
        validated: whether `so8t validate` examines too: what is not there then would stop a run.
        how_to_start: the commands that start the servers for the models' places (arm -> path or
            name), for `so8t plan`; None where nothing is to be started by a person.
        at_url: returns settings for a server at an address; None where there is no server.
        reachable: whether an engine answers now, or can be started; None: it always can.

    """

    name: str
    settings: type[EngineSettings]
    capabilities: Capabilities
    open: Callable[[EngineContext], AbstractContextManager[Engine]]
    examine: Callable[[Any, TaskNeeds], list[Check]] | None = None
    validated: bool = False
    how_to_start: Callable[[Any, dict[str, str]], list[str]] | None = None
    at_url: Callable[[str], EngineSettings] | None = None
    reachable: Callable[[Any], bool] | None = None

    def settings_at(self, url: str) -> EngineSettings:
        """Return the settings for a server at an address. Raises UsageError without servers."""
        if self.at_url is None:
            raise UsageError(f"the engine {self.name} has no server.")
        return self.at_url(url)


def at_once(slots: int, in_flight: Callable[[], int] | None) -> int:
    """How many requests may be in flight now: what `in_flight` says, within 1 and `slots`."""
    return slots if in_flight is None else max(1, min(slots, in_flight()))
