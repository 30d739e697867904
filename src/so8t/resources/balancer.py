"""ResourceBalancer: watches the machine, decides how hard the run may work, remembers both.

A thread of its own takes a sample every few seconds and asks the policy. Whoever does the work
asks `level` between two answers; nothing is changed behind anybody's back.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime
from datetime import time as time_of_day
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from so8t.config.machine_section import Resources
from so8t.resources.policy import Decision, Quiet, ResourceLimits, State, decide, unwatched
from so8t.resources.readings import METRICS, ResourceSample
from so8t.system.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable

#: Levels to move in where nobody said how many answers can be in flight.
_MOST = 8
_REMEMBERED = 24 * 60 * 12  # a day at five seconds
_NEAREST = 12  # samples that the policy sees
_FRESH = 1.0  # seconds for which a reading answers who asks without a watch
# A watch that failed is begun again after one interval, then two, four, ..., so many seconds.
_LONGEST_WAIT = 60.0
_FIRST_LOOK = 10.0  # seconds; a driver that hangs must not keep the run from its work
_BLIND_AFTER = 4  # faults in a row after which nothing is known any more


class Sees(Protocol):
    """Where samples come from: `Sensors`, or a recording that is played again."""

    def read(self, level: int | None = None) -> ResourceSample:
        """Take one sample."""

    def close(self) -> None:
        """Let go of what it holds."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A step that the policy took.

    `before` and `after` are answers in flight (0: paused), `reduction` is which smaller way to load
    the models is wanted (0: none); `sample` is what was seen.
    """

    reason: str
    before: int
    after: int
    reduction: int
    sample: ResourceSample


class ResourceBalancer:
    """Samples, judges, remembers. Every method may be called from any thread."""

    def __init__(
        self,
        settings: Resources | None = None,
        *,
        sensors: Sees | None = None,
        most: int | None = None,
        reductions: int = 0,
        reduction: int = 0,
        keep: Callable[[ResourceSample], None] | None = None,
        local_time: Callable[[], time_of_day] | None = None,
    ) -> None:
        """Begin at the highest level.

        Args:
            settings: thresholds, interval, quiet hours; the documented defaults without any.
            sensors: what is looked at; this machine without any.
            most: most answers in flight; `settings.max_level` bounds it further.
            reductions: how many smaller ways to load the models there are.
            reduction: which of them is in force already.
            keep: gets every sample that `monitor_loop` takes, in its thread.
            local_time: the time of day for the quiet hours.

        """
        self.settings = settings or Resources()
        if sensors is None:
            from so8t.resources.sensors import Sensors  # noqa: PLC0415 - starts looking at once

            sensors = Sensors()
        self._sensors = sensors
        self._local_time = local_time or _local_time
        self._limits = limits_of(self.settings, most or _MOST, reductions)
        self._state = State(level=self._limits.most, reduction=reduction)
        self._keep = keep
        self._samples: deque[ResourceSample] = deque(maxlen=_REMEMBERED)
        self._adjustments: deque[Adjustment] = deque()
        self._lowered: Adjustment | None = None
        self._failed: dict[str, str] = {}
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._read_at = 0.0
        self._faults = 0
        self._looked = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        #: Why the watch failed the last time, None where it never did.
        self.fault: BaseException | None = None

    # --- what is there now ---------------------------------------------------------------------

    def get_gpu_metrics(self) -> tuple[float | None, float | None]:
        """Utilization and memory in use of the busiest and fullest card, 0 to 1; None: unknown."""
        sample = self._latest()
        return sample.gpu, sample.gpu_memory

    def get_cpu_metrics(self) -> float | None:
        """Share of all cores in use, by anybody, 0 to 1; None for the very first sample."""
        return self._latest().cpu

    def get_memory_metrics(self) -> float | None:
        """Share in use of the machine's memory or of the container's limit, 0 to 1."""
        return self._latest().memory

    def check_thresholds(self) -> dict[str, bool | None]:
        """Tell for gpu, gpu_memory, cpu and memory whether it is over its threshold.

        None where the quantity is unknown. A CPU over its threshold is told, not acted on: work
        of our own is what it is for.
        """
        sample, limits = self._latest(), self.settings.thresholds
        found = {
            "gpu": (sample.gpu, limits.gpu),
            "gpu_memory": (sample.gpu_memory, limits.gpu_memory),
            "cpu": (sample.cpu, limits.cpu),
            "memory": (sample.memory, limits.memory),
        }
        return {
            name: None if value is None else value > limit for name, (value, limit) in found.items()
        }

    @property
    def level(self) -> int:
        """Answers that may be in flight now; 0 is a pause."""
        return self._state.level

    @property
    def lowered_by(self) -> Adjustment | None:
        """The newest step down; None at the highest level."""
        with self._lock:
            return self._lowered if self._state.level < self._limits.most else None

    @property
    def reduction(self) -> int:
        """Which of the smaller ways to load the models is wanted; 0 for none."""
        return self._state.reduction

    @property
    def latest(self) -> ResourceSample | None:
        """The newest sample, None before the first."""
        with self._lock:
            return self._samples[-1] if self._samples else None

    # --- what is done --------------------------------------------------------------------------

    def adjust_resources(self) -> Adjustment | None:
        """Take a sample and follow the policy; return the step, None when nothing changes."""
        sample = self._read()
        with self._lock:
            if not self.settings.balance:
                return None
            nearest = [self._samples[n] for n in range(-min(_NEAREST, len(self._samples)), 0)]
            decision = decide(nearest, self._state, self._limits, self._local_time())
            return self._follow(decision, sample)

    def wait_for_a_look(self) -> None:
        """Wait until the watch, where there is one, has judged or failed for the first time."""
        if self._thread is not None:
            self._looked.wait(_FIRST_LOOK)

    def take_adjustments(self) -> list[Adjustment]:
        """Hand over the steps since the last call, oldest first, to whoever records them."""
        with self._lock:
            found = list(self._adjustments)
            self._adjustments.clear()
            return found

    def take_failures(self) -> dict[str, str]:
        """Hand over the readings that began to fail since the last call, and why.

        Each is handed over once, however often it fails; a watch that failed as a whole is "watch".
        """
        with self._lock:
            found, self._failed = self._failed, {}
            return found

    @property
    def cards(self) -> int:
        """How many cards the newest sample knows."""
        return len(self._latest().gpus)

    def ask_for_reduction(self, reduction: int) -> None:
        """Ask for a smaller way to load, as the policy does when memory stays too full."""
        with self._lock:
            wanted = min(reduction, self._limits.reductions)
            self._state = replace(self._state, reduction=max(wanted, self._state.reduction))

    def fit(self, *, most: int, reductions: int, reduction: int) -> None:
        """Take the range that loading really gave, and which smaller way is in force.

        A level that was never lowered becomes the new highest one.
        """
        with self._lock:
            untouched = self._state.level == self._limits.most
            self._limits = limits_of(self.settings, most, reductions)
            level = self._limits.most if untouched else min(self._state.level, self._limits.most)
            self._state = replace(self._state, level=level, reduction=reduction)

    def monitor_loop(self, duration: float | None = None) -> None:
        """Adjust at every interval until `stop_monitoring`, or for `duration` seconds."""
        until = None if duration is None else time.monotonic() + duration
        due = time.monotonic()
        while not self._stopped.is_set():
            self.adjust_resources()
            self._faults = 0
            self._looked.set()
            if self._keep is not None:
                self._keep(self._samples[-1])
            # From the time that was due, not from now: sampling must not slow the rhythm down.
            due = max(due + self.settings.interval, time.monotonic())
            if until is not None and due > until:
                self._stopped.wait(max(0.0, until - time.monotonic()))
                return
            self._stopped.wait(due - time.monotonic())

    def start_monitoring(self) -> None:
        """Run `monitor_loop` in a thread of its own. Does nothing when it runs already.

        A fault of the watch never ends it: `fault` tells, and after a wait it is begun again.
        """
        if self._thread is None or not self._thread.is_alive():
            self._stopped.clear()
            self._thread = threading.Thread(
                target=self._monitor, name="so8t-resources", daemon=True
            )
            self._thread.start()

    def stop_monitoring(self) -> None:
        """End the monitoring and let the drivers go. Safe to call twice."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._sensors.close()

    def __enter__(self) -> Self:
        self.start_monitoring()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop_monitoring()

    # --- what was there ------------------------------------------------------------------------

    def save_metrics_history(self, path: Path | str) -> Path:
        """Write every remembered sample to `path`, one JSON object a line; return `path`."""
        path = Path(path)
        with self._lock:
            lines = [json.dumps(sample.asdict()) for sample in self._samples]
        write_atomic(path, "".join(f"{line}\n" for line in lines))
        return path

    def get_metrics_summary(self) -> dict[str, Any]:
        """Minimum, mean, 95th percentile and maximum of each quantity.

        A quantity that was never read is None, and `unreadable` says why.
        """
        with self._lock:
            return summarize(list(self._samples))

    def _monitor(self) -> None:
        while not self._stopped.is_set():
            try:
                self.monitor_loop()
            except Exception as error:  # noqa: BLE001 - whatever it was must not keep a run still
                # The run tells of this where it records steps.
                self.fault = error
                with self._lock:
                    self._failure("watch", f"{type(error).__name__}: {error}")
                self._faults += 1
                self._looked.set()
                self._go_blind()
                doubled = self.settings.interval * 2 ** min(self._faults - 1, 10)
                self._stopped.wait(min(doubled, max(_LONGEST_WAIT, self.settings.interval)))

    def _go_blind(self) -> None:
        """End a pause when the watch has failed so often that nothing can be known any more."""
        with self._lock:
            if self._faults < _BLIND_AFTER or not self.settings.balance:
                return
            now = time.monotonic()
            seen = (
                self._samples[-1]
                if self._samples
                else ResourceSample(at=time.time(), monotonic=now)
            )
            self._follow(unwatched(self._state, self._limits, now, self._local_time()), seen)

    def _follow(self, decision: Decision, sample: ResourceSample) -> Adjustment | None:
        """Take over what was decided; the caller holds the lock."""
        before, self._state = self._state, decision.state
        if decision.reason is None:
            return None
        after = self._state
        step = Adjustment(decision.reason, before.level, after.level, after.reduction, sample)
        self._adjustments.append(step)
        if step.after < step.before:
            self._lowered = step
        return step

    def _read(self) -> ResourceSample:
        with self._reading:
            sample = self._sensors.read(self._state.level)
            with self._lock:
                self._samples.append(sample)
                self._read_at = time.monotonic()
                for name in sample.failed:
                    self._failure(name, sample.unreadable[name])
            return sample

    def _failure(self, name: str, why: str) -> None:
        """Keep a failed reading for whoever records it; the caller holds the lock."""
        if name not in self._told:
            self._told.add(name)
            self._failed[name] = why

    def _latest(self) -> ResourceSample:
        """Return the newest sample; take one where nobody watches and it is no longer fresh.

        Where the watch has not seen anything (yet), everything is unknown: what fails or hangs
        there must not do so in the run's own thread.
        """
        watched = self._thread is not None and self._thread.is_alive()
        if watched:
            self.wait_for_a_look()
        with self._lock:
            found = self._samples[-1] if self._samples else None
            age = time.monotonic() - self._read_at
        stale = not watched and age > min(self.settings.interval, _FRESH)
        if found is None and watched:
            why = "nothing yet" if self.fault is None else str(self.fault)
            now = time.monotonic()
            return ResourceSample(at=time.time(), monotonic=now, unreadable={"watch": why})
        return self._read() if found is None or stale else found


