"""The experiment of `python tests/lab/cgroup_pressure.py`, once."""

from __future__ import annotations

import pytest
from cgroup_pressure import LIMIT, balanced, fixed, prepare


@pytest.mark.slow
def test_too_little_memory_kills_the_fixed_load_and_not_the_balanced_run(tmp_path):
    """Where the fixed load is killed, the run loads smaller, answers everything, nothing killed."""
    config = prepare(tmp_path)
    alone = fixed(config, LIMIT)
    if alone is None:
        pytest.skip("no memory control group may be made here")
    assert alone.killed >= 1
    assert alone.answers == 0
    run = balanced(config, LIMIT)
    assert (run.code, run.killed, run.answers) == (0, 0, 48)
    assert any(event.startswith("profile_reduced") for event in run.events)
