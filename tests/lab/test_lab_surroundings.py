"""A run whose children are killed, or that has bad surroundings, comes to the same end."""

from __future__ import annotations

import sys

import pytest
from children import children_killed
from surroundings import WAYS, surroundings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="signals, limits and mounts of Linux"),
]


def test_children_that_are_killed_change_nothing():
    """SIGKILL of training and engine alone: started again or resumed, the same answers once."""
    row = children_killed(6)
    assert row.good, row


@pytest.mark.parametrize("way", WAYS)
def test_bad_surroundings_change_nothing(way):
    """A full disk, few files, little memory, another date, a halt: told, and gone on with."""
    row = surroundings([way])
    if not row.times:
        pytest.skip(row.note)
    assert row.good, row
