"""A Python child process that speaks JSON lines and never outlives its parent.

Native code (llama.cpp, torch) runs in such children, so that a crash or the out-of-memory
killer ends one attempt and not the run. A child ends when its standard input ends, whatever
the platform; on Linux the kernel also ends it when the parent dies.

"The parent" means the *thread* that started the child there (PR_SET_PDEATHSIG): start children in
a thread that lives as long as they should.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, Self

from so8t.errors import EngineCrashed, EngineOutOfMemory
from so8t.system.child_reaping import remember_child
from so8t.system.memory import kills_for_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Reply = Callable[[dict[str, Any]], None]

_TAIL_LINES = 40
_NICE = 5
# What libraries say before they give up, in small letters.
_STARVED = ("bad_alloc", "out of memory", "failed to allocate", "memoryerror", "cannot allocate")
_PR_SET_PDEATHSIG = 1
#: Tells a child who started it.
_PARENT = "SO8T_PARENT_PID"
_STD_INPUT_HANDLE = -10
_EXIT_UNFORESEEN = 70  # EX_SOFTWARE of sysexits.h


class ChildTimeoutError(EngineCrashed):
    """The child said nothing for longer than its deadline."""


class Child:
    """A child process running `python -m module`, one JSON object a line in each direction.

    Nothing here blocks without a limit, also when the child is stopped and reads no more: messages
    go out through a thread of their own.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        below_normal: bool = False,
    ) -> None:
        self.module = module
        self._kills = kills_for_memory()
        self._process = subprocess.Popen(
            # -P: the current directory is the user's; a `random.py` there is not ours to import.
            [sys.executable, "-P", "-u", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {}), _PARENT: str(os.getpid())},
            # Ctrl-C is for the parent, which ends its children in order.
            start_new_session=sys.platform != "win32",
            creationflags=_windows_flags(below_normal=below_normal),
        )
        remember_child(self._process.pid)
        if below_normal and sys.platform != "win32":
            with suppress(OSError):  # a courtesy; the child may be gone, or it is not allowed
                # A parent that is nicer already: raising its child above it is not allowed to all.
                niceness = max(_NICE, os.getpriority(os.PRIO_PROCESS, 0))
                os.setpriority(os.PRIO_PROCESS, self._process.pid, niceness)
        self._received: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._outgoing: queue.Queue[bytes | None] = queue.Queue()
        self._deaf = False
        self._killed = False
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._readers = [
            threading.Thread(target=self._read_messages, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        self._writer = threading.Thread(target=self._write_messages, daemon=True)
        for thread in (*self._readers, self._writer):
            thread.start()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; returns at once.

        Raises EngineCrashed when the child is known to be gone. One that goes while the message
        is on its way is reported by `receive`.
        """
        if self._deaf or self._process.poll() is not None:
            raise self.crashed()
        self._outgoing.put(_encode(message))

    def receive(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the next message.

        Raises EngineCrashed when the child ended, ChildTimeoutError after `timeout` seconds.
        """
        try:
            message = self._received.get(timeout=timeout)
        except queue.Empty:
            raise ChildTimeoutError(
                f"{self.module} (pid {self.pid}) said nothing for {timeout:.0f} s."
            ) from None
        if message is None:
            self._received.put(None)
            raise self.crashed()
        return message

    def crashed(self) -> EngineCrashed:
        """Describe the end of the child, with the last lines that it wrote.

        An EngineOutOfMemory where memory was the reason.
        """
        try:
            code: int | None = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = None
        for reader in self._readers:
            reader.join(timeout=1)
        how = "closed its output" if code is None else _describe_exit(code)
        tail = "\n".join(f"  | {line}" for line in self.tail())
        said = f"{self.module} (pid {self.pid}) {how}."
        said += f" It last wrote:\n{tail}" if tail else ""
        if self._starved(code):
            return EngineOutOfMemory(said, hint="there was not enough memory for it")
        return EngineCrashed(said)

    def _starved(self, code: int | None) -> bool:
        """Whether the child died for want of memory.

        Either it could not get what it asked for and said so, or the kernel killed it, which the
        kernel counts; where nobody counts, a SIGKILL that was not ours is taken for that.
        """
        if code == 0 or self._killed:
            return False
        if any(words in line.lower() for line in self.tail() for words in _STARVED):
            return True
        if sys.platform == "win32" or code != -signal.SIGKILL:
            return False
        kills = kills_for_memory()
        return kills is None or self._kills is None or kills > self._kills

    def tail(self, lines: int = 8) -> list[str]:
        """Return the last lines that the child wrote besides messages; whole after `close`."""
        return list(self._tail)[-lines:]

    def close(self, grace: float = 5.0) -> None:
        """End the child: close its input, then terminate, then kill. Safe to call twice.

        Takes at most three times `grace` seconds, and a few more to collect its last words.
        """
        self._outgoing.put(None)
        for end in (None, self._process.terminate, self._process.kill):
            if end is not None:
                end()
            try:
                self._process.wait(timeout=grace)
                break
            except subprocess.TimeoutExpired:
                continue
        for reader, pipe in zip(
            self._readers, (self._process.stdout, self._process.stderr), strict=True
        ):
            reader.join(timeout=1)
            # A grandchild may hold the other end open; closing under a reader would block.
            if not reader.is_alive():
                self._pipe(pipe).close()

    def kill(self) -> None:
        """End the child at once, as a crash would."""
        self._killed = True
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @staticmethod
    def _pipe(pipe: Any) -> BinaryIO:
        assert pipe is not None  # noqa: S101 - Popen was given PIPE
        return pipe  # type: ignore[no-any-return]

    def _write_messages(self) -> None:
        stdin = self._pipe(self._process.stdin)
        try:
            while (line := self._outgoing.get()) is not None:
                stdin.write(line)
                stdin.flush()
            stdin.close()
        except OSError:
            # The child is gone; `receive` tells how. What is left unsent goes with it.
            self._deaf = True

    def _read_messages(self) -> None:
        for line in self._pipe(self._process.stdout):
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if isinstance(message, dict):
                self._received.put(message)
            else:
                # Native libraries print where they like; keep it for a crash report.
                self._tail.append(line.decode(errors="replace").rstrip())
        self._received.put(None)

    def _read_stderr(self) -> None:
        for line in self._pipe(self._process.stderr):
            self._tail.append(line.decode(errors="replace").rstrip())


def serve_messages(handle: Callable[[dict[str, Any], Reply], None]) -> NoReturn:
    """Run the child's side: call `handle(message, reply)` for each message until input ends.

    `handle` must return soon (long work belongs in a thread of its own), since the end of input,
    which means that the parent is gone, is only seen between two calls.

    Nobody reads the input while `handle` runs. So that is the place to import native code (torch,
    llama.cpp) for the first time, and not a thread that it starts: see `_private_input`.

    Messages come and go on private copies of the standard streams; file descriptor 1 itself is
    pointed at standard error, because native libraries print there and would tear the protocol,
    and 0 at nothing (see `_private_input`).
    """
    die_with_parent()
    threading.excepthook = _thread_died
    incoming = _private_input()
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    lock = threading.Lock()

    def reply(message: dict[str, Any]) -> None:
        line = _encode(message)
        with lock:
            out.write(line)
            out.flush()

    for message in _incoming(incoming):
        handle(message, reply)
    # Input ended: the parent is done with us or dead. Threads in native code must not hold us.
    os._exit(0)


def die_unforeseen() -> NoReturn:
    """End a child in which a thread met what nobody foresaw; the parent shows the traceback.

    The main thread waits for input and would keep a process that cannot answer alive.
    """
    traceback.print_exc()
    os._exit(_EXIT_UNFORESEEN)


def _encode(message: Mapping[str, Any]) -> bytes:
    # Escaped, because text may hold lone surrogates, which UTF-8 cannot.
    return json.dumps(message).encode() + b"\n"


def _thread_died(arguments: threading.ExceptHookArgs) -> None:
    """End the process with a thread of its own: the parent must see a crash, not silence."""
    threading.__excepthook__(arguments)
    os._exit(_EXIT_UNFORESEEN)


def _private_input() -> BinaryIO:
    """Return standard input on a handle that nobody else knows; descriptor 0 then reads nothing.

    On Windows a read that waits for a pipe holds every other call on the same handle, also the
    mere question what kind of file it is. C runtimes ask that of the standard handles while they
    load, so `import torch` in one thread waits for ever behind a read in another (cpython#78961,
    numpy#24290). A library that finds the null device there waits for nobody, whenever it loads.
    """
    private = os.fdopen(os.dup(0), "rb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 - Windows only

        # dup2 tells Windows of the new handle in console programs, not in pythonw.exe.
        handle = ctypes.c_void_p(msvcrt.get_osfhandle(0))
        ctypes.WinDLL("kernel32").SetStdHandle(_STD_INPUT_HANDLE, handle)
    return private


def _incoming(stream: BinaryIO) -> Iterator[dict[str, Any]]:
    while True:
        # Between these two no native module may be loaded for the first time; a test listens.
        sys.audit("so8t.child.read", "begin")
        line = stream.readline()
        sys.audit("so8t.child.read", "end")
        if not line:
            return
        yield json.loads(line)


def die_with_parent() -> None:
    """Ask the Linux kernel to end this process with its parent; elsewhere end of input does it.

    The kernel tells of deaths to come alone. A parent that died while this process was starting
    left a first message in the pipe, which would be worked on before the end of input is seen.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.environ.get(_PARENT, str(os.getppid())) != str(os.getppid()):
        os._exit(0)


def _describe_exit(code: int) -> str:
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:  # a real-time signal has a number only
            name = f"signal {-code}"
        return f"was ended by {name}"
    return f"ended with exit code {code}"


def _windows_flags(*, below_normal: bool) -> int:
    if sys.platform != "win32":
        return 0
    flags = subprocess.CREATE_NEW_PROCESS_GROUP
    return flags | subprocess.BELOW_NORMAL_PRIORITY_CLASS if below_normal else flags
