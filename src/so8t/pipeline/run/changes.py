"""A run whose inputs changed between two starts: what is kept, what is redone, what is refused.

Phases are redone by the digests of their own inputs, and answers stand under the digest of the
settings that produced them. What is decided here is only whether a change may go into the same
run at all. The rule, argued in `docs/design/changes.md`: what *makes* a model or its answers may
change, and is then made again; what *judges* them is frozen, since whoever has seen results could
choose it to fit them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from so8t.config.engine_section import settings_class
from so8t.config.schema import RunConfig
from so8t.domain.events import EventKind
from so8t.domain.plan import Phase
from so8t.errors import ConfigError, PrerequisiteError
from so8t.pipeline.run.results import read_registration

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from so8t.domain.exchange import Arm
    from so8t.journal.store import Journal
    from so8t.pipeline.run.results import Registration

    Tell = Callable[..., None]

#: What a changed key means for a run that was begun: nothing is lost ("free"), what depends on it
#: is made again ("redo"), only before the first answer ("unanswered"), or never ("frozen").
Effect = Literal["free", "redo", "unanswered", "frozen"]

# The longest key that begins a changed key's name decides; what is not here is frozen.
_EFFECTS: dict[str, Effect] = {
    "a": "redo",
    "a.label": "free",
    "b": "redo",
    "b.label": "free",
    "engine": "redo",
    "engine.url": "free",
    "engine.overwrite": "free",
    # Who answered is part of each answer's settings, whatever the place.
    "engine.places": "free",
    "generation": "redo",
    "llama_cpp": "free",
    "calibration": "redo",
    "benchmark.noise_floor": "free",
    "benchmark.reuse_baseline": "free",
    "verdict": "unanswered",
    "verdict.average": "frozen",
    "verdict.deadline": "free",
    "verdict.stop": "free",
}
_WHY: dict[Effect, str] = {
    "frozen": "the questions, their order and the looks at the evidence were frozen before the "
    "first answer",
    "unanswered": "answers are there already; whoever has seen results could choose what judges "
    "them to fit",
}
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Change:
    """One key of the config with another value than before."""

    key: str
    old: Any
    new: Any

    @property
    def effect(self) -> Effect:
        """What it means for the run."""
        parts = self.key.split(".")
        for length in range(len(parts), 0, -1):
            effect = _EFFECTS.get(".".join(parts[:length]))
            if effect is not None:
                return effect
        return "frozen"

    def __str__(self) -> str:
        return f"{self.key} ({self.old!r} -> {self.new!r})"


def take_over(journal: Journal, wanted: Mapping[str, Any], tell: Tell) -> list[Change]:
    """Make `wanted` the run's config where that is sound; return what changed.

    Raises ConfigError naming the keys that may not change, and why.
    """
    run = journal.run
    if run is None:
        return []
    changes = list(differences(_completed(run.config, wanted.keys()), dict(wanted)))
    if not changes:
        return []
    # Seen is seen, whether the answers still stand or not.
    answered = journal.has_answers_between(0, journal.head.seq + 1)
    refused = [
        change
        for change in changes
        if (change.effect == "frozen" and journal.sample_count())
        or (change.effect == "unanswered" and answered)
    ]
    if refused:
        effects: list[Effect] = sorted({change.effect for change in refused})
        raise ConfigError(
            f"the run in {journal.directory} was started with another config, and this cannot "
            f"change in it: {'; '.join(map(str, refused[:_NAMED]))}. "
            f"The reason: {'; '.join(_WHY[effect] for effect in effects)}.",
            hint="give this one another name, or set the old run aside: so8t run --fresh ...",
        )
    journal.reconfigure(dict(wanted), [change.key for change in changes])
    tell(EventKind.CONFIG_CHANGED, changed=[str(change) for change in changes])
    return changes


def _completed(old: dict[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """Fill in keys that an earlier version did not have: their default is no change."""
    try:
        plain: dict[str, Any] = RunConfig.model_validate(
            {**old, "engine": _known(old.get("engine", {}))}
        ).model_dump(mode="json")
    except ValidationError:
        return old
    return {key: plain[key] for key in keys}


def _known(engine: dict[str, Any]) -> dict[str, Any]:
    """Leave out keys of an engine's section that had no effect on that engine, and are gone."""
    try:
        known = settings_class(engine).model_fields
    except ValueError:
        return engine
    return {key: value for key, value in engine.items() if key in known}


def differences(old: Any, new: Any, where: str = "") -> Iterator[Change]:
    """Yield each key whose value differs, by its dotted name."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from differences(old.get(key), new.get(key), f"{where}.{key}" if where else key)
    elif old != new:
        yield Change(where, old, new)


# --- the answers -------------------------------------------------------------------------------

# What may differ between two sets of settings because a person changed the config or a file that
# it names. Another engine version or load profile is nobody's wish: it is refused.
_ASKED_FOR = {"model", "template", "generation"}
_OF_THE_ENGINE = {"engine", "profile"}
# Which kind of place answered differs from answer to answer: pairs of unlike kinds are left out.
_OF_THE_ANSWER = {"place"}


def settle_settings(journal: Journal, arm: Arm, settings: str, tell: Tell) -> None:
    """Make `settings` those under which an arm's answers stand, where that is sound.

    Answers under other settings stay in the journal and do not count: the questions are asked
    again. Raises PrerequisiteError where settings differ that nobody asked to change.
    """
    before = journal.settings_in_force(arm)
    if before == settings:
        return
    if before is None:
        # A run that was begun before this was recorded: one scan of its answers.
        if journal.answer_counts() and journal.answers_under_other_settings(arm, settings):
            raise _mixed(arm, "model file, engine version or load profile")
    else:
        bodies = journal.all_settings()
        old, new = bodies[before], bodies[settings]
        differing = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
        differing -= _OF_THE_ANSWER
        if not differing:
            return
        unasked = (
            differing - _ASKED_FOR - (_OF_THE_ENGINE if _engine_changed(journal, arm) else set())
        )
        if unasked:
            raise _mixed(arm, " and ".join(sorted(unasked)))
        facts = {"arm": arm.value, "because": sorted(differing)}
        journal.event(EventKind.ANSWERS_REDONE, **facts)
        tell(EventKind.ANSWERS_REDONE, **facts)
    journal.event(EventKind.SETTINGS_IN_FORCE, arm=arm.value, settings=settings)


def _engine_changed(journal: Journal, arm: Arm) -> bool:
    """Whether a person changed the engine's section since an arm's settings came into force."""
    mine = [
        event.seq
        for event in journal.events(EventKind.SETTINGS_IN_FORCE)
        if event.data["arm"] == arm.value
    ]
    last = max(mine, default=0)
    return any(
        key.startswith("engine")
        for event in journal.events(EventKind.CONFIG_CHANGED)
        if event.seq > last
        for key in event.data["changed"]
    )


def _mixed(arm: Arm, what: str) -> PrerequisiteError:
    return PrerequisiteError(
        f"the answers of model {arm.upper()} were given by another {what} than the present one. "
        "Mixing them would make the comparison meaningless.",
        hint="put back what was changed, or start anew: so8t run --fresh ...",
    )


def registration_to_keep(journal: Journal, config: RunConfig) -> Registration | None:
    """Return the registration whose load profile stays, so that kept answers stay comparable.

    That is the newest one, unless a person changed the engine's section since it was made.
    """
    steps = [s for s in journal.phases() if s.phase is Phase.REGISTER and s.state == "done"]
    if not steps:
        return None
    newest = read_registration(steps[-1].result)
    wanted = config.engine.model_dump(mode="json")
    return newest if _known(newest.asked) == wanted else None
