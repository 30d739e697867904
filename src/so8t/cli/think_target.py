"""Which model `so8t serve` answers with: a run's arm, a GGUF file, or one on a server."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.cli.wire import find_run
from so8t.config.engine_section import EngineSettings, engine_settings, settings_class
from so8t.domain.exchange import Arm, LoadProfile, ServedModel
from so8t.domain.plan import Phase
from so8t.engines.protocol import EngineContext
from so8t.engines.registry import capabilities_of, default_loader, open_engine
from so8t.errors import ModelError, PrerequisiteError, UsageError
from so8t.journal.store import Journal
from so8t.models.gguf_check import inspect_gguf
from so8t.pipeline.run.results import read_registration
from so8t.system.files import file_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.engines.protocol import Engine, EngineKind

_SHIPPED_CONTEXT = 4096


@dataclass(frozen=True, slots=True)
class Target:
    """A model, how it is loaded, and the engine's section of a config."""

    settings: EngineSettings
    model: ServedModel
    profile: LoadProfile


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
            f"the run in {directory} has no models yet: phases 1 to 3 are not done.",
            hint="so8t run goes on with it",
        )
    registration = read_registration(done[-1].result)
    model = registration.arms[Arm(arm.lower()).value].model
    settings = _settings_of(registration.engine.name, config.get("engine", {}))
    context = registration.profile.context
    if capabilities_of(settings).loads_files:
        path = Path(model.location)
        if not path.is_file() or file_digest(path) != model.digest:
            raise ModelError(
                f"{path} is not the model that the run measured.",
                hint="so8t run makes it again; --gguf serves any file",
            )
        context = max(context, context_of_file(path))
    return Target(settings, model, replace(registration.profile, slots=1, context=context))


def _settings_of(name: str, section: dict[str, Any]) -> EngineSettings:
    """Return a run's own section. Raises UsageError for a run of an engine without models."""
    try:
        settings = settings_class(section)
        return settings.model_validate(
            {k: section[k] for k in settings.model_fields if k in section}
        )
    except ValueError as error:
        raise UsageError(f"a run of the {name} engine has no model to serve: {error}") from None


def target_of_file(path: Path) -> Target:
    """Return a GGUF file. Raises ModelError for one that is none."""
    context = context_of_file(path)
    model = ServedModel(Arm.B, str(path), file_digest(path))
    return Target(engine_settings(default_loader().name), model, LoadProfile(context=context))


def context_of_file(path: Path) -> int:
    """Return the tokens of context that a GGUF file is served with: its own, at most 4,096.

    A run's measured context may be shorter than the instruction and a question need.
    """
    return min(_SHIPPED_CONTEXT, inspect_gguf(path).context_length or _SHIPPED_CONTEXT)


def target_of_name(kind: EngineKind, name: str, url: str | None) -> Target:
    """Return a model by its name on a server; its digest is looked up when the engine opens."""
    settings = engine_settings(kind.name) if url is None else kind.settings_at(url)
    return Target(settings, ServedModel(Arm.B, name, ""), LoadProfile(context=_SHIPPED_CONTEXT))


@contextmanager
def engine_of(target: Target, state: Path, seconds: float) -> Iterator[tuple[Engine, ServedModel]]:
    """Give the engine of a target and the model as it knows it.

    An answer that takes longer than `seconds` ends the engine's process; the next request starts
    it again. A server that is started here writes its log into `state`, without any prompts.
    """
    context = EngineContext(target.settings, state, answer_seconds=seconds, private=True)
    with open_engine(context) as engine:
        yield engine, engine.adopt(target.model, "", state)
