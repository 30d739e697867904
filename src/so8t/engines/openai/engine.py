"""The engine: places that are found, compared and put together to a pool for each arm."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Self

from so8t.domain.canonical import digest_of
from so8t.domain.exchange import Arm, EngineInfo, LoadReport
from so8t.engines.openai.places import ArmAtPlace, Place, Wanted
from so8t.engines.pool import MemberDownError, PoolSession
from so8t.errors import EngineError, PrerequisiteError
from so8t.system.gguf import read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from so8t.domain.exchange import LoadProfile, ServedModel
    from so8t.engines.openai.kind import OpenAISettings
    from so8t.engines.protocol import Capabilities

NAME = "openai"
# Places that are looked at together: each is asked some twenty questions, one after another.
_AT_ONCE = 32
NOT_THERE, UNLIKE = "place_not_there", "places_unlike"


class OpenAIEngine:
    """Servers that speak OpenAI's API, as one Engine.

    `note` hears of places that are not there, go, come back, or are unlike the others.
    """

    def __init__(
        self,
        settings: OpenAISettings,
        capabilities: Capabilities,
        note: Callable[..., None] = lambda _kind, **_data: None,
    ) -> None:
        """Connect to nothing yet. Raises PrerequisiteError for a key that is not there."""
        self._settings = settings
        self._note = note
        self._most = capabilities
        self._places = [Place(place, settings) for place in settings.places]
        self._there: list[Place] = []
        self._wanted: dict[Arm, Wanted] = {}

    @property
    def info(self) -> EngineInfo:
        """Name only: who answers stands with each answer, since places may be unlike."""
        return EngineInfo(NAME, "1", "chat completions; each answer names its place and kind")

    @property
    def capabilities(self) -> Capabilities:
        """What all places that were found can do."""
        measured = [
            place.server(arm).abilities.likelihood for place in self._there for arm in self._wanted
        ]
        exact = all(way is not None for way in measured)
        return replace(self._most, exact_likelihood=exact)

    def adopt(self, model: ServedModel, name: str, artifacts: Path) -> ServedModel:  # noqa: ARG002 - nothing is registered
        """Find a model at every place, and return it under the name that it is asked by.

        Raises ModelError where a server has no such model, PrerequisiteError where places or arms
        are unlike in what would change an answer, EngineError where no place answers.
        """
        wanted = wanted_for(model)
        self._wanted[model.arm] = wanted
        asked = self._places if len(self._wanted) == 1 else self._there
        there, reasons = [], []
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            looks = [pool.submit(place.find, model.arm, wanted) for place in asked]
        for place, look in zip(asked, looks, strict=True):
            try:
                look.result()
            except MemberDownError as error:
                reasons.append(error.message)
                self._note(NOT_THERE, place=place.name, message=error.message)
            else:
                there.append(place)
        if not there:
            raise EngineError(
                f"no place answers: {'; '.join(reasons)}.",
                hint="start the servers (so8t plan shows how), then run the same command again",
            )
        self._there = there
        if len(self._wanted) == len(Arm):
            self._check()
        return replace(model, location=there[0].server(model.arm).facts.model)

    def recall(self, models: Iterable[ServedModel]) -> None:
        """Find the models of an earlier start again, by the names that they were asked by."""
        if not self._there:
            for model in models:
                self.adopt(model, "", Path())

    def _check(self) -> None:
        for place in self._there:
            place.check_arms()
        names = {
            arm: sorted({place.server(arm).facts.model for place in self._there}) for arm in Arm
        }
        # Whether an answer repeats itself is measured again by the noise floor.
        ways = {
            replace(place.server(arm).abilities, repeats=True)
            for place in self._there
            for arm in Arm
        }
        if len(ways) > 1:
            raise PrerequisiteError(
                f"the places ({', '.join(p.name for p in self._there)}) can do unlike things: "
                f"{'; '.join(map(str, ways))}.",
                hint="so8t doctor shows what each can do; start all with the same settings",
            )
        kinds = Counter(place.kind() for place in self._there)
        if len(kinds) > 1:
            self._note(
                UNLIKE,
                kinds={p.name: p.kind() for p in self._there},
                names={arm.value: found for arm, found in names.items()},
            )

    def open(self, model: ServedModel, profile: LoadProfile) -> PoolSession:
        """Give the places of one arm as one session; nothing is loaded.

        Raises EngineError where neither `adopt` nor `recall` was called.
        """
        del profile  # the servers were started with theirs
        arm = model.arm
        members = [ArmAtPlace(place, arm, place.kind()) for place in self._there]
        if not members:
            raise EngineError("no place was found yet: the models are not registered.")
        contexts = [place.server(arm).context for place in self._there]
        template = self._there[0].server(arm).facts.template
        report = LoadReport(
            seconds=0.0,
            context=min(contexts),
            slots=sum(member.slots for member in members),
            template_digest=None if template is None else digest_of(template),
            kinds=tuple(sorted({member.kind for member in members})),
        )
        return PoolSession(members, report, patience=self._settings.patience, note=self._note)

    def close(self) -> None:
        """Give back the connections. Safe to call twice."""
        for place in self._places:
            place.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def wanted_for(model: ServedModel) -> Wanted:
    """Return under which names a server may list a model, and what its file says of itself."""
    path = Path(model.location)
    if not path.exists():
        return Wanted((model.location,), alone=False, meta={})
    names = (model.location, str(path.absolute()), path.name, PurePath(path.name).stem)
    if path.is_dir():
        return Wanted(names, alone=True, meta={})
    header = read_header(path)
    prefix = header.metadata.get("general.architecture")
    told = {
        "n_ctx_train": header.metadata.get(f"{prefix}.context_length"),
        "n_embd": header.metadata.get(f"{prefix}.embedding_length"),
        "n_params": sum(_count(tensor.shape) for tensor in header.tensors),
    }
    meta = {key: int(value) for key, value in told.items() if isinstance(value, int)}
    return Wanted(names, alone=True, meta=meta)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
