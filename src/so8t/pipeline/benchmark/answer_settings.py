"""Under which settings answers are given now, as the journal names them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm

if TYPE_CHECKING:
    from so8t.config.schema import RunConfig
    from so8t.domain.exchange import EngineReply, LoadProfile
    from so8t.journal.store import Journal
    from so8t.pipeline.benchmark.balance import Balancing
    from so8t.pipeline.run.results import Registration


class AnswerSettings:
    """The digests of the present settings; they change when the balancer loads smaller."""

    def __init__(
        self,
        config: RunConfig,
        journal: Journal,
        registration: Registration,
        balancing: Balancing,
    ) -> None:
        """Write nothing yet; settings are put into the journal when they are first asked for."""
        self._config = config
        self._journal = journal
        self._registration = registration
        self._balancing = balancing
        self._in_force: set[str] = set()
        self._known: dict[tuple[Arm, LoadProfile, str | None], str] = {}

    def of(self, arm: Arm, kind: str | None = None) -> str:
        """Digest of everything besides the question that can change this arm's answers.

        `kind` is what the place that answered is, where an engine has places.
        """
        profile = self._balancing.profile
        known = (arm, profile, kind)
        if known in self._known:
            return self._known[known]
        registration = self._registration
        registered = registration.arms[arm.value]
        place = {} if kind is None else {"place": kind}
        self._known[known] = self._journal.settings(
            {
                "arm": arm.value,
                "model": asdict(registered.model) | {"location": None},
                "template": registered.load.template_digest,
                "engine": asdict(registration.engine),
                "profile": asdict(profile),
                "generation": self._config.generation.model_dump(mode="json"),
                "seed": self._config.seed,
                **place,
            }
        )
        return self._known[known]

    def of_reply(self, arm: Arm, reply: EngineReply) -> str:
        """Digest of the settings that a reply was given under.

        Those of a kind of place that answers for the first time come into force beside the others.
        """
        if reply.kind is None:
            return self.of(arm)
        settings = self.of(arm, reply.kind)
        if settings not in self._in_force:
            if settings not in self._journal.all_in_force(arm):
                self._journal.event(
                    EventKind.SETTINGS_IN_FORCE, arm=arm.value, settings=settings, beside=True
                )
            self._in_force.add(settings)
        return settings

    def every(self, arm: Arm) -> list[str]:
        """Digests of the settings under which an arm may be answered now: one for each kind."""
        kinds = self._registration.arms[arm.value].load.kinds
        return [self.of(arm, kind) for kind in kinds] or [self.of(arm)]

    def settle(self) -> None:
        """Let answers under the smaller way to load stand beside those from before."""
        for arm in Arm:
            before = self._journal.settings_in_force(arm)
            settings = self.of(arm)
            if settings != before:
                self._journal.event(
                    EventKind.SETTINGS_IN_FORCE, arm=arm.value, settings=settings, beside=True
                )
