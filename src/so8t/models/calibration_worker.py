"""The child-process side of `so8t.models.calibration.make_imatrix`.

Run as `python -m so8t.models.calibration_worker`; a request is {"directory", "out", "text",
"data"}.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from so8t.errors import DataError, ModelError
from so8t.models.calibration import CHUNK, LEAST_TOKENS, MOST_CHUNKS
from so8t.models.child_work import import_models, serve_work
from so8t.models.gguf_convert import read_config
from so8t.models.gguf_families import read_architecture
from so8t.models.imatrix import write_imatrix
from so8t.models.training_data import read_conversations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from so8t.models.child_work import Tell


class Sums:
    """Sums of squares of what goes into each linear layer, by column, in float64."""

    def __init__(self, model: Any, names: Mapping[str, str]) -> None:
        """Watch the layers of `model` whose weights have a name in `names` (their GGUF names)."""
        import torch  # noqa: PLC0415 - loaded already, by `import_models`

        self.sums: dict[str, Any] = {}
        self.counts: dict[str, int] = {}
        for name, module in model.named_modules():
            target = names.get(f"{name}.weight")
            if target is not None and isinstance(module, torch.nn.Linear):
                module.register_forward_pre_hook(self._watch(target))

    def _watch(self, name: str) -> Any:
        def add(_module: Any, arguments: tuple[Any, ...]) -> None:
            rows = arguments[0].detach().reshape(-1, arguments[0].shape[-1])
            squares = rows.double().square().sum(dim=0)
            self.sums[name] = squares + self.sums.get(name, 0)
            self.counts[name] = self.counts.get(name, 0) + len(rows)

        return add


def _texts(request: dict[str, Any], tokenizer: Any) -> list[str]:
    """Return the text to read; conversations as the chat template writes them."""
    if request["text"] is not None:
        try:
            return [Path(request["text"]).read_text("utf-8")]
        except UnicodeDecodeError:
            raise DataError(
                "the calibration text is not UTF-8.", file=request["text"], hint="save it as UTF-8"
            ) from None
    conversations = read_conversations([Path(file) for file in request["data"]])
    if not tokenizer.chat_template:
        return ["\n\n".join(text for _, text in one.messages) for one in conversations]
    return [
        tokenizer.apply_chat_template(
            [{"role": role, "content": text} for role, text in one.messages], tokenize=False
        )
        for one in conversations
    ]


def _pieces(texts: list[str], tokenizer: Any, source: str) -> list[list[int]]:
    """Cut the text into pieces of CHUNK tokens, each beginning as the model's texts begin."""
    ids: list[int] = []
    for text in texts:
        if len(ids) >= CHUNK * MOST_CHUNKS:
            break
        ids += tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) < LEAST_TOKENS:
        raise DataError(
            f"the calibration text has {len(ids)} tokens; an importance matrix needs "
            f"{LEAST_TOKENS} at least, and is good from {CHUNK * MOST_CHUNKS:,} on.",
            file=source,
            hint="name a longer text with `calibration`, or leave imatrix out",
        )
    pieces = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)][:MOST_CHUNKS]
    if len(pieces) > 1 and len(pieces[-1]) < CHUNK:
        pieces.pop()
    begins = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return [[tokenizer.bos_token_id, *piece[1:]] for piece in pieces] if begins else pieces


def compute(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Read the text with the model and write the matrix; returns what was read."""
    import torch  # noqa: PLC0415 - loaded already, by `import_models`
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - likewise

    directory = Path(request["directory"])
    source = request["text"] or ", ".join(request["data"])
    architecture = read_architecture(directory / "config.json", read_config(directory))
    names = {target.source: target.name for target in architecture.tensors()}
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    pieces = _pieces(_texts(request, tokenizer), tokenizer, source)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, local_files_only=True
    ).to(device)
    model.eval()
    # The output is not weighed, as llama-imatrix leaves it out.
    sums = Sums(model, {name: target for name, target in names.items() if ".layers." in name})
    with torch.inference_mode():
        for done, piece in enumerate(pieces):
            tell(done, len(pieces))
            # The layers below the head are all that is wanted.
            model.base_model(torch.tensor([piece], device=device), use_cache=False)
    arrays = {name: values.cpu().numpy().reshape(1, -1) for name, values in sums.sums.items()}
    broken = next((name for name, values in arrays.items() if not np.isfinite(values).all()), None)
    if broken is not None or not arrays:
        raise ModelError(
            f"{directory}: {broken or 'no layer'} gives no finite activations.",
            hint="these weights are no working model",
        )
    write_imatrix(
        Path(request["out"]),
        {name: values.astype(np.float32) for name, values in arrays.items()},
        {name: np.array([count], np.float32) for name, count in sums.counts.items()},
        datasets=tuple(Path(file).name for file in source.split(", ")),
        chunks=len(pieces),
        chunk_size=CHUNK,
    )
    return {"chunks": len(pieces), "entries": len(arrays)}


if __name__ == "__main__":
    serve_work(compute, import_models)
