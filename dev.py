"""Two commands on a fresh machine: `python dev.py demo` and `python dev.py test`.

Only Python >= 3.11 is needed (Linux, macOS, Windows). Everything is installed into `.venv` beside
this file, in the versions of `constraints.txt`; what is there already is not installed again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
CONSTRAINTS = ROOT / "constraints.txt"
OLDEST = (3, 11)
PARALLEL = ("-n", "2", "--dist", "worksteal")
COVERED = ("tests/domain", "tests/verdict", "tests/journal")
EVERYTHING = "train,hf,search,policy,dev"


def main() -> int:
    """Run the command that was asked for and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="install what is needed, run the main job on a tiny model")
    commands.add_parser(
        "test", help="install what is needed, run the checks and tests (--all: all)"
    )
    commands.add_parser("setup", help="only install, with what development needs")
    parsed, rest = parser.parse_known_args()
    if sys.version_info < OLDEST:
        return _stop(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}.")
    actions = {"demo": _demo, "test": _test, "setup": _setup}
    try:
        return actions[parsed.command](rest)
    except subprocess.CalledProcessError as error:
        command = " ".join(str(part) for part in error.cmd)
        return _stop(f"this command failed with exit code {error.returncode}:\n  {command}")


def _demo(rest: list[str]) -> int:
    _install("train")
    return _run([PYTHON, "-m", "so8t", "demo", *rest])


def _setup(_rest: list[str]) -> int:
    _install(EVERYTHING)
    return 0


def _test(rest: list[str]) -> int:
    """Run the checks in the order in which they fail fastest; with arguments, pytest only.

    Without arguments what takes minutes is left out (marked `slow`); `--all` is everything.
    """
    _install(EVERYTHING)
    pytest = [PYTHON, "-m", "pytest"]
    everything = rest == ["--all"]
    if rest and not everything:
        return _run([*pytest, *rest])
    steps: list[list[str | Path]] = [
        [BIN / "ruff", "check", "."],
        [BIN / "ruff", "format", "--check", "."],
        [BIN / "lint-imports"],
        [BIN / "mypy"],
    ]
    if everything:
        # Coverage doubles the time of tests: only the pure rules and the journal have it.
        steps += [
            [*pytest, *PARALLEL, *COVERED, "--cov", "--cov-report=term:skip-covered"],
            [*pytest, *PARALLEL, *(f"--ignore={directory}" for directory in COVERED)],
        ]
    else:
        steps.append([*pytest, *PARALLEL, "-m", "not slow"])
    for step in steps:
        _say(f"$ {' '.join(Path(part).name for part in step)}")
        code = _run(step)
        if code:
            return code
    return 0


def _install(extras: str) -> None:
    """Make the virtual environment and install the locked versions, unless that was done."""
    wanted = _fingerprint()
    marker = VENV / ".so8t-installed"
    done = dict(
        line.split("=", 1) for line in (marker.read_text().splitlines() if marker.exists() else [])
    )
    have = set(done.get("extras", "").split(",")) if done.get("fingerprint") == wanted else set()
    if set(extras.split(",")) <= have and PYTHON.exists():
        _say("skipped: installation (.venv is up to date)")
        return
    started = time.monotonic()
    if PYTHON.exists():
        _say("skipped: making .venv (it is there)")
    else:
        _say("making .venv")
        venv.EnvBuilder(with_pip=True).create(VENV)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    locked = ["--constraint", CONSTRAINTS]
    _say("installing the locked versions (the first time takes some minutes)")
    # torch first and alone: asked for by its exact version, pip takes a build that is at hand
    # (a local wheel, an index of CPU builds named in PIP_EXTRA_INDEX_URL) before any other.
    subprocess.run([*pip, *locked, _pin("torch")], check=True)
    every = ",".join(sorted(set(extras.split(",")) | have))
    subprocess.run([*pip, *locked, "--editable", f"{ROOT}[{every}]"], check=True)
    marker.write_text(f"fingerprint={wanted}\nextras={every}\n")
    _say(f"installed in {time.monotonic() - started:.0f} s")


def _fingerprint() -> str:
    hasher = hashlib.sha256(sys.version.encode())
    for file in (ROOT / "pyproject.toml", CONSTRAINTS):
        hasher.update(file.read_bytes())
    return hasher.hexdigest()


def _pin(package: str) -> str:
    for line in CONSTRAINTS.read_text().splitlines():
        if line.startswith(f"{package}=="):
            return line.split(";")[0].strip()
    raise SystemExit(f"{CONSTRAINTS.name} does not lock {package}")


def _run(command: list[str | Path]) -> int:
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def _say(text: str) -> None:
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


def _stop(text: str) -> int:
    _say(text)
    return 1


if __name__ == "__main__":
    sys.exit(main())
