"""The models that are loaded while phase 4 asks: both where they fit, one at a time where not."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from so8t.system.memory import available_memory

if TYPE_CHECKING:
    from so8t.domain.exchange import Arm
    from so8t.engines.protocol import Engine, Session
    from so8t.pipeline.benchmark.balance import Balancing
    from so8t.pipeline.run.results import Registration


class LoadedModels:
    """The open sessions of the two arms; what is open at the end of the `with` is closed."""

    def __init__(self, engine: Engine, registration: Registration, balancing: Balancing) -> None:
        """Begin with nothing loaded; a model is loaded when it is first asked for."""
        self._engine = engine
        self._registration = registration
        self._balancing = balancing
        self._sessions: dict[Arm, Session] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.drop_all()

    def session(self, arm: Arm) -> Session:
        """Return an arm's session under the way to load that is in force, loading if need be.

        The other arm's model makes room where both do not fit.
        """
        if arm not in self._sessions:
            if arm.other in self._sessions and not self._both_fit(arm):
                self.drop(arm.other)
            model = self._registration.arms[arm.value].model
            self._sessions[arm] = self._engine.open(model, self._balancing.profile)
        return self._sessions[arm]

    def drop(self, arm: Arm) -> None:
        """Unload an arm's model, if it is loaded."""
        session = self._sessions.pop(arm, None)
        if session is not None:
            session.close()

    def drop_all(self) -> None:
        """Unload both; one that cannot be closed does not keep the other."""
        with ExitStack() as closing:
            for arm in list(self._sessions):
                closing.callback(self.drop, arm)

    def end(self) -> None:
        """End what is in flight, for a stop that cannot wait any longer; any thread may."""
        for session in list(self._sessions.values()):
            session.close()

    def _both_fit(self, arm: Arm) -> bool:
        """Whether a second model fits beside the loaded one: twice what it took, measured.

        Unknown is no: one model at a time always works.
        """
        taken = self._registration.arms[arm.value].load.memory
        free = available_memory()
        return taken is not None and free is not None and 2 * taken < free
