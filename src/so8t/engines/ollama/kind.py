"""The Ollama engine as it is registered."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from so8t.config.engine_section import LoadingSettings
from so8t.engines.ollama.capabilities import CAPABILITIES
from so8t.engines.protocol import EngineKind
from so8t.errors import IncompleteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.engines.checks import Check, TaskNeeds
    from so8t.engines.ollama.degradation import Finding
    from so8t.engines.ollama.engine import OllamaEngine
    from so8t.engines.protocol import EngineContext


class OllamaSettings(LoadingSettings):
    """`engine: {kind: ollama}`: an Ollama server, over its native API."""

    SOURCE_KEY: ClassVar[str | None] = "ollama"

    kind: Literal["ollama"] = Field(
        default="ollama",
        description="who answers: embedded (llama.cpp in a child), ollama, or a plug-in",
    )
    url: str = Field(default="http://127.0.0.1:11434", description="address of the server")
    overwrite: bool = Field(default=False, description="replace a name that another model holds")

    @property
    def address(self) -> str:
        """The server's."""
        return self.url


@contextmanager
def _open(context: EngineContext) -> Iterator[OllamaEngine]:
    """Open the engine, and start the server where it does not answer and is ours to start."""
    from so8t.engines.ollama.engine import OllamaEngine  # noqa: PLC0415 - only if asked for
    from so8t.engines.ollama.managed import ManagedServer  # noqa: PLC0415
    from so8t.system.memory import available_memory  # noqa: PLC0415

    settings: OllamaSettings = context.settings

    def noticed(finding: Finding) -> None:
        context.note(finding.notice.value, message=finding.message, **finding.data)
        if finding.stop:
            raise IncompleteError(
                f"{finding.message} The answers of A and B would not be comparable.",
                hint="fix that, then run the same command again",
            )

    parallel = settings.slots_wanted or 1
    server = ManagedServer(
        context.directory,
        url=settings.url,
        parallel=parallel,
        # OLLAMA_DEBUG would write prompts into the server's log.
        extra={"OLLAMA_DEBUG": "0"} if context.private else None,
    )
    server.ensure()
    try:
        with OllamaEngine(
            settings.url,
            parallel=parallel,
            available_memory=available_memory,
            counter_of=context.count_prompts,
            on_finding=noticed,
            restart=server.restart,
            overwrite=settings.overwrite,
        ) as engine:
            yield engine
    finally:
        server.stop()


def _examine(settings: OllamaSettings, _needs: TaskNeeds) -> list[Check]:
    from so8t.engines.ollama.client import OllamaClient  # noqa: PLC0415 - only if asked for
    from so8t.engines.ollama.doctor import examine  # noqa: PLC0415

    client = OllamaClient(settings.url)
    try:
        return examine(client)
    finally:
        client.close()


def _reachable(settings: OllamaSettings) -> bool:
    """Whether the server answers, or can be started by the run itself."""
    from so8t.engines.ollama.client import OllamaClient  # noqa: PLC0415 - only if asked for
    from so8t.engines.ollama.managed import find_ollama  # noqa: PLC0415

    if find_ollama() is not None:
        return True
    client = OllamaClient(settings.url)
    try:
        return client.reachable()
    finally:
        client.close()


KIND = EngineKind(
    "ollama",
    OllamaSettings,
    CAPABILITIES,
    _open,
    examine=_examine,
    at_url=lambda url: OllamaSettings(url=url),
    reachable=_reachable,
)
