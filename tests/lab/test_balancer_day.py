"""A few simulated days of the forty that `python tests/lab/balancer_day.py` plays."""

from __future__ import annotations

import pytest
from balancer_day import simulate


@pytest.mark.parametrize("seed", [3, 9])
def test_a_day_beside_other_people(seed):
    """No out-of-memory, at most ten changes an hour, more work than the level that is safe."""
    day, safe = simulate(seed), simulate(seed, fixed=1)
    assert day.out_of_memory == 0
    assert day.most_changes_in_an_hour <= 10
    assert safe.out_of_memory == 0
    assert day.work > safe.work
    assert day.changes > 0
