"""What `test_windows_lab.py` runs on Windows' own Python: windows_checks.py CHECK DIRECTORY.

Each check prints what it saw and raises where a promise is broken.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

# Not beyond 260 characters: Wine 8 cannot resolve such a path (error 234), Windows can.
DEEP = "長い名前の箱/の 中"


def so8t(*arguments, encoding="utf-8", seconds=240, **more):
    """Run the product in this Python; return its exit code and all that it said."""
    done = subprocess.run(
        [sys.executable, "-u", "-m", "so8t", *map(str, arguments)],
        env={**os.environ, "PYTHONIOENCODING": encoding, **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds,
        check=False,
    )
    said = done.stdout.decode(encoding)
    assert "Traceback" not in said, said
    return done.returncode, said


def files(directory):
    """A file that another handle has open for a moment; a read-only attribute."""
    import threading  # noqa: PLC0415 - this check's alone

    from so8t.system.files import (  # noqa: PLC0415 - as above
        move,
        remove_file,
        remove_tree,
        write_atomic,
    )

    path, tree, other = directory / "日本 語.json", directory / "tree", directory / "other"
    for act, promised in (
        (lambda: write_atomic(path, "new"), lambda: path.read_text() == "new"),
        (lambda: move(path, other), lambda: other.exists() and not path.exists()),
        (lambda: remove_file(path), lambda: not path.exists()),
        (lambda: remove_tree(tree), lambda: not tree.exists()),
    ):
        write_atomic(path, "old")
        write_atomic(tree / "x", "old")
        held = [path.open("rb"), (tree / "x").open("rb")]
        timer = threading.Timer(1.0, lambda held=held: [file.close() for file in held])
        timer.start()
        act()
        assert promised()
        timer.join()
    write_atomic(path, "old")
    write_atomic(tree / "deep" / "x", "old")
    path.chmod(0o444)
    (tree / "deep" / "x").chmod(0o444)
    write_atomic(path, "new")
    remove_tree(tree)
    assert path.read_text() == "new"
    assert not tree.exists()


def imports(_directory):
    """Torch is loaded in a thread of a child that waits for its parent's next message."""
    program = (
        "import threading, so8t.system.child as c\n"
        "def load(message, reply):\n"
        "    def work():\n"
        "        import torch\n"
        "        reply({'op': 'loaded'})\n"
        "    threading.Thread(target=work).start()\n"
        "c.serve_messages(load)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-u", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    started = time.monotonic()
    child.stdin.write(b'{"op": "load"}\n')
    child.stdin.flush()
    assert b"loaded" in child.stdout.readline()
    print(f"torch after {time.monotonic() - started:.0f} s")
    child.stdin.close()
    assert child.wait(60) == 0


def names(directory):
    """Reserved names, a drive without a root, a share that is not there: said, not guessed."""
    for output in ("NUL", directory / "con", "C:relative", r"\\nobody\share\runs", r"Q:\nothing"):
        code, said = so8t("run", directory / "so8t.yaml", "--output", output)
        print(output, code, said)
        assert code in (2, 3), (output, code, said)
        assert "error: " in said


def run(directory):
    """Killed by TerminateProcess and gone on with, two starts, and its verdict."""
    output = directory / DEEP
    command = [sys.executable, "-u", "-m", "so8t", "run", str(directory / "so8t.yaml")]
    command += ["--output", str(output)]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    first = subprocess.Popen(command, **quiet)
    until = time.monotonic() + 200
    while not list(output.glob("*/journal.sqlite")) and first.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.2)
    try:
        code, said = so8t(*command[4:])
    finally:
        first.kill()  # TerminateProcess
        first.wait()
    assert code == 5, (code, said)
    assert "is held by" in said
    code, said = so8t(*command[4:], seconds=400)
    assert code == 0, (code, said)
    (made,) = output.glob("*/journal.sqlite")
    code, said = so8t("verify", made.parent)
    assert code == 0, said
    for encoding, readable in (("cp932", True), ("cp1252", False)):
        code, said = so8t("status", made.parent, "--lang", "ja", encoding=encoding)
        print(encoding, code, said.encode("ascii", "backslashreplace").decode())
        assert code == 0
        assert any(ord(sign) > 0x3000 for sign in said) is readable


def autostart(directory):
    """A Task Scheduler that answers otherwise than Windows' ends in no traceback."""
    code, said = so8t("autostart", "status", SO8T_STATE_DIR=str(directory / "state"))
    print(code, said)
    assert code == 0


def windowless(directory):
    """Without a console and standard streams, as a task runs: the log says what was done."""
    python = str(Path(sys.executable).with_name("pythonw.exe"))
    log = directory / "自動.log"
    environment = {**os.environ, "SO8T_STATE_DIR": str(directory / "state")}
    for arguments in (["autostart", "resume", "--log", str(log)], ["notify", "--pending"]):
        done = subprocess.Popen(
            [python, "-P", "-m", "so8t", *arguments],
            creationflags=subprocess.DETACHED_PROCESS,
            env=environment,
        )
        assert done.wait(120) == 0, arguments
    assert log.exists()


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
    print("kept")
