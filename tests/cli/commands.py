"""What the tests of the command line share: a command run in this process, and a suite to run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from so8t.cli import invoke

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def so8t(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command in this process: exit code, standard output, standard error."""
    code = invoke(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def write_suite(directory: Path, count: int) -> None:
    """Write a suite that a toy which says the alphabet answers rightly: until its stop, `abc`."""
    lines = [
        {
            "id": str(n),
            "category": "letters",
            "prompt": f"{n}: say the alphabet",
            "grader": "exact",
            "reference": "abc",
        }
        for n in range(count)
    ]
    (directory / "suite.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
