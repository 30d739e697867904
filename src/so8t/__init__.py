"""SO8T A/B: is the model you made better than the one you made it from?

    >>> run = so8t.run("so8t.yaml")     # or a mapping; the same call goes on where it stopped
    >>> run.verdict
    >>> so8t.load("runs/x").to_pandas()
    >>> so8t.compare("a.jsonl", "b.jsonl").verdict
    >>> so8t.decide([0, 1, 1], [1, 1, 1])

Everything here is loaded when it is first used; what is not listed in `__all__` is private.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from so8t.api.loaded import Run, load
    from so8t.api.results import compare, decide
    from so8t.api.running import run
    from so8t.autostart.resume import AutoStartCompleteABPipeline
    from so8t.config.load import load_config
    from so8t.pipeline.benchmark.phase4 import Phase4BenchmarkRunner
    from so8t.pipeline.complete import CompleteAutomatedABPipeline
    from so8t.resources.balancer import ResourceBalancer

__version__ = "0.1.0"

__all__ = [
    "AutoStartCompleteABPipeline",
    "CompleteAutomatedABPipeline",
    "Phase4BenchmarkRunner",
    "ResourceBalancer",
    "Run",
    "compare",
    "decide",
    "load",
    "load_config",
    "run",
]

_HOMES = {
    "AutoStartCompleteABPipeline": "so8t.autostart.resume",
    "CompleteAutomatedABPipeline": "so8t.pipeline.complete",
    "Phase4BenchmarkRunner": "so8t.pipeline.benchmark.phase4",
    "ResourceBalancer": "so8t.resources.balancer",
    "Run": "so8t.api.loaded",
    "compare": "so8t.api.results",
    "decide": "so8t.api.results",
    "load": "so8t.api.loaded",
    "load_config": "so8t.config.load",
    "run": "so8t.api.running",
}


def __getattr__(name: str) -> object:
    """Import what was asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'so8t' has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
