"""The child-process side of `so8t.models.thinking_tokens.add_in_child`.

Run as `python -m so8t.models.thinking_worker`; a request is {"base", "out"}. What was written is
read back with transformers, since only that knows what a tokenizer class makes of the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.domain.thinking_format import TAGS
from so8t.errors import ModelError
from so8t.models.child_work import import_tokenizers, serve_work
from so8t.models.thinking_tokens import add_thinking_tokens
from so8t.system.files import remove_tree

if TYPE_CHECKING:
    from so8t.models.child_work import Tell


def add_and_check(base: Path, out: Path) -> dict[str, Any]:
    """Add the tokens, and raise ModelError unless transformers splits no tag afterwards."""
    from transformers import AutoTokenizer  # noqa: PLC0415 - seconds, and only in this child

    facts = add_thinking_tokens(base, out)
    tokenizer = AutoTokenizer.from_pretrained(out, local_files_only=True)
    for tag in TAGS:
        ids = tokenizer(f"a{tag}b", add_special_tokens=False)["input_ids"]
        if facts["ids"][tag] not in ids:
            remove_tree(out)
            raise ModelError(
                f"{base}: its tokenizer class does not keep {tag} as one token.",
                hint="save the tokenizer with a current transformers, and use that directory",
            )
    return facts


def _work(request: dict[str, Any], _tell: Tell) -> dict[str, Any]:
    return add_and_check(Path(request["base"]), Path(request["out"]))


if __name__ == "__main__":
    serve_work(_work, import_tokenizers)
