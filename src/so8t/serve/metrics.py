"""Counters in the text format of Prometheus, which is a few lines: no library is needed.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Upper edges of the latency histogram, seconds.
EDGES = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """What the server counts. No words of any request are among it. For one event loop."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str]] = Counter()
        self._rejected: Counter[str] = Counter()
        self._gated: Counter[str] = Counter()
        self._buckets: Counter[float] = Counter()
        self._seconds = 0.0
        self.in_flight = 0

    def answered(self, outcome: str, label: str, seconds: float) -> None:
        """Count a request that has its row in the audit log."""
        self._requests[outcome, label] += 1
        self._seconds += seconds
        for edge in EDGES:
            self._buckets[edge] += seconds <= edge

    def rejected(self, why: str) -> None:
        """Count a request that was turned away."""
        self._rejected[why] += 1

    def gated(self, decision: str) -> None:
        """Count what the safety gate said of a question."""
        self._gated[decision] += 1

    def lines(self, *, waiting: int, audit_rows: int, up: bool) -> Iterator[str]:
        """Give the page, line by line."""
        yield "# HELP so8t_think_requests_total Requests with a row in the audit log."
        yield "# TYPE so8t_think_requests_total counter"
        for (outcome, label), count in sorted(self._requests.items()):
            yield f'so8t_think_requests_total{{outcome="{outcome}",label="{label}"}} {count}'
        yield "# HELP so8t_think_rejected_total Requests turned away before the model was asked."
        yield "# TYPE so8t_think_rejected_total counter"
        for why, count in sorted(self._rejected.items()):
            yield f'so8t_think_rejected_total{{reason="{why}"}} {count}'
        yield "# HELP so8t_think_gate_total Questions that the safety gate looked at."
        yield "# TYPE so8t_think_gate_total counter"
        for decision, count in sorted(self._gated.items()):
            yield f'so8t_think_gate_total{{decision="{decision}"}} {count}'
        total = sum(self._requests.values())
        yield "# HELP so8t_think_seconds Time from acceptance to the answer."
        yield "# TYPE so8t_think_seconds histogram"
        for edge in EDGES:
            yield f'so8t_think_seconds_bucket{{le="{edge}"}} {self._buckets[edge]}'
        yield f'so8t_think_seconds_bucket{{le="+Inf"}} {total}'
        yield f"so8t_think_seconds_sum {self._seconds:.6f}"
        yield f"so8t_think_seconds_count {total}"
        for name, help_, value in (
            ("in_flight", "Requests being answered, waiting ones included.", self.in_flight),
            ("waiting", "Requests that wait for the model.", waiting),
            ("audit_rows", "Rows of the audit log.", audit_rows),
            ("up", "Whether a request could be answered and logged.", int(up)),
        ):
            yield f"# HELP so8t_think_{name} {help_}"
            yield f"# TYPE so8t_think_{name} gauge"
            yield f"so8t_think_{name} {value}"
