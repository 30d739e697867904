"""What every engine can do. One Protocol, one file an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from so8t.domain.exchange import (
        EngineInfo,
        EngineReply,
        EngineRequest,
        LoadProfile,
        LoadReport,
        ServedModel,
    )


class Session(Protocol):
    """One loaded model, ready to answer."""

    @property
    def report(self) -> LoadReport:
        """What loading really gave."""

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

    def adopt(self, model: ServedModel, name: str, artifacts: Path) -> ServedModel:
        """Make a prepared model known to the engine, and return it as `open` wants it.

        An engine that loads files returns it as it is; a server with models of its own registers
        it as `name` and writes what a person needs to repeat that into `artifacts`. Doing it
        again changes nothing.
        """

    def open(self, model: ServedModel, profile: LoadProfile) -> Session:
        """Load a model. Raises ModelError for a model that cannot be loaded, else EngineError.

        EngineOutOfMemory says that a smaller profile may do.
        """


def at_once(slots: int, in_flight: Callable[[], int] | None) -> int:
    """How many requests may be in flight now: what `in_flight` says, within 1 and `slots`."""
    return slots if in_flight is None else max(1, min(slots, in_flight()))
