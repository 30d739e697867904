"""What the embedded engine can do."""

from __future__ import annotations

from so8t.engines.protocol import Capabilities

CAPABILITIES = Capabilities(
    exact_likelihood=True,
    loads_files=True,
    renders_templates=True,
    continues_prompts=True,
    local=True,
    measures_threads=True,
    cache_types=("f16", "q8_0"),
)
