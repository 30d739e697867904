"""A complete run in seconds: the quickstart's base model, three steps, a few questions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from so8t.examples import DEMO

if TYPE_CHECKING:
    from pathlib import Path

QUICKSTART = DEMO.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}


def write_config(directory: Path, *, questions: int = 40, steps: int = 3, extra: str = "") -> Path:
    """Write a small config with its own excerpt of the quickstart's data."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, count in (("suite.jsonl", questions), ("train.jsonl", 64)):
        lines = (QUICKSTART / name).read_text(encoding="utf-8").splitlines()
        step = max(1, len(lines) // count)
        (directory / name).write_text("\n".join(lines[::step][:count]) + "\n", encoding="utf-8")
    path = directory / "so8t.yaml"
    path.write_text(
        f"""\
name: tiny
a:
  source: {{hf: {json.dumps(str(QUICKSTART / "base"))}}}
b:
  finetune: {{data: [train.jsonl], steps: {steps}, batch_size: 4, warmup_steps: 1, threads: 1}}
engine: {{slots: 1, threads: 1, context: 256}}
generation: {{max_tokens: 12}}
benchmark: {{suites: [suite.jsonl], noise_floor: 4}}
verdict: {{stop: full}}
{extra}""",
        encoding="utf-8",
    )
    return path


def command(config: Path, *arguments: str) -> list[str]:
    output = str(config.parent / "runs")
    return [sys.executable, "-m", "so8t", "run", str(config), "--output", output, *arguments]


def run(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(config, *arguments),
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
        timeout=600,
    )


def run_directory(config: Path) -> Path:
    return config.parent / "runs" / "tiny"
