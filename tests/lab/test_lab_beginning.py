"""A run and an audit log that are killed at their beginning go on at the next one."""

from __future__ import annotations

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("strace is Linux's own", allow_module_level=True)

from beginning import audit_beginnings, run_beginnings, traceable


@pytest.mark.parametrize("cuts", [5, pytest.param(None, marks=pytest.mark.slow, id="all")])
@pytest.mark.parametrize("beginnings", [run_beginnings, audit_beginnings])
def test_a_kill_at_any_system_call_of_a_beginning_costs_nothing(beginnings, cuts):
    """Directory, lease, keys, file, tables, first rows: whole or made again, never refused."""
    if not traceable():
        pytest.skip("strace is not here, or may not take hold of a process")
    row = beginnings(cuts)
    assert row.good, row
    assert row.times >= (cuts or 50)
