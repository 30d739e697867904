"""The child-process side of `so8t.models.adapters.merge_in_child`.

Run as `python -m so8t.models.adapter_worker`; a request is {"base", "adapter", "out"}.
"""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.errors import ModelError
from so8t.models.adapters import TOKENIZER_FILES
from so8t.models.checkpoint_files import beside_weights, check_agreement, weight_files
from so8t.models.child_work import import_models, serve_work
from so8t.models.tokenizer_files import VOCABULARIES, read_here
from so8t.system.files import atomic_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from so8t.models.child_work import Tell

_PROBED = 16
# A merge in half precision rounds each weight once; beyond this share of the largest logit it is
# no rounding any more.
_TOLERANCE = 0.1


def merge(base: Path, adapter: Path, out: Path) -> dict[str, Any]:
    """Merge with peft and write an ordinary directory; returns the facts of `merge_in_child`.

    Tensors that the adapter does not touch are copied as they are, and every tensor keeps the
    type that it has in the base.
    """
    import torch  # noqa: PLC0415 - only the child that merges pays for these
    from peft import PeftModel, get_peft_model_state_dict  # noqa: PLC0415
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    from so8t.models.training_model import check_loaded  # noqa: PLC0415 - torch

    logging.disable_progress_bar()
    check_agreement(base)
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            base, local_files_only=True, dtype="auto", output_loading_info=True
        )
        check_loaded(base, loading)
        adapted = PeftModel.from_pretrained(model, adapter, torch_device="cpu")
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        # Neither library has an error class of its own for what it cannot load.
        raise ModelError(
            f"{adapter}: cannot be loaded onto {base}: {_first(error)}.",
            hint="name the base that it was trained on; an adapter of a newer peft needs that peft",
        ) from error
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as tensors:
        stored = set(tensors.keys())
    # peft only warns of parts that found no place, and of places that got no part.
    different = stored ^ set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    different = {name for name in different if "embed_tokens" not in name and "lm_head" not in name}
    if different:
        raise ModelError(
            f"{adapter}: {len(different)} parts do not match the base, {min(different)!r} first.",
            hint="name the base that it was trained on as `hf:`",
        )
    adapted.eval()
    probe = torch.linspace(0, model.config.vocab_size - 1, _PROBED).long()[None]
    with torch.no_grad():
        beside = adapted(input_ids=probe).logits.float()
        try:
            model = adapted.merge_and_unload(safe_merge=True)
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"{adapter}: cannot be merged: {_first(error)}.", hint="train the adapter again"
            ) from error
        merged = model(input_ids=probe).logits.float()
    difference = (beside - merged).abs().max().item()
    if not difference <= _TOLERANCE * max(1.0, beside.abs().max().item()):
        raise ModelError(
            f"{adapter}: the merged weights answer otherwise than base and adapter side by side: "
            f"a logit differs by {difference:.3g}.",
            hint="merge it with the tool that made it, and name the merged directory as `hf:`",
        )
    with atomic_directory(out) as folder:
        rows = int(model.get_input_embeddings().weight.shape[0])
        _copy_settings(base, adapter, folder, rows)
        changed = _write_weights(base, folder, model.state_dict())
    return {"tensors": changed, "merge_error": difference}


def _write_weights(base: Path, folder: Path, merged: Mapping[str, Any]) -> int:
    """Write the base's files with the tensors that changed; returns how many did."""
    import torch  # noqa: PLC0415 - as above
    from safetensors import safe_open  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415

    changed, left = 0, set(merged)
    for shard in weight_files(base):
        with safe_open(shard, framework="pt") as source:
            tensors = {name: source.get_tensor(name) for name in source.keys()}  # noqa: SIM118 - not a dict
            metadata = source.metadata()
        left -= tensors.keys()
        for name in merged.keys() & tensors.keys():
            old, new = tensors[name], merged[name]
            if old.shape != new.shape or not torch.equal(old.to(new.dtype), new):
                tensors[name] = new.to(old.dtype).contiguous()
                changed += 1
        save_file(tensors, folder / shard.name, metadata=metadata)
    embedding = merged.get("model.embed_tokens.weight")
    for name in left:
        # A tied output layer has no tensor of its own in the file.
        if embedding is None or merged[name].shape != embedding.shape:
            continue
        if not torch.equal(merged[name], embedding):
            raise ModelError(
                f"the adapter changes {name!r} apart from the embedding, which the base has tied.",
                hint="merge it with the tool that made it, and name the merged directory as `hf:`",
            )
    if not changed:
        raise ModelError(
            "the adapter changes no weight: merged, the model is its base.",
            hint="an adapter that was never trained is all zeros; name the trained one",
        )
    return changed


def _copy_settings(base: Path, adapter: Path, folder: Path, rows: int) -> None:
    """Copy what is beside the weights; what the adapter brings of a tokenizer, in its place.

    An adapter with a vocabulary brings a whole tokenizer: none of the base's stays.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 - as above

    own = [name for name in TOKENIZER_FILES if (adapter / name).is_file()]
    replaced = any(name in own for name in VOCABULARIES)
    for file in beside_weights(base, notes=True):
        if not (replaced and file.name in TOKENIZER_FILES):
            shutil.copyfile(file, folder / file.name)
    for name in own:
        shutil.copyfile(adapter / name, folder / name)
    if not own:
        return
    source = read_here(folder).source
    largest = max(Tokenizer.from_str(json.dumps(source)).get_vocab().values())
    if largest >= rows:
        raise ModelError(
            f"{adapter}: its tokenizer has the id {largest:,}, the base's embedding {rows:,} rows.",
            hint="merge it with the tool that made it, which knows the new tokens' embeddings",
        )


def _first(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:400].rstrip(".") if lines else type(error).__name__


def _libraries() -> None:
    import_models()
    import_module("peft")


def _work(request: dict[str, Any], _tell: Tell) -> dict[str, Any]:
    return merge(Path(request["base"]), Path(request["adapter"]), Path(request["out"]))


if __name__ == "__main__":
    serve_work(_work, _libraries)
