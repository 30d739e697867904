"""Each reading on its own: one that fails is unknown, is named, and is tried again later."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from so8t.system.attempt import attempt

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")

# A reading that failed is tried again after so many seconds, then twice as many, up to the last: a
# driver that hangs until its deadline must not take the others' time at every look.
_FIRST, _LAST = 5.0, 60.0


@dataclass(slots=True)
class _Fault:
    why: str
    until: float
    wait: float


class Guard:
    """Asks for readings by name. `faults` has the failing ones, with the reason."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._faults: dict[str, _Fault] = {}
        #: What a sensor that could be asked said of a part of it: a lost card.
        self.notes: dict[str, str] = {}

    @property
    def faults(self) -> dict[str, str]:
        """What cannot be read now, and why."""
        return self.notes | {name: fault.why for name, fault in self._faults.items()}

    def ask(self, name: str, question: Callable[[], Value]) -> Value | None:
        """Return what `question` returns; None where it fails, and while it rests after that."""
        fault = self._faults.get(name)
        now = self._clock()
        if fault is not None and now < fault.until:
            return None
        value, why = attempt(question)
        if why is None:
            self._faults.pop(name, None)
        else:
            wait = _FIRST if fault is None else min(2 * fault.wait, _LAST)
            # A little early, so that a look that comes just then is not missed.
            self._faults[name] = _Fault(why, self._clock() + 0.9 * wait, wait)
        return value
