"""The balancer beside a run: lower priority first, then the watch, with its history kept."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from so8t.domain.events import EventKind
from so8t.engines.registry import capabilities_of
from so8t.journal.history import ResourceHistory
from so8t.pipeline.benchmark.balance import tell_failures
from so8t.resources.balancer import ResourceBalancer
from so8t.resources.readings import METRICS
from so8t.resources.sensors import Sensors, lower_priority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from so8t.config.schema import RunConfig
    from so8t.journal.store import Journal
    from so8t.resources.readings import ResourceSample

    Tell = Callable[..., None]


@contextmanager
def watched(config: RunConfig, journal: Journal) -> Iterator[ResourceBalancer]:
    """Watch the machine for as long as a run works, and leave a summary at its end.

    Children of this process inherit its lower priority. A server that works for the run without
    being its child counts as the run's own work.
    """
    asked = config.resources
    if asked.low_priority:
        journal.event(EventKind.PRIORITY_LOWERED, how=lower_priority())
    servers = capabilities_of(config.engine).processes
    with ResourceHistory(journal.directory) as history:

        def keep(sample: ResourceSample) -> None:
            history.add(sample.at, asked.interval, kept(sample))

        balancer = ResourceBalancer(asked, sensors=Sensors(servers), keep=keep)
        try:
            with balancer:
                yield balancer
        finally:
            if journal.usable:
                tell_failures(balancer, journal.event)
                journal.event(EventKind.RESOURCES_SUMMARY, **balancer.get_metrics_summary())


def kept(sample: ResourceSample) -> dict[str, float]:
    """Return the figures of a sample that the history keeps: those that are known."""
    found = {name: sample.metric(name) for name in METRICS}
    return {name: round(value, 4) for name, value in found.items() if value is not None}
