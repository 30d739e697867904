"""A kill changes nothing: SIGKILL at random moments of every phase, for real."""

from __future__ import annotations

import random
import sys

import pytest
from kill import kills

from so8t.domain.plan import Phase


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and fork are Unix's own")
def test_a_hundred_kills_in_all_phases_change_nothing(tmp_path):
    """The same answers, none lost, none twice, the same models and verdict as without a kill."""
    row = kills(100, tmp_path, seed=random.SystemRandom().randrange(2**32))
    assert row.good, row
    assert row.times >= 100
    for phase in Phase:
        assert phase.value in row.note, row
