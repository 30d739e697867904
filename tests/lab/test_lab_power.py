"""What was acknowledged survives a power cut at any moment; with weaker settings it does not."""

from __future__ import annotations

import pytest
from power import cuts, first_cuts


@pytest.mark.slow
def test_power_cuts_lose_nothing_that_was_acknowledged():
    """200 cuts: no answer lost, none twice, no damage, and the same end as without a cut."""
    row = cuts(200)
    assert row.good, row
    assert "restored" not in row.note
    assert row.redone > 0  # cuts hit answers on their way, or this proves nothing


@pytest.mark.parametrize("step", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_a_power_cut_in_the_first_moments_leaves_a_run_that_goes_on(step):
    """From the making of the file to the first answer, whatever the disk kept of it."""
    row = first_cuts(step)
    assert row.good, row


@pytest.mark.slow
def test_the_same_cuts_do_lose_answers_without_full_synchronisation():
    """The laboratory can fail: with synchronous=NORMAL acknowledged answers are gone."""
    row = cuts(60, normal=True)
    assert row.lost > 0
    assert row.same  # they are asked again, and the end is the same
