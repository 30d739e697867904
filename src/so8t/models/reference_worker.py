"""The child-process side of `so8t.models.reference.reference_of`.

Run as `python -m so8t.models.reference_worker`; a request is {"directory", "out", "threads"}.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.errors import ModelError
from so8t.models.child_work import import_models, serve_work
from so8t.models.reference import POSITIONS, PROMPTS, wanted_texts
from so8t.models.tokenizer_files import load_tokenizer

if TYPE_CHECKING:
    from so8t.models.child_work import Tell


def _work(request: dict[str, Any], _tell: Tell) -> dict[str, Any]:
    import torch  # noqa: PLC0415 - loaded by `import_models`
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - as above

    from so8t.models.training_model import check_loaded  # noqa: PLC0415 - torch

    directory = Path(request["directory"])
    if request["threads"]:
        torch.set_num_threads(request["threads"])
    try:
        tokenizer = load_tokenizer(directory)
        model, loading = AutoModelForCausalLM.from_pretrained(
            directory, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, ImportError) as error:
        raise ModelError(
            f"{directory}: transformers cannot load it: {str(error)[:300]}.",
            hint="save the model again with a current transformers",
        ) from error
    check_loaded(directory, loading)
    model.eval()
    every = wanted_texts()
    texts = [text for text in every if not _brought_to_nfc(tokenizer, text)]
    ids = [list(tokenizer(text)["input_ids"]) for text in texts]
    prompts = [
        one
        for text, one in zip(texts, ids, strict=True)
        if text in PROMPTS and len(one) > POSITIONS
    ]
    vocabulary = 0
    with torch.no_grad(), Path(request["out"]).open("wb") as out:
        for prompt in prompts:
            logits = model(torch.tensor([prompt]), use_cache=False).logits[0, -POSITIONS:]
            rows = torch.log_softmax(logits.float(), -1)
            vocabulary = rows.shape[-1]
            out.write(rows.numpy().tobytes())
    return {
        "texts": texts,
        "ids": ids,
        "prompts": prompts,
        "normalized": len(every) - len(texts),
        "vocabulary": vocabulary,
    }


def _brought_to_nfc(tokenizer: Any, text: str) -> bool:
    normalizer = tokenizer.backend_tokenizer.normalizer
    if normalizer is None or unicodedata.is_normalized("NFC", text):
        return False
    return bool(normalizer.normalize_str(text) == unicodedata.normalize("NFC", text))


if __name__ == "__main__":
    serve_work(_work, import_models)
