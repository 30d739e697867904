"""The child-process side of `so8t.models.tokenizer_files.resolve_tokenizer`.

Run as `python -m so8t.models.tokenizer_worker`; a request is {"directory", "out"}.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.models.child_work import import_tokenizers, serve_work
from so8t.models.tokenizer_files import write_here

if TYPE_CHECKING:
    from so8t.models.child_work import Tell


def _work(request: dict[str, Any], _tell: Tell) -> dict[str, Any]:
    write_here(Path(request["directory"]), Path(request["out"]))
    return {}


if __name__ == "__main__":
    # A tokenizer needs no torch, whose import would be most of this child's time and memory.
    sys.modules["torch"] = None  # type: ignore[assignment]
    serve_work(_work, import_tokenizers)
