"""Whether both arms were loaded alike, whatever the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.domain.exchange import LoadReport

#: Shares on the GPU that differ by less count as equal.
SHARE_TOLERANCE = 0.05


def unequal_loads(a: LoadReport, b: LoadReport) -> list[str]:
    """Return what makes the arms' answers not comparable, a sentence each; what is unknown not."""
    return list(_differences(a, b))


def _differences(a: LoadReport, b: LoadReport) -> Iterator[str]:
    for name, one, other in (
        ("tokens of context", a.context, b.context),
        ("slots", a.slots, b.slots),
    ):
        if one is not None and other is not None and one != other:
            yield f"The arms were loaded differently: A with {one} {name}, B with {other}."
    mine, others = _share(a), _share(b)
    if mine is not None and others is not None and abs(mine - others) > SHARE_TOLERANCE:
        yield (f"The arms were loaded differently: A {mine:.0%} on the GPU, B {others:.0%}.")


def _share(report: LoadReport) -> float | None:
    if not report.memory or report.gpu_memory is None:
        return None
    return report.gpu_memory / report.memory
