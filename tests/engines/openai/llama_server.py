"""llama.cpp's own HTTP server, real, in a process of its own that can be killed.

Run as a script it serves until it is ended; `LlamaServer` starts it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Self


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class LlamaServer:
    """One model behind one address; `start` again after `kill` uses the same address."""

    def __init__(self, model: Path, *, slots: int = 2, context: int = 512, key: str = "", **more):
        self.settings = {"model": str(model), "slots": slots, "context": context, "key": key}
        self.settings |= {"port": free_port(), "alias": Path(model).stem, **more}
        self.url = f"http://127.0.0.1:{self.settings['port']}"
        self.process: subprocess.Popen | None = None

    def start(self) -> LlamaServer:
        self.process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(self.settings)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"},
        )
        return self

    def wait(self, seconds: float = 60.0) -> LlamaServer:
        until = time.monotonic() + seconds
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):  # noqa: S310 - ours
                    return self
            except OSError:
                assert self.process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def __enter__(self) -> Self:
        return self.start().wait()

    def __exit__(self, *exc_info) -> None:
        self.stop()


def main() -> None:
    import xllamacpp  # noqa: PLC0415 - native code, in the process that serves alone

    settings = json.loads(sys.argv[1])
    parameters = xllamacpp.CommonParams()
    parameters.model.path = settings["model"]
    parameters.model_alias = {settings["alias"]}
    parameters.n_parallel = settings["slots"]
    parameters.n_ctx = settings["context"] * settings["slots"]
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = settings["port"]
    parameters.api_keys = [settings["key"]] if settings["key"] else []
    parameters.ctx_shift = False
    parameters.fit_params = False
    parameters.kv_unified = False
    parameters.verbosity = 0
    # As the embedded engine is loaded, where a test compares the two.
    parameters.use_jinja = True
    parameters.prefill_assistant = False
    parameters.n_threads_http = settings["slots"] + 2
    if settings.get("flash") is not None:
        kind = xllamacpp.llama_flash_attn_type
        parameters.flash_attn_type = (
            kind.LLAMA_FLASH_ATTN_TYPE_ENABLED
            if settings["flash"]
            else kind.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
    server = xllamacpp.Server(parameters)
    while server:
        time.sleep(1)


if __name__ == "__main__":
    main()
