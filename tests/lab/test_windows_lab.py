"""The product on Windows' own Python, where a laboratory is: see docs/windows.md.

SO8T_WINDOWS_LAB names the directory with `winpy`, which runs that Python on this checkout. The
laboratory is no part of CI; without it these are skipped and say so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tiny_gguf import write_tiny_gguf

HERE = Path(__file__).parent
LABORATORY = os.environ.get("SO8T_WINDOWS_LAB")
pytestmark = [
    pytest.mark.windows_lab,
    pytest.mark.slow,
    pytest.mark.skipif(LABORATORY is None, reason="no laboratory: SO8T_WINDOWS_LAB names none"),
]


def windows(path: Path) -> str:
    """The path as Wine shows it to Windows' programs."""
    return "Z:" + str(path.resolve()).replace("/", "\\")


@pytest.fixture(scope="module")
def python():
    """Windows' Python, with what is installed of us (the entry points) as here."""
    laboratory = Path(LABORATORY or "")
    site = laboratory / "site"
    installed = Path(str(distribution("so8t").locate_file("")))
    for old in site.glob("so8t-*.dist-info"):
        shutil.rmtree(old)
    for info in installed.glob("so8t-*.dist-info"):
        shutil.copytree(info, site / info.name)
    return laboratory / "winpy"


def write_run(directory: Path) -> None:
    """A pair of tiny models and four questions, with names of Japan and line ends of Windows."""
    (directory / "模型").mkdir()
    for seed, name in ((1, "元.gguf"), (2, "調整.gguf")):
        write_tiny_gguf(directory / "模型" / name, seed=seed)
    config = (
        "name: kept\na: {source: {gguf: ./模型/元.gguf}}\nb: {source: {gguf: ./模型/調整.gguf}}\n"
        "engine: {slots: 2, threads: 1, context: 256}\ngeneration: {max_tokens: 8}\n"
        "benchmark: {suites: [./質問.jsonl], noise_floor: 0}\nverdict: {stop: full}\n"
    )
    asked = "".join(
        f'{{"id": "{n}", "category": "c", "language": "en", "prompt": "What is {n}?", '
        f'"grader": "number", "reference": "{n}"}}\n'
        for n in range(4)
    )
    for name, text in (("so8t.yaml", config), ("質問.jsonl", asked)):
        (directory / name).write_text(text, encoding="utf-8", newline="\r\n")


@pytest.mark.parametrize("check", ["files", "imports", "windowless", "autostart", "names", "run"])
def test_what_is_promised_on_windows(check, python, tmp_path):
    """Each check of windows_checks.py keeps its promise on Windows' own Python."""
    write_run(tmp_path)
    done = subprocess.run(
        [python, "-u", windows(HERE / "windows_checks.py"), check, windows(tmp_path)],
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        # Wine gives Windows' programs no handle for some files; pipes it does.
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=590,
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    print(said)
    assert done.returncode == 0
    assert said.rstrip().endswith("kept")
