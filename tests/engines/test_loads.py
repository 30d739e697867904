"""Whether both arms were loaded alike."""

from __future__ import annotations

from so8t.domain.exchange import LoadReport
from so8t.engines.loads import unequal_loads


def test_arms_that_were_loaded_differently_are_told():
    """Context, slots and GPU share are compared; what is unknown is not."""
    a = LoadReport(1.0, context=512, slots=1, memory=1000, gpu_memory=1000)
    assert unequal_loads(a, a) == []
    assert unequal_loads(a, LoadReport(1.0)) == []
    found = unequal_loads(a, LoadReport(1.0, context=256, slots=1, memory=1000, gpu_memory=300))
    assert ["context" in found[0], "GPU" in found[1], len(found)] == [True, True, 2]
