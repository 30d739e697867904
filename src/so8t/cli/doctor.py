"""`so8t doctor`: what works on this machine, what does not, and the fix."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from so8t.cli.console import common, size
from so8t.cli.engine_options import server_options
from so8t.config.engine_section import ENGINES
from so8t.engines.checks import Check, CheckOutcome, TaskNeeds
from so8t.engines.registry import kinds_with_servers
from so8t.errors import SO8TError
from so8t.journal.store import Journal, system_now
from so8t.models.gguf_families import PLUGINS as FAMILIES
from so8t.system.files import free_bytes
from so8t.system.memory import available_memory
from so8t.tasks.graders import GRADERS

if TYPE_CHECKING:
    from so8t.cli.console import Console

_COMMITS = 50
_SLOW_COMMIT = 0.02
_LOW_DISK = 2e9
_LOW_MEMORY = 2e9
_BUILT = 2026  # a clock before the year in which this was written is wrong


@click.command("doctor")
@click.argument("directory", type=click.Path(path_type=Path), default=Path())
@server_options
@click.option("--kill-test", is_flag=True, help="Kill a small run at random and compare.")
@common
def command(console: Console, directory: Path, *, kill_test: bool, **servers: str | None) -> int:
    """Check this machine, and DIRECTORY (default: here) as a place for runs.

    --kill-test runs a small comparison in DIRECTORY twice, once in peace and once killed at random
    moments, and says what was lost: it takes a minute or two.
    """
    checks = [check() for check in (_python, _engine, _training, _memory, _gpu, _clock)]
    checks += [_disk(directory), _journal(directory)]
    checks += _plugins()
    for kind in kinds_with_servers():
        url = servers.get(kind.name)
        if url is not None and kind.examine is not None:
            checks += kind.examine(kind.settings_at(url), TaskNeeds())
    if kill_test:
        checks.append(_kill_test(directory, console))
    console.data({"checks": [_plain(check) for check in checks]})
    marks = {CheckOutcome.PASS: "ok  ", CheckOutcome.WARN: "warn", CheckOutcome.FAIL: "FAIL"}
    for check in checks:
        console.line(f"{marks[check.outcome]}  {check.name}: {check.detail}")
        if check.fix:
            console.line(f"      -> {check.fix}")
    return 3 if any(check.outcome is CheckOutcome.FAIL for check in checks) else 0


def _plain(check: Check) -> dict[str, str | None]:
    """Return a check as `--json` shows it."""
    return {
        "name": check.name,
        "result": check.outcome.value,
        "detail": check.detail,
        "fix": check.fix,
    }


def _python() -> Check:
    version = sys.version.split()[0]
    return Check("python", CheckOutcome.PASS, f"{version} ({sys.platform})")


def _engine() -> Check:
    """Load the native library in a process of its own, as a run does."""
    found = _try_import("xllamacpp")
    if found is None:
        return Check("embedded engine", CheckOutcome.PASS, "xllamacpp loads")
    return Check("embedded engine", CheckOutcome.FAIL, found, "pip install -U xllamacpp")


def _training() -> Check:
    missing = [
        name
        for name in ("torch", "transformers", "safetensors")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        return Check(
            "training",
            CheckOutcome.WARN,
            f"not installed: {', '.join(missing)} (only fine-tuning needs it)",
            'pip install "so8t[train]"',
        )
    return Check("training", CheckOutcome.PASS, "torch, transformers and safetensors are installed")


def _memory() -> Check:
    free = available_memory()
    if free is None:
        return Check("memory", CheckOutcome.WARN, "the system does not tell how much is available")
    result = CheckOutcome.PASS if free >= _LOW_MEMORY else CheckOutcome.WARN
    better = "close other programs, or choose a smaller quantization"
    fix = None if result is CheckOutcome.PASS else better
    return Check("memory", result, f"{size(free)} available", fix)


def _gpu() -> Check:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Check("gpu", CheckOutcome.PASS, "no NVIDIA tools found; models run on the CPU")
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return Check(
            "gpu", CheckOutcome.WARN, f"nvidia-smi: {error}", "reinstall the NVIDIA driver"
        )
    if answer.returncode:
        said = (answer.stdout + answer.stderr).strip()
        return Check("gpu", CheckOutcome.WARN, f"nvidia-smi: {said}", "reinstall the NVIDIA driver")
    return Check("gpu", CheckOutcome.PASS, answer.stdout.strip().replace("\n", "; "))


def _clock() -> Check:
    now = system_now()
    if now.year < _BUILT:
        return Check("clock", CheckOutcome.WARN, f"it says {now:%Y-%m-%d}", "set the system clock")
    return Check("clock", CheckOutcome.PASS, f"{now:%Y-%m-%d %H:%M} UTC")


def _disk(directory: Path) -> Check:
    free = free_bytes(directory.absolute())
    if free is None:
        return Check("disk", CheckOutcome.WARN, "the system does not tell how much is free")
    result = CheckOutcome.PASS if free >= _LOW_DISK else CheckOutcome.WARN
    fix = None if result is CheckOutcome.PASS else "make room, or set `output` to a larger disk"
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
        return Check(
            "journal", CheckOutcome.FAIL, str(error), "choose another directory for `output`"
        )
    result = CheckOutcome.PASS if each < _SLOW_COMMIT else CheckOutcome.WARN
    fix = (
        None
        if result is CheckOutcome.PASS
        else "a local SSD would be faster; nothing is wrong otherwise"
    )
    return Check("journal", result, f"a durable commit takes {each * 1000:.1f} ms here", fix)


def _plugins() -> list[Check]:
    """Say what comes from other distributions, and what of it cannot be used."""
    found = []
    for plugins in (ENGINES, GRADERS.plugins, FAMILIES):
        problems = {problem.name: problem.message for problem in plugins.problems()}
        for name, where in plugins.foreign().items():
            what = f"{plugins.what} {name}"
            if name not in problems:
                found.append(Check(what, CheckOutcome.PASS, f"from {where}"))
        fix = "update or uninstall that distribution"
        found += [
            Check(f"{plugins.what} {name}", CheckOutcome.FAIL, message, fix)
            for name, message in problems.items()
        ]
    return found


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
        return Check("kill test", CheckOutcome.PASS, said)
    return Check(
        "kill test",
        CheckOutcome.FAIL,
        said,
        "another disk or file system for `output`; report this",
    )


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
