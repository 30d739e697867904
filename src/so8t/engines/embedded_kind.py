"""The embedded engine as it is registered."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from so8t.config.engine_section import LoadingSettings
from so8t.engines.embedded_capabilities import CAPABILITIES
from so8t.engines.protocol import EngineKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.engines.embedded import EmbeddedEngine
    from so8t.engines.protocol import EngineContext


class EmbeddedSettings(LoadingSettings):
    """`engine: {kind: embedded}`: llama.cpp in a child process, nothing to install or to start."""

    kind: Literal["embedded"] = Field(
        default="embedded",
        description="who answers: embedded (llama.cpp in a child), ollama, or a plug-in",
    )


@contextmanager
def _open(context: EngineContext) -> Iterator[EmbeddedEngine]:
    from so8t.engines.embedded import EmbeddedDeadlines, EmbeddedEngine  # noqa: PLC0415 - only if asked for

    seconds = context.answer_seconds
    yield EmbeddedEngine(
        deadlines=None
        if seconds is None
        else EmbeddedDeadlines(answer=seconds, answer_per_token=0.0)
    )


KIND = EngineKind("embedded", EmbeddedSettings, CAPABILITIES, _open)
