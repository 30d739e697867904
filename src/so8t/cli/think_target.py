"""Which model `so8t serve` answers with: a run's arm, a GGUF file, or an Ollama model."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from so8t.cli.wire import find_run
from so8t.domain.exchange import Arm, LoadProfile, ServedModel
from so8t.domain.plan import Phase
from so8t.errors import EngineError, ModelError, PrerequisiteError, UsageError
from so8t.journal.store import Journal
from so8t.models.gguf_check import inspect_gguf
from so8t.pipeline.run.results import read_registration
from so8t.system.files import file_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.engines.protocol import Engine

_SHIPPED_CONTEXT = 4096


@dataclass(frozen=True, slots=True)
class Target:
    """A model, how it is loaded, and by which engine; `url` is the Ollama server's."""

    engine: str
    model: ServedModel
    profile: LoadProfile
    url: str | None = None


def target_of_run(run: Path | None, arm: str) -> Target:
    """Return a run's model with the profile that it was measured under.

    Raises PrerequisiteError where the run has not registered its models yet, ModelError where the
    file is gone or another one.
    """
    directory = find_run(run)
    with Journal(directory, readonly=True) as journal:
        done = [
            step
            for step in journal.phases()
            if step.phase is Phase.REGISTER and step.state == "done"
        ]
        config = journal.run.config if journal.run else {}
    if not done:
        raise PrerequisiteError(
            f"the run in {directory} has not come to its models yet.",
            hint="so8t run goes on with it",
        )
    registration = read_registration(done[-1].result)
    model = registration.arms[Arm(arm.lower()).value].model
    engine = registration.engine.name
    context = registration.profile.context
    if engine == "embedded":
        path = Path(model.location)
        if not path.is_file() or file_digest(path) != model.digest:
            raise ModelError(
                f"{path} is not the model that the run measured.",
                hint="so8t run makes it again; --gguf serves any file",
            )
        context = max(context, context_of_file(path))
    elif engine != "ollama":
        raise UsageError(f"a run of the {engine} engine has no model to serve.")
    url = config.get("engine", {}).get("url") if engine == "ollama" else None
    return Target(engine, model, replace(registration.profile, slots=1, context=context), url)


def target_of_file(path: Path) -> Target:
    """Return a GGUF file. Raises ModelError for one that is none."""
    context = context_of_file(path)
    model = ServedModel(Arm.B, str(path), file_digest(path))
    return Target("embedded", model, LoadProfile(context=context))


def context_of_file(path: Path) -> int:
    """Return the tokens of context that a GGUF file is served with: its own, at most 4,096.

    A run's measured context may be shorter than the instruction and a question need.
    """
    return min(_SHIPPED_CONTEXT, inspect_gguf(path).context_length or _SHIPPED_CONTEXT)


def target_of_tag(tag: str, url: str) -> Target:
    """Return an Ollama model by its name; its digest is looked up when the engine opens."""
    return Target("ollama", ServedModel(Arm.B, tag, ""), LoadProfile(context=_SHIPPED_CONTEXT), url)


@contextmanager
def engine_of(target: Target, state: Path, seconds: float) -> Iterator[tuple[Engine, ServedModel]]:
    """Give the engine of a target and the model as it knows it.

    An answer that takes longer than `seconds` ends the engine's process; the next request starts
    it again. A server that is started here writes its log into `state`, without any prompts.
    """
    if target.engine == "embedded":
        from so8t.engines.embedded import EmbeddedDeadlines, EmbeddedEngine  # noqa: PLC0415 - only if asked

        deadlines = EmbeddedDeadlines(answer=seconds, answer_per_token=0.0)
        yield EmbeddedEngine(deadlines=deadlines), target.model
        return
    from so8t.engines.ollama import ManagedServer, OllamaEngine  # noqa: PLC0415 - only if asked

    if target.url is None:
        raise EngineError("the run does not say which Ollama server it used.")
    # OLLAMA_DEBUG would write prompts into the server's log.
    server = ManagedServer(state, url=target.url, extra={"OLLAMA_DEBUG": "0"})
    server.ensure()
    try:
        with OllamaEngine(target.url, restart=server.restart) as engine:
            yield engine, engine.adopt(target.model, "", state)
    finally:
        server.stop()
