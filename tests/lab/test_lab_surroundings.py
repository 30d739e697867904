"""A run that has bad surroundings comes to the same end."""

from __future__ import annotations

import sys

import pytest
from surroundings import WAYS, surroundings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="signals, limits and mounts of Linux"),
]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_bad_surroundings_change_nothing(way):
    """A full disk, few files, little memory, another date, a halt: told, and gone on with."""
    row = surroundings([way])
    if not row.times:
        pytest.skip(row.note)
    assert row.good, row
