"""A look at a journal with another SQLite loses nothing, whenever the run is killed after it."""

from __future__ import annotations

import sys

import pytest
from look import looks

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks are Unix's own")


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_a_look_and_a_kill_lose_nothing(kills):
    """The system's sqlite3 and Python's module open, read and close it; then SIGKILL."""
    row = looks(kills)
    assert row.good, row
    assert row.times == kills


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_without_locks_nothing_is_acknowledged_that_is_lost(kills):
    """A process that lost its locks notices the deleted log before it claims another answer."""
    row = looks(kills, careless=True)
    assert row.good, row
