"""Whatever fails beside a run, its answers and its verdict are those of an undisturbed one."""

from __future__ import annotations

import json
import subprocess
import sys

import faults
import pytest

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="files that are open cannot be moved, and fork is Unix's own"
)


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (faults.full_disk, 60),
        (faults.read_only, 60),
        (faults.failing_sync, 60),
        (faults.vanished, 10),
        (faults.clocks, 60),
        (faults.six_at_once, 40),
        (faults.engine_killed, 4),
        pytest.param(faults.server_killed, 1, marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_fault_changes_nothing(fault, times):
    """Nothing acknowledged is lost, nothing is there twice, and the end is the same."""
    row = fault(times)
    assert row.good, row
    assert row.times >= times


def test_a_disk_that_is_really_full_changes_nothing():
    """A small file system in memory, filled up to the last pages while a run writes."""
    row = faults.real_full_disk(8)
    if not row.times:
        pytest.skip(row.note)
    assert row.good, row


@pytest.mark.slow
def test_doctor_kills_a_small_run_and_finds_nothing_lost(tmp_path):
    """`so8t doctor --kill-test`: real kills in several phases, no answer lost or there twice."""
    answer = subprocess.run(
        [sys.executable, "-m", "so8t", "doctor", str(tmp_path), "--kill-test", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    (found,) = [c for c in json.loads(answer.stdout)["checks"] if c["name"] == "kill test"]
    assert found["result"] == "pass", found
    assert "0 answers lost, 0 recorded twice" in found["detail"]
    assert list(tmp_path.iterdir()) == []
