"""Conversion by llama.cpp's own script, for what is not built in.

A checkout of llama.cpp holds `convert_hf_to_gguf.py` and the gguf-py that belongs to it. The
script runs with a Python of its own, since it needs torch and sentencepiece in versions that the
checkout chooses: the checkout's `.venv` or `venv` where it has one, else this Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from so8t.errors import ModelError, PrerequisiteError
from so8t.models.gguf_check import inspect_gguf
from so8t.models.gguf_write import ConversionResult, adopt_gguf

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPT: Final = "convert_hf_to_gguf.py"
#: What the script writes itself; anything else is made from its F16 file.
WRITTEN: Final = ("f32", "f16", "bf16", "q8_0")
_TAIL: Final = 8


def check_checkout(checkout: Path) -> Path:
    """Return the converter of a checkout. Raises PrerequisiteError where there is none."""
    script = checkout / SCRIPT
    if not script.is_file():
        raise PrerequisiteError(
            f"{checkout}: is no llama.cpp checkout, {SCRIPT} is not there.",
            hint="git clone https://github.com/ggml-org/llama.cpp, and name that directory as "
            "`llama_cpp:`",
        )
    return script


def python_of(checkout: Path) -> str:
    """Return the Python that a checkout's script runs with."""
    places = ("bin/python", "Scripts/python.exe")
    found = [checkout / env / place for env in (".venv", "venv") for place in places]
    return str(next((path for path in found if path.is_file()), sys.executable))


def convert_with_checkout(
    checkout: Path, directory: Path, out: Path, quantization: str
) -> ConversionResult:
    """Convert a Hugging Face directory with a checkout's script; `out` is whole or absent.

    `quantization` is one of WRITTEN. Raises PrerequisiteError without the script, ModelError with
    its last words when it refuses the model.
    """
    script = check_checkout(checkout)
    began = time.monotonic()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".llama-cpp-") as place:
        made = Path(place, "model.gguf")
        command = [
            python_of(checkout),
            str(script),
            str(directory),
            "--outfile",
            str(made),
            "--outtype",
            quantization,
        ]
        done = _run(command, checkout)
        if done.returncode or not made.is_file():
            tail = "\n".join(f"  | {line}" for line in _last(done))
            raise ModelError(
                f"{directory}: {SCRIPT} ended with exit code {done.returncode}:\n{tail}",
                hint="install what it asks for into the checkout's .venv (pip install -r "
                "requirements.txt), or update the checkout if the architecture is newer",
            )
        inspect_gguf(made)
        return adopt_gguf(
            made, out, quantization, began, converter=f"llama.cpp {SCRIPT} {_commit(checkout)}"
        )


def _run(command: Sequence[str], checkout: Path) -> subprocess.CompletedProcess[str]:
    # Our own packages must not stand in for those that the checkout brings or was given.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    try:
        return subprocess.run(
            command,
            cwd=checkout,
            env=environment | {"HF_HUB_OFFLINE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise PrerequisiteError(
            f"{command[0]}: the checkout's Python cannot be started: {error.strerror or error}.",
            hint="make its virtual environment again",
        ) from error


def _last(done: subprocess.CompletedProcess[str]) -> list[str]:
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return lines[-_TAIL:] or ["(it said nothing)"]


def _commit(checkout: Path) -> str:
    """Name the checkout's commit, "of unknown commit" where git or its folder is missing."""
    git = shutil.which("git")
    if git is not None and (checkout / ".git").exists():
        command = [git, "-C", str(checkout), "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return "of unknown commit"
