"""What one look at the machine found, as plain data. Unknown is None, never zero."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

#: The quantities of a sample that have a history and a summary; shares are of 0 to 1.
METRICS = (
    "cpu",
    "cpu_own",
    "cpu_others",
    "memory",
    "pressure",
    "gpu",
    "gpu_memory",
    "gpu_others",
    "temperature",
    "power",
    "battery",
    "own_memory",
    "level",
)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card. What the driver does not tell is None; `fault` says why where nothing is known.

    Attributes:
        index: number of the card, from 0.
        name: what the driver calls it.
        utilization: share of time in which a kernel ran.
        memory_used, memory_total: bytes.
        temperature: degrees Celsius.
        power: watts.
        throttled: why the clocks are held down ("heat", "power", ...); empty when they are not.
        others_utilization: share of time that processes other than ours had the card.
        others_memory: bytes that processes other than ours hold.
        fault: why the card could not be read.

    """

    index: int
    name: str | None = None
    utilization: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    temperature: float | None = None
    power: float | None = None
    throttled: tuple[str, ...] | None = None
    others_utilization: float | None = None
    others_memory: int | None = None
    fault: str | None = None

    @property
    def memory(self) -> float | None:
        """Share of the card's memory that is in use, by anybody."""
        if self.memory_used is None or not self.memory_total:
            return None
        return self.memory_used / self.memory_total


@dataclass(frozen=True, slots=True)
class ResourceSample:
    """The machine at one moment.

    Attributes:
        at: seconds since the epoch.
        monotonic: seconds of a clock that nobody sets.
        cpu, cpu_own, cpu_others: shares of all cores together: all work, that of this run and
            its children, and the rest, since the sample before.
        memory: share in use of the machine's memory or of the container's limit, whichever is
            closer to its end; memory_available: bytes left there.
        pressure: share of the last ten seconds in which something waited for memory (Linux PSI).
        memory_warning: macOS: "normal", "warning" or "critical".
        own_memory: resident bytes of this run and its children.
        battery: charge; on_battery: whether the machine runs from it.
        gpus: every card that is known.
        level: answers in flight that the balancer allowed, 0 while paused; None without one.
        unreadable: what could not be read, and why.
        failed: those of `unreadable` that should be there: a reading failed, and is tried again.

    """

    at: float
    monotonic: float
    cpu: float | None = None
    cpu_own: float | None = None
    cpu_others: float | None = None
    memory: float | None = None
    memory_available: int | None = None
    pressure: float | None = None
    memory_warning: str | None = None
    own_memory: int | None = None
    battery: float | None = None
    on_battery: bool | None = None
    gpus: tuple[Gpu, ...] = ()
    level: int | None = None
    unreadable: dict[str, str] = field(default_factory=dict)
    failed: tuple[str, ...] = ()

    @property
    def gpu(self) -> float | None:
        """Utilization of the busiest card."""
        return _largest(gpu.utilization for gpu in self.gpus)

    @property
    def gpu_memory(self) -> float | None:
        """Share of memory in use on the fullest card."""
        return _largest(gpu.memory for gpu in self.gpus)

    @property
    def gpu_others(self) -> float | None:
        """Share of a card's time that others take, on the card where they take most."""
        return _largest(gpu.others_utilization for gpu in self.gpus)

    @property
    def temperature(self) -> float | None:
        """Degrees Celsius of the hottest card."""
        return _largest(gpu.temperature for gpu in self.gpus)

    @property
    def power(self) -> float | None:
        """Watts of all cards together; None where one does not tell."""
        watts = [gpu.power for gpu in self.gpus]
        known = [one for one in watts if one is not None]
        return sum(known) if known and len(known) == len(watts) else None

    @property
    def throttled(self) -> tuple[str, ...]:
        """Why any card's clocks are held down."""
        return tuple(sorted({why for gpu in self.gpus for why in gpu.throttled or ()}))

    def metric(self, name: str) -> float | None:
        """Return one of METRICS."""
        value: float | None = getattr(self, name)
        return value

    def asdict(self) -> dict[str, Any]:
        """Return the sample as plain data, the combined figures of the cards included."""
        combined = {name: getattr(self, name) for name in METRICS}
        return asdict(self) | combined | {"throttled": list(self.throttled)}


def _largest(values: Any) -> float | None:
    return max((value for value in values if value is not None), default=None)
