"""Whether two arms differ in the form of their answers only: two filters compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from so8t.report.text import Text
    from so8t.report.words import Names

_STRICT, _FLEXIBLE = "strict-match", "flexible-extract"
# A difference under the strict filter that the flexible one makes at most half as large, or turns.
_MATTERS = 0.02
_LEFT = 0.5


def form_words(
    scores: Mapping[str, Mapping[str, Mapping[str, float | None]]], text: Text, who: Names
) -> list[str]:
    """Name the tasks on which B differs from A under lm-eval's strict filter, and little beyond.

    The strict filter asks for the task's own form ("#### 18"), the flexible one for the number.
    """
    said = []
    for task, metrics in scores.items():
        for metric in dict.fromkeys(name.partition(",")[0] for name in metrics):
            strict = _difference(metrics.get(f"{metric},{_STRICT}"))
            flexible = _difference(metrics.get(f"{metric},{_FLEXIBLE}"))
            if strict is None or flexible is None or abs(strict) < _MATTERS:
                continue
            if flexible * strict <= 0 or abs(flexible) <= _LEFT * abs(strict):
                said.append(
                    text(
                        "warning.form",
                        task=text.known("task", task),
                        a=who.a,
                        b=who.b,
                        strict=text.signed_points(strict),
                        flexible=text.signed_points(flexible),
                    )
                )
    return said


def _difference(arms: Mapping[str, float | None] | None) -> float | None:
    a, b = (arms or {}).get("a"), (arms or {}).get("b")
    return None if a is None or b is None else b - a
