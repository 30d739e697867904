"""What the machine looked like stands beside the chain, and is thinned after a day."""

from __future__ import annotations

import threading
import time

import apsw
import pytest
from journals import sample, small_journal

from so8t.journal.chained import FILE_NAME
from so8t.journal.connect import connect
from so8t.journal.history import ResourceHistory

DAY = 86_400.0


def test_samples_come_back_beside_a_journal_that_goes_on(tmp_path):
    """A second connection writes; the chain of the first is whole, the samples are there."""
    with (
        small_journal(tmp_path, [sample(n) for n in range(3)]) as journal,
        ResourceHistory(journal.directory) as history,
    ):
        for number in range(30):
            history.add(1000.0 + 5 * number, 5.0, {"memory": 0.5, "level": 4})
            journal.event("beside", number=number)
        history.write()
        assert len(journal.resource_samples()) == 30
        assert journal.resource_samples()[0] == (1000.0, {"memory": 0.5, "level": 4})
        assert journal.verify()


def test_after_a_day_five_minutes_are_one_row(tmp_path):
    """Means of what was known; the last day stays as it was; thinning again changes nothing."""
    with (
        small_journal(tmp_path, [sample(0)]) as journal,
        ResourceHistory(journal.directory) as history,
    ):
        for number in range(120):
            figures = {"memory": 0.4 if number % 2 else 0.6, "level": 8 - number % 2}
            history.add(5.0 * number, 5.0, figures | ({"gpu": 0.5} if number == 3 else {}))
        history.add(DAY + 590.0, 5.0, {"memory": 0.1})
        history.write()
        history.thin(DAY)
        rows = journal.resource_samples()
        assert len(rows) == 3
        at, figures = rows[0]
        assert at == 0.0
        assert figures["memory"] == pytest.approx(0.5)
        assert (figures["level"], figures["gpu"]) == (7, 0.5)
        assert rows[-1] == (DAY + 590.0, {"memory": 0.1})
        history.thin(DAY)
        assert journal.resource_samples() == rows


def test_answers_that_are_recorded_meanwhile_end_no_start(tmp_path):
    """Each start thins at its first commit; a writer that commits without rest fails none."""
    stop = threading.Event()
    with small_journal(tmp_path, [sample(0)]) as journal:
        other = connect(journal.directory / FILE_NAME)

        def write() -> None:
            while not stop.is_set():
                other.execute("UPDATE head SET seq = seq")
                time.sleep(0.001)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for start in range(30):
                with ResourceHistory(journal.directory) as history:
                    for number in range(12):
                        at = 2 * DAY + 100.0 * start + number
                        history.add(at, 5.0, {"memory": 0.1})
        finally:
            stop.set()
            writer.join()
            other.close()
        assert len(journal.resource_samples()) == 30 * 12


def test_what_cannot_be_thinned_now_is_thinned_later(tmp_path):
    """Another writer in the way: the samples are kept, and the next commit thins."""
    with (
        small_journal(tmp_path, [sample(0)]) as journal,
        ResourceHistory(journal.directory) as history,
    ):
        thin, refused = history.thin, []

        def busy(before: float) -> None:
            refused.append(before)
            raise apsw.BusyError

        history.thin = busy
        for number in range(12):
            history.add(5.0 * number, 5.0, {"memory": 0.5})
        assert refused
        assert len(journal.resource_samples()) == 12
        history.thin = thin
        history.add(DAY + 600.0, 5.0, {"memory": 0.5})
        history.write()
        assert len(journal.resource_samples()) == 2
