"""The OpenAI-compatible engine as it is registered."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from so8t.config.engine_section import EngineSettings, Strict
from so8t.domain.exchange import Arm
from so8t.engines.protocol import Capabilities, EngineKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.engines.checks import Check, TaskNeeds
    from so8t.engines.openai.engine import OpenAIEngine
    from so8t.engines.protocol import EngineContext

#: What a server can do at best; what it really can is found by asking it.
CAPABILITIES = Capabilities(
    exact_likelihood=True,
    imports_directories=False,
    serves_directories=True,
    continues_prompts=True,
)
_Url = Annotated[str, Field(pattern=r"^https?://\S+$")]


class ArmUrls(Strict):
    """One server for each model."""

    a: _Url = Field(description="address of the server that has A")
    b: _Url = Field(description="address of the server that has B")


class PlaceSettings(Strict):
    """A machine or a server that answers."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="unique")
    url: _Url | None = Field(
        default=None, description="one server that has both models, each under a name of its own"
    )
    urls: ArmUrls | None = Field(default=None, description="one server for each model")
    slots: PositiveInt = Field(default=4, description="answers in flight at this place")
    key_env: str | None = Field(
        default=None, description="name of the environment variable that holds the key"
    )
    key_file: Path | None = Field(
        default=None, description="a file with the key that only its owner can read"
    )
    ca_file: Path | None = Field(
        default=None, description="certificates (PEM) of the authority that signed the server's"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.url is None) == (self.urls is None):
            raise ValueError(f"the place {self.name} needs either `url` or `urls: {{a, b}}`")
        if self.key_env is not None and self.key_file is not None:
            raise ValueError(f"the place {self.name} has both `key_env` and `key_file`")
        return self

    @property
    def addresses(self) -> dict[Arm, str]:
        """The server's address for each arm."""
        if self.urls is not None:
            return {Arm.A: self.urls.a, Arm.B: self.urls.b}
        return {arm: str(self.url) for arm in Arm}


class OpenAISettings(EngineSettings):
    """`engine: {kind: openai, places: [...]}`: servers that speak OpenAI's API."""

    SOURCE_KEY: ClassVar[str | None] = "served"

    kind: Literal["openai"] = "openai"
    places: list[PlaceSettings] = Field(min_length=1, description="who answers")
    answer_seconds: float = Field(
        default=600.0, gt=0, description="a place that takes longer for one answer counts as hung"
    )
    patience: float = Field(
        default=180.0, ge=0, description="seconds without any place before the run stops, resumable"
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [place.name for place in self.places]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two places are called {twice[0]!r}")
        return self

    def absolute(self, base: Path) -> Self:
        """Return these settings with the places' files counted from the config's directory."""

        def of(place: PlaceSettings) -> PlaceSettings:
            files = {key: getattr(place, key) for key in ("key_file", "ca_file")}
            found = {key: base / file.expanduser() for key, file in files.items() if file}
            return place.model_copy(update=found)

        return self.model_copy(update={"places": [of(place) for place in self.places]})

    @property
    def address(self) -> str:
        """The servers', for a message."""
        found = [url for place in self.places for url in place.addresses.values()]
        return ", ".join(dict.fromkeys(found))

    @property
    def slots_wanted(self) -> int | None:
        """The places' together."""
        return sum(place.slots for place in self.places)


@contextmanager
def _open(context: EngineContext) -> Iterator[OpenAIEngine]:
    from so8t.engines.openai.engine import OpenAIEngine  # noqa: PLC0415 - only if asked for

    with OpenAIEngine(context.settings, CAPABILITIES, context.note) as engine:
        yield engine


def _examine(settings: OpenAISettings, needs: TaskNeeds) -> list[Check]:
    from so8t.engines.openai.doctor import examine  # noqa: PLC0415 - only if asked for

    return examine(settings, needs)


def _how_to_start(settings: OpenAISettings, models: dict[str, str]) -> list[str]:
    from so8t.engines.openai.starting import how_to_start  # noqa: PLC0415 - only if asked for

    return how_to_start(settings, models)


def _reachable(settings: OpenAISettings) -> bool:
    from so8t.engines.openai.doctor import any_answers  # noqa: PLC0415 - only if asked for

    return any_answers(settings)


KIND = EngineKind(
    "openai",
    OpenAISettings,
    CAPABILITIES,
    _open,
    examine=_examine,
    validated=True,
    how_to_start=_how_to_start,
    at_url=lambda url: OpenAISettings(places=[PlaceSettings(name="server", url=url)]),
    reachable=_reachable,
)
