"""The registered engines, by what they are asked for: a section, an address, an ability."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from so8t.config.engine_section import ENGINES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from so8t.config.engine_section import EngineSettings
    from so8t.engines.protocol import Capabilities, Engine, EngineContext, EngineKind


def kind_named(name: str) -> EngineKind:
    """Return a registered engine. Raises UsageError and PrerequisiteError as `Plugins.load`."""
    return cast("EngineKind", ENGINES.load(name))


def kind_of(settings: EngineSettings) -> EngineKind:
    """Return the engine that a config's section asks for."""
    return kind_named(settings.kind)


def capabilities_of(settings: EngineSettings) -> Capabilities:
    """Return what the engine that a config's section asks for can do at best."""
    return kind_of(settings).capabilities


def open_engine(context: EngineContext) -> AbstractContextManager[Engine]:
    """Open the engine that the context's settings ask for."""
    return kind_of(context.settings).open(context)


def kinds_that(able: Callable[[Capabilities], bool]) -> list[EngineKind]:
    """Return the registered engines with an ability, by name."""
    return [kind for kind in _kinds() if able(kind.capabilities)]


def kinds_with_servers() -> list[EngineKind]:
    """Return the registered engines whose server has an address, by name."""
    return [kind for kind in _kinds() if kind.at_url is not None]


def default_loader() -> EngineKind:
    """Return the engine that opens a GGUF file on this machine."""
    return next(
        kind for kind in kinds_that(lambda able: able.loads_files) if kind.capabilities.local
    )


def _kinds() -> Iterator[EngineKind]:
    for kind in ENGINES.usable().values():
        yield cast("EngineKind", kind)
