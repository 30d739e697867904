"""One process at a time holds a run, and the kernel gives the lease back."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from so8t.errors import LeaseHeldError
from so8t.journal.lease import Lease, holder_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOLD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from so8t.journal.lease import Lease
with Lease(Path(sys.argv[1]), now=datetime(2026, 1, 1, tzinfo=UTC)):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lease until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_the_second_is_told_who_holds_the_run(tmp_path, other):
    """The error names process and time, and ends with exit code 5."""
    with pytest.raises(LeaseHeldError, match=f"process {other.pid} .* since 2026") as caught:
        Lease(tmp_path, now=NOW)
    assert caught.value.exit_code == 5
    assert holder_of(tmp_path)["pid"] == other.pid


def test_a_killed_holder_leaves_no_stale_lease(tmp_path, other):
    """After SIGKILL the next start has the lease at once."""
    other.kill()
    other.wait()
    with Lease(tmp_path, now=NOW) as lease:
        assert holder_of(tmp_path)["pid"] == os.getpid()
        lease.release()
        lease.release()
    assert holder_of(tmp_path) is None


@pytest.mark.usefixtures("other")
def test_a_holder_without_a_name_is_another_process(tmp_path):
    """Between taking the lock and writing the name the holder is simply another process."""
    (tmp_path / "run.holder.json").unlink()
    with pytest.raises(LeaseHeldError, match="held by another process"):
        Lease(tmp_path, now=NOW)


def test_of_six_starts_at_once_one_wins(tmp_path):
    """Twenty rounds of six starters: never none, never two."""
    script = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from so8t.errors import LeaseHeldError
from so8t.journal.lease import Lease
directory = Path(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    target = directory / line.strip()
    try:
        lease = Lease(target, now=datetime(2026, 1, 1, tzinfo=UTC))
    except LeaseHeldError:
        print("lost", flush=True)
    else:
        print("won", flush=True)
        sys.stdin.readline()
        lease.release()
"""
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for _ in range(6)
    ]
    try:
        for starter in starters:
            assert starter.stdout.readline() == "ready\n"
        for number in range(20):
            (tmp_path / str(number)).mkdir()
            for starter in starters:
                starter.stdin.write(f"{number}\n")
                starter.stdin.flush()
            results = [starter.stdout.readline().strip() for starter in starters]
            assert sorted(results) == ["lost"] * 5 + ["won"]
            winner = starters[results.index("won")]
            winner.stdin.write("release\n")
            winner.stdin.flush()
    finally:
        for starter in starters:
            starter.kill()
            starter.communicate()