def limits_of(settings: Resources, most: int, reductions: int = 0) -> ResourceLimits:
    """Return the policy's limits for what a person set."""
    return ResourceLimits(
        most=max(1, min(most, settings.max_level or most)),
        memory=settings.thresholds.memory,
        gpu_memory=settings.thresholds.gpu_memory,
        give_way=settings.give_way,
        quiet=tuple(
            Quiet(
                time_of_day.fromisoformat(hours.start),
                time_of_day.fromisoformat(hours.end),
                hours.do == "pause",
            )
            for hours in settings.quiet_hours
        ),
        reductions=reductions,
    )


def summarize(samples: list[ResourceSample]) -> dict[str, Any]:
    """Minimum, mean, 95th percentile and maximum of each of METRICS over samples."""
    import numpy as np  # noqa: PLC0415 - a summary is asked for once, at the end

    summary: dict[str, Any] = {"samples": len(samples)}
    for name in METRICS:
        known = [
            value for value in (sample.metric(name) for sample in samples) if value is not None
        ]
        summary[name] = (
            {
                "min": float(min(known)),
                "mean": float(np.mean(known)),
                "p95": float(np.percentile(known, 95)),
                "max": float(max(known)),
            }
            if known
            else None
        )
    summary["unreadable"] = samples[-1].unreadable if samples else {}
    return summary


def _local_time() -> time_of_day:
    return datetime.now().astimezone().time()
