"""A small whole run for the tests of `import so8t`: two tiny models, a dozen questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tiny_gguf import write_tiny_gguf


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A directory with a config, its models and its suite, in which the test stands."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a", 1), ("b", 2)):
        write_tiny_gguf(tmp_path / f"{name}.gguf", seed=seed)
    lines = [
        {
            "id": str(n),
            "category": "letters",
            "prompt": f"{n}: say the alphabet",
            "grader": "exact",
            "reference": "abc" if n % 2 else "never",
        }
        for n in range(12)
    ]
    Path("suite.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    Path("so8t.yaml").write_text(json.dumps(CONFIG))
    return tmp_path


#: A config as a mapping; YAML reads JSON.
CONFIG = {
    "name": "letters",
    "a": {"label": "before", "source": {"gguf": "a.gguf"}},
    "b": {"label": "after", "source": {"gguf": "b.gguf"}},
    "engine": {"kind": "embedded", "slots": 1, "threads": 1, "context": 64},
    "benchmark": {"suites": ["suite.jsonl"]},
    "generation": {"max_tokens": 8},
    "keep_awake": False,
}
