"""What the Ollama engine can do."""

from __future__ import annotations

from so8t.engines.ollama.sources import QUANTIZATIONS
from so8t.engines.protocol import Capabilities

CAPABILITIES = Capabilities(
    registers=True,
    imports_directories=True,
    quantizes=tuple(name.lower() for name in QUANTIZATIONS),
    local=True,
    processes=("ollama",),
)
