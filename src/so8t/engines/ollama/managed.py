"""An `ollama serve` of our own, where Ollama is installed but not running.

The server is started with the environment that a benchmark needs and stopped with everything it
started. A server that is killed leaves its model process alive, with the memory; so every process
carries a mark in its environment, by which it is found again, even by the next run.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from so8t.engines.ollama.client import DEFAULT_URL, OllamaClient, is_loopback, server_url
from so8t.errors import EngineError, PrerequisiteError
from so8t.system.files import remove_file, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import psutil

    from so8t.engines.ollama.timing import Timing

_MARK = "SO8T_OLLAMA_OWNER"
_TAIL_LINES = 12


def find_ollama() -> Path | None:
    """Return the installed `ollama` program, or None. A boot service has a short PATH."""
    found = shutil.which("ollama")
    if found is not None:
        return Path(found)
    places = {
        "win32": [Path(os.environ.get("LOCALAPPDATA", "")) / "Programs/Ollama/ollama.exe"],
        "darwin": [
            Path("/Applications/Ollama.app/Contents/Resources/ollama"),
            Path("/opt/homebrew/bin/ollama"),
            Path("/usr/local/bin/ollama"),
        ],
    }.get(sys.platform, [Path("/usr/local/bin/ollama"), Path("/usr/bin/ollama")])
    return next((place for place in places if place.is_file()), None)


def server_environment(url: str, *, parallel: int) -> dict[str, str]:
    """Return what the server's environment needs for a benchmark, and why.

    Parallelism is fixed, since the server divides its memory by it. Two models may stay loaded.
    No cloud models: nothing may leave the machine. The prompt cache of a model process may
    otherwise take 8 GiB of RAM, and its hits change bits of the answers.
    """
    parts = urlsplit(url)
    return {
        "OLLAMA_HOST": f"{parts.hostname}:{parts.port}",
        "OLLAMA_NUM_PARALLEL": str(parallel),
        "OLLAMA_MAX_LOADED_MODELS": "2",
        "OLLAMA_NO_CLOUD": "1",
        "LLAMA_ARG_CACHE_RAM": "0",
    }


class ManagedServer:
    """A server that this program started and will stop. Use as a context manager.

    Args:
        state: a directory for the server's log and for the mark of its processes; the next run
            with the same directory ends what this one could not.
        url: where it is to listen; on this machine.
        program: the `ollama` program; None looks for it.
        parallel: OLLAMA_NUM_PARALLEL.
        timing: `restart` is how long the server may take until it answers.
        extra: more environment, over all of the above.
        grace: seconds that its processes have to end by themselves before they are killed.

    """

    def __init__(
        self,
        state: Path,
        *,
        url: str = DEFAULT_URL,
        program: Path | None = None,
        parallel: int = 1,
        timing: Timing | None = None,
        extra: Mapping[str, str] | None = None,
        grace: float = 10.0,
    ) -> None:
        self.url = server_url(url)
        self.log = state / "ollama-server.log"
        self._mark_file = state / "ollama-server.mark"
        self._program = program
        self._grace = grace
        self._environment = {
            **server_environment(self.url, parallel=parallel),
            **(extra or {}),
        }
        self._client = OllamaClient(self.url, timing=timing)
        self._process: subprocess.Popen[bytes] | None = None
        self._adopted = False

    @property
    def managed(self) -> bool:
        """Whether the server that answers was started by this program and will be stopped."""
        return self._adopted or (self._process is not None and self._process.poll() is None)

    def ensure(self) -> None:
        """See that a server answers: use the one that runs, else start one.

        Raises PrerequisiteError where Ollama is not installed or the address is another
        machine's, EngineError where it was started and does not answer.
        """
        if self._client.reachable():
            # A run that was killed could not stop its server; it is ours, and ours to stop.
            self._adopted = self._process is None and any(True for _ in self._marked())
            return
        if not is_loopback(self.url):
            raise PrerequisiteError(
                f"No Ollama server answers at {self.url}, and it is on another machine.",
                hint="start it there with `ollama serve`",
            )
        program = self._program or find_ollama()
        if program is None:
            raise PrerequisiteError(
                "Ollama is neither running nor installed.",
                hint="install it from https://ollama.com/download, or use the embedded engine",
            )
        self._end_all()
        self._start(program)
        self._wait()

    def restart(self) -> None:
        """Start the server again, whether it is gone or hangs. One that is not ours is left alone.

        Raises as `ensure` does.
        """
        if self.managed:
            self._end_all()
            self._adopted = False
        self.ensure()

    def stop(self) -> None:
        """End the server with its model processes. One that ran before is left alone."""
        if self._process is not None or self._adopted:
            self._end_all()
            self._adopted = False
        if self._process is not None:
            self._process.wait(timeout=10)
            self._process = None
        self._client.close()

    def __enter__(self) -> Self:
        self.ensure()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _start(self, program: Path) -> None:
        mark = secrets.token_hex(8)
        # Before the start: a mark without a process is harmless, the reverse would be an orphan.
        write_atomic(self._mark_file, mark + "\n")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(program), "serve"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment, _MARK: mark},
                # Ctrl-C is for us; we end the server in order.
                start_new_session=sys.platform != "win32",
                creationflags=_windows_flags(),
            )

    def _wait(self) -> None:
        process = self._process
        end = time.monotonic() + self._client.timing.restart
        while not self._client.reachable():
            ended = process is None or process.poll() is not None
            if ended or time.monotonic() >= end:
                self.stop()
                raise EngineError(
                    "`ollama serve` "
                    + ("ended" if ended else f"does not answer at {self.url}")
                    + f". It last wrote:\n{self._tail()}",
                    hint=f"the whole log is in {self.log}",
                )
            time.sleep(self._client.timing.poll)

    def _end_all(self) -> None:
        """End the marked processes: terminate, wait, kill."""
        import psutil  # noqa: PLC0415 - only a managed server needs it

        marked = list(self._marked())
        for process in marked:
            with suppress(psutil.Error):
                process.terminate()
        _gone, alive = psutil.wait_procs(marked, timeout=self._grace)
        # A server that is ended gently ends its model process too; what is left did not listen.
        alive = [*alive, *(process for process in self._marked() if process not in alive)]
        for process in alive:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=10)
        remove_file(self._mark_file)

    def _marked(self) -> Iterator[psutil.Process]:
        import psutil  # noqa: PLC0415 - only a managed server needs it

        try:
            mark = self._mark_file.read_text("utf-8").strip()
        except OSError:
            return
        for process in psutil.process_iter():
            # Other people's processes do not show their environment; ours do.
            with suppress(psutil.Error, OSError):
                if process.environ().get(_MARK) == mark:
                    yield process

    def _tail(self) -> str:
        try:
            text = self.log.read_bytes()[-16384:].decode("utf-8", "replace")
        except OSError:
            return "  | (no log)"
        return "\n".join(f"  | {line}" for line in text.splitlines()[-_TAIL_LINES:])


def _windows_flags() -> int:
    if sys.platform != "win32":
        return 0
    return subprocess.CREATE_NEW_PROCESS_GROUP
