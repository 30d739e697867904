"""The section `engine` of a config: each registered engine brings its own keys.

What the keys are is found out from the entry points in `so8t.engines`, so an engine from outside
is checked, completed and described to editors like ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PositiveInt,
    SerializeAsAny,
    WrapValidator,
)

from so8t.errors import UsageError
from so8t.system.plugins import Plugins

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import ValidatorFunctionWrapHandler
    from pydantic_core import CoreSchema

DEFAULT_ENGINE = "embedded"


class Strict(BaseModel):
    """Unknown keys are refused, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EngineSettings(Strict):
    """What every engine can be asked for. An engine's own settings derive from this.

    `kind` is there declared as a Literal with the registered name as its default.
    """

    #: The key of a source that names a model on this engine's server; None: it has no names.
    SOURCE_KEY: ClassVar[str | None] = None

    kind: str
    context: PositiveInt = Field(default=2048, description="tokens of context for each slot")

    def absolute(self, base: Path) -> Self:  # noqa: ARG002 - an engine without files has none
        """Return these settings with paths that count from `base`, the config's directory."""
        return self

    @property
    def address(self) -> str:
        """Where its server is, for a message; empty where there is none."""
        return ""

    @property
    def slots_wanted(self) -> int | None:
        """Answers in flight that a person asked for; None leaves it to the engine or to us."""
        return None

    @property
    def threads_wanted(self) -> int | None:
        """CPU threads that a person asked for; None leaves it to the engine or to us."""
        return None

    @property
    def gpu_layers_wanted(self) -> int:
        """Layers on the GPU; -1 is all that fit, and the engine's own choice where it has one."""
        return -1


class LoadingSettings(EngineSettings):
    """What an engine can be asked for that loads models with our figures."""

    slots: PositiveInt | Literal["auto"] = Field(
        default="auto", description="answers in flight; auto measures on this machine"
    )
    threads: PositiveInt | Literal["auto"] = Field(
        default="auto", description="CPU threads; auto measures on this machine"
    )
    gpu_layers: int = Field(default=-1, ge=-1, description="layers on the GPU; -1 is all")

    @property
    def slots_wanted(self) -> int | None:
        """As set; None for auto."""
        return None if self.slots == "auto" else self.slots

    @property
    def threads_wanted(self) -> int | None:
        """As set; None for auto."""
        return None if self.threads == "auto" else self.threads

    @property
    def gpu_layers_wanted(self) -> int:
        """As set."""
        return self.gpu_layers


def _complaint(name: str, found: Any) -> str | None:
    """Say what keeps a loaded engine from being one; that of a wrong name among them."""
    settings = getattr(found, "settings", None)
    if not (isinstance(settings, type) and issubclass(settings, EngineSettings)):
        return "it is no EngineKind with settings that derive from EngineSettings"
    if getattr(found, "name", None) != name or settings.model_fields["kind"].default != name:
        return f"its name and the default of its settings' `kind` are not {name!r}"
    return None


#: The registered engines: name -> so8t.engines.protocol.EngineKind. This layer knows only that
#: each has `settings`; so8t.engines.registry gives them their type.
ENGINES: Plugins[Any] = Plugins("so8t.engines", "engine", _complaint)


def engine_settings(kind: str = DEFAULT_ENGINE, **keys: Any) -> EngineSettings:
    """Return the settings of a registered engine. Raises as `Plugins.load` does."""
    settings: type[EngineSettings] = ENGINES.load(kind).settings
    return settings(kind=kind, **keys)


def settings_class(section: Any) -> type[EngineSettings]:
    """Return the class that describes a section as it stands in a file.

    Raises ValueError for an engine that nobody registered, PrerequisiteError for one that cannot
    be loaded.
    """
    kind = section.get("kind", DEFAULT_ENGINE) if isinstance(section, dict) else DEFAULT_ENGINE
    try:
        settings: type[EngineSettings] = ENGINES.load(str(kind)).settings
    except UsageError as error:
        raise ValueError(f"{error.message} {error.hint}") from None
    return settings


def _by_kind(section: Any, handler: ValidatorFunctionWrapHandler) -> EngineSettings:
    """Check a section with the class of its own engine."""
    if isinstance(section, EngineSettings) or not isinstance(section, dict):
        settings: EngineSettings = handler(section)
        return settings
    return settings_class(section).model_validate(section)


class _AnyRegistered:
    """Describes the section to editors: one form for each registered engine that loads."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        forms = [
            handler(kind.settings.__pydantic_core_schema__) for kind in ENGINES.usable().values()
        ]
        return {"anyOf": forms}


EngineSection = Annotated[SerializeAsAny[EngineSettings], WrapValidator(_by_kind), _AnyRegistered]

__all__ = [
    "DEFAULT_ENGINE",
    "ENGINES",
    "EngineSection",
    "EngineSettings",
    "LoadingSettings",
    "Strict",
    "engine_settings",
    "settings_class",
]
