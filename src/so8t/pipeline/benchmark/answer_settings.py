"""Under which settings answers are given now, as the journal names them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from so8t.domain.exchange import Arm
from so8t.journal.answers import IN_FORCE

if TYPE_CHECKING:
    from so8t.config.schema import RunConfig
    from so8t.domain.exchange import LoadProfile
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
        self._known: dict[tuple[Arm, LoadProfile], str] = {}

    def of(self, arm: Arm) -> str:
        """Digest of everything besides the question that can change this arm's answers."""
        profile = self._balancing.profile
        if (arm, profile) in self._known:
            return self._known[arm, profile]
        registration = self._registration
        registered = registration.arms[arm.value]
        self._known[arm, profile] = self._journal.settings(
            {
                "arm": arm.value,
                "model": asdict(registered.model) | {"location": None},
                "template": registered.load.template_digest,
                "engine": asdict(registration.engine),
                "profile": asdict(profile),
                "generation": self._config.generation.model_dump(mode="json"),
                "seed": self._config.seed,
            }
        )
        return self._known[arm, profile]

    def settle(self) -> None:
        """Let answers under the smaller way to load stand beside those from before."""
        for arm in Arm:
            before = self._journal.settings_in_force(arm)
            settings = self.of(arm)
            if settings != before:
                self._journal.event(IN_FORCE, arm=arm.value, settings=settings, beside=True)
