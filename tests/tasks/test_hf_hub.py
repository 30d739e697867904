"""Data sets from the hub and from its cache, with the real `datasets` and a hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hub_server import hub

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = ("premise", "choice1", "choice2", "question", "idx", "label")
ROWS = [
    ("The cup fell.", "It broke.", "It sang.", "effect", 0, 0),
    ("The dog was wet.", "It slept.", "It swam.", "cause", 1, 1),
]
CARD = """---
configs:
- config_name: copa
  data_files:
  - split: train
    path: copa/train.jsonl
  - split: validation
    path: copa/validation.jsonl
---
"""
LOAD = """
import json
from so8t.errors import PrerequisiteError
from so8t.tasks.hf.bridge import load_hf_task
try:
    print(json.dumps([[s.id, s.digest, s.reference] for s in load_hf_task("superglue/copa")]))
except PrerequisiteError as error:
    print(json.dumps({"message": error.message, "hint": error.hint}))
"""


def _loaded(home: Path, **environment: str) -> Any:
    """Load in a process of its own: the hub's settings are read when it is imported."""
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("HF_", "TRANSFORMERS_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        env={**clean, "HF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_set_comes_from_the_hub_once_and_then_from_its_cache(tmp_path: Path) -> None:
    """Without data_dir the hub gives the set; without a network its cache gives the same."""
    data = "".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in ROWS).encode()
    files = {
        "README.md": CARD.encode(),
        "copa/train.jsonl": data,
        "copa/validation.jsonl": data,
    }
    with hub("aps/super_glue", files) as server:
        first = _loaded(tmp_path, HF_ENDPOINT=server.address)
        assert [row[0] for row in first] == ["copa/0", "copa/1"]
        assert any("copa/validation.jsonl" in one for one in server.asked)
        server.asked.clear()
        assert _loaded(tmp_path, HF_ENDPOINT=server.address, HF_HUB_OFFLINE="1") == first
        assert not server.asked
    lost = _loaded(tmp_path / "empty", HF_HUB_OFFLINE="1")
    assert "'copa'" in lost["message"]
    assert "aps/super_glue" in lost["message"]
    assert "data_dir" in lost["hint"]
    assert "HF_HOME" in lost["hint"]
