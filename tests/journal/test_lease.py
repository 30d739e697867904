"""One process at a time holds a run, and the kernel gives the lease back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
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


@pytest.mark.slow
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


@pytest.mark.skipif(sys.platform == "win32", reason="there an open file cannot be deleted")
def test_a_deleted_lock_lets_nobody_in(tmp_path, other):
    """The directory is locked as well; the holder goes on, and is named to the second."""
    (tmp_path / "run.lock").unlink()
    with pytest.raises(LeaseHeldError, match=f"process {other.pid} "):
        Lease(tmp_path, now=NOW)
    assert holder_of(tmp_path)["pid"] == other.pid
    other.kill()
    other.wait()
    with Lease(tmp_path, now=NOW) as lease:
        (tmp_path / "run.lock").unlink()
        lease.check()


def test_a_look_makes_no_start_give_up(tmp_path):
    """Three processes look without rest; two hundred starts have the lease, one after the other."""
    look = (
        "import sys; from pathlib import Path; from so8t.journal.lease import holder_of\n"
        "print('looks', flush=True)\n"
        "while True: holder_of(Path(sys.argv[1]))"
    )
    with ExitStack() as stack:
        for _ in range(3):
            looker = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", look, str(tmp_path)], stdout=subprocess.PIPE
                )
            )
            stack.callback(looker.kill)
            looker.stdout.readline()
        for _ in range(200):
            with Lease(tmp_path, now=NOW):
                assert holder_of(tmp_path)["pid"] == os.getpid()
    assert holder_of(tmp_path) is None


def test_looks_do_not_take_each_other_for_a_holder(tmp_path):
    """Whoever looks sees a holder, and none where only others look."""
    with Lease(tmp_path, now=NOW):
        pass
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: holder_of(tmp_path), range(400))) == {None}


def under_strace(tmp_path, injected, script):
    """Run a script whose calls of flock fail as `injected` says."""
    strace = shutil.which("strace")
    command = [strace, "-f", "-qq", "-o", os.devnull, "-e", "trace=flock", "-e",
               f"inject=flock:{injected}", sys.executable, "-c", script, str(tmp_path)]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace, which lets flock fail, is not here"
)
TAKE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from so8t.journal.lease import Lease
directory = Path(sys.argv[1])
lease = Lease(directory, now=datetime(2026, 1, 1, tzinfo=UTC))
lease.check()
(directory / "run.lock").unlink()
lease.check()
"""


@needs_strace
@pytest.mark.parametrize("error", ["ENOSYS", "ENOLCK"])
def test_a_file_system_without_locks_is_named(tmp_path, error):
    """No soft lock takes the place of a real one: the error says what to do."""
    said = under_strace(tmp_path, f"error={error}", TAKE).stderr
    assert "PrerequisiteError" in said
    assert "cannot lock files" in said
    assert "`output`" in said


@needs_strace
def test_where_a_directory_cannot_be_locked_a_deleted_lock_ends_the_run(tmp_path):
    """The second of the three locks fails, as on network file systems; the inode tells then."""
    said = under_strace(tmp_path, "error=EBADF:when=2", TAKE).stderr
    assert "IncompleteError" in said
    assert "run.lock was removed or replaced" in said
