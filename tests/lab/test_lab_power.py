"""What was acknowledged survives a power cut at any moment; with weaker settings it does not."""

from __future__ import annotations

from power import cuts


def test_power_cuts_lose_nothing_that_was_acknowledged():
    """200 cuts: no answer lost, none twice, no damage, and the same end as without a cut."""
    row = cuts(200)
    assert row.good, row
    assert "restored" not in row.note
    assert row.redone > 0  # cuts hit answers on their way, or this proves nothing


def test_the_same_cuts_do_lose_answers_without_full_synchronisation():
    """The laboratory can fail: with synchronous=NORMAL acknowledged answers are gone."""
    row = cuts(60, normal=True)
    assert row.lost > 0
    assert row.same  # they are asked again, and the end is the same
