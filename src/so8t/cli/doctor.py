"""`so8t doctor`: what works on this machine, what does not, and the fix."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from so8t.cli.console import common, size
from so8t.errors import SO8TError
from so8t.journal.store import Journal, system_now
from so8t.system.files import free_bytes
from so8t.system.memory import available_memory

if TYPE_CHECKING:
    from so8t.cli.console import Console

_COMMITS = 50
_SLOW_COMMIT = 0.02
_LOW_DISK = 2e9
_LOW_MEMORY = 2e9
_BUILT = 2026  # a clock before the year in which this was written is wrong


@dataclass(frozen=True, slots=True)
class Check:
    """One look at the machine: pass, warn or fail, what was found, and the fix if one is needed."""

    name: str
    result: Literal["pass", "warn", "fail"]
    detail: str
    fix: str | None = None


@click.command("doctor")
@click.argument("directory", type=click.Path(path_type=Path), default=Path())
@click.option("--ollama", metavar="URL", help="Examine this Ollama server too.")
@click.option("--kill-test", is_flag=True, help="Kill a small run at random and compare.")
@common
def command(console: Console, directory: Path, ollama: str | None, *, kill_test: bool) -> int:
    """Check this machine, and DIRECTORY (default: here) as a place for runs.

    --kill-test runs a small comparison in DIRECTORY twice, once in peace and once killed at random
    moments, and says what was lost: it takes a minute or two.
    """
    checks = [check() for check in (_python, _engine, _training, _memory, _gpu, _clock)]
    checks += [_disk(directory), _journal(directory)]
    if ollama is not None:
        checks += _ollama(ollama)
    if kill_test:
        checks.append(_kill_test(directory, console))
    console.data({"checks": [asdict(check) for check in checks]})
    marks = {"pass": "ok  ", "warn": "warn", "fail": "FAIL"}
    for check in checks:
        console.line(f"{marks[check.result]}  {check.name}: {check.detail}")
        if check.fix:
            console.line(f"      -> {check.fix}")
    return 3 if any(check.result == "fail" for check in checks) else 0


def _python() -> Check:
    version = sys.version.split()[0]
    return Check("python", "pass", f"{version} ({sys.platform})")


def _engine() -> Check:
    """Load the native library in a process of its own, as a run does."""
    found = _try_import("xllamacpp")
    if found is None:
        return Check("embedded engine", "pass", "xllamacpp loads")
    return Check("embedded engine", "fail", found, "pip install -U xllamacpp")


def _training() -> Check:
    missing = [
        name
        for name in ("torch", "transformers", "safetensors")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        return Check(
            "training",
            "warn",
            f"not installed: {', '.join(missing)} (only fine-tuning needs it)",
            'pip install "so8t[train]"',
        )
    return Check("training", "pass", "torch, transformers and safetensors are installed")


def _memory() -> Check:
    free = available_memory()
    if free is None:
        return Check("memory", "warn", "the system does not tell how much is available")
    result: Literal["pass", "warn"] = "pass" if free >= _LOW_MEMORY else "warn"
    fix = None if result == "pass" else "close other programs, or choose a smaller quantization"
    return Check("memory", result, f"{size(free)} available", fix)


def _gpu() -> Check:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Check("gpu", "pass", "no NVIDIA tools found; models run on the CPU")
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return Check("gpu", "warn", f"nvidia-smi: {error}", "reinstall the NVIDIA driver")
    if answer.returncode:
        said = (answer.stdout + answer.stderr).strip()
        return Check("gpu", "warn", f"nvidia-smi: {said}", "reinstall the NVIDIA driver")
    return Check("gpu", "pass", answer.stdout.strip().replace("\n", "; "))


def _clock() -> Check:
    now = system_now()
    if now.year < _BUILT:
        return Check("clock", "warn", f"it says {now:%Y-%m-%d}", "set the system clock")
    return Check("clock", "pass", f"{now:%Y-%m-%d %H:%M} UTC")


def _disk(directory: Path) -> Check:
    free = free_bytes(directory.absolute())
    if free is None:
        return Check("disk", "warn", "the system does not tell how much is free")
    result: Literal["pass", "warn"] = "pass" if free >= _LOW_DISK else "warn"
    fix = None if result == "pass" else "make room, or set `output` to a larger disk"
    return Check("disk", result, f"{size(free)} free", fix)


def _journal(directory: Path) -> Check:
    """Make a real journal there and measure what one durable commit costs."""
    try:
        with (
            tempfile.TemporaryDirectory(dir=directory, prefix=".so8t-doctor-") as temporary,
            Journal(Path(temporary)) as journal,
        ):
            started = time.perf_counter()
            for number in range(_COMMITS):
                journal.event("probe", number=number)
            each = (time.perf_counter() - started) / _COMMITS
            journal.verify()
    except (SO8TError, OSError) as error:
        return Check("journal", "fail", str(error), "choose another directory for `output`")
    result: Literal["pass", "warn"] = "pass" if each < _SLOW_COMMIT else "warn"
    fix = None if result == "pass" else "a local SSD would be faster; nothing is wrong otherwise"
    return Check("journal", result, f"a durable commit takes {each * 1000:.1f} ms here", fix)


def _ollama(url: str) -> list[Check]:
    from so8t.engines.ollama import OllamaClient, examine  # noqa: PLC0415 - only when asked for

    client = OllamaClient(url)
    try:
        found = examine(client)
    finally:
        client.close()
    return [Check(one.name, one.outcome.value, one.detail, one.fix) for one in found]


def _kill_test(directory: Path, console: Console) -> Check:
    """Kill a real run at random moments, here, and compare its end with one in peace."""
    from so8t.pipeline.selftest.kill_test import kill_test  # noqa: PLC0415 - only when asked for

    with tempfile.TemporaryDirectory(dir=directory, prefix=".so8t-kill-test-") as temporary:
        found = kill_test(
            Path(temporary),
            lambda number, of: console.message("cli.kill_test", number=number, of=of),
        )
    said = (
        f"{found.kills} kills ({', '.join(found.hit)}): {found.lost} answers lost, "
        f"{found.twice} recorded twice, {found.phases_redone} phases begun again, "
        f"{'the same' if found.same else 'ANOTHER'} verdict as without a kill (seed {found.seed})"
    )
    if found.good:
        return Check("kill test", "pass", said)
    return Check("kill test", "fail", said, "another disk or file system for `output`; report this")


def _try_import(module: str) -> str | None:
    """Import a native module in a child; None when it loads, else what went wrong."""
    answer = subprocess.run(
        [sys.executable, "-c", f"import {module}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if answer.returncode == 0:
        return None
    lines = answer.stderr.strip().splitlines()
    return lines[-1] if lines else f"the process ended with exit code {answer.returncode}"
