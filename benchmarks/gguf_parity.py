"""The parity table: llama.cpp on converted models against transformers, five families.

    python benchmarks/gguf_parity.py [--types f32 f16] [--vocabularies DIR]

Random weights (float32, two layers) and tokenizers trained on the tests' own text in the form of
each family's; with `--vocabularies`, also the real vocabularies of GPT-2 and Phi-3 that llama.cpp
publishes as `ggml-vocab-*.gguf`. For each prompt both sides tokenize the text themselves; then the
log probabilities of the whole vocabulary are compared at two positions. One JSON object a row.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from so8t.models.gguf_convert import convert

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "models"))

import parity
from tokenizers import Tokenizer

import hf_models as hf
from hf_directories import CHATS, FAMILIES, build, real_tokenizer


def row(
    name: str, model: Any, tokenizer: Any, directory: Path, kind: str, prompts: list[str]
) -> None:
    """Convert to `kind`, compare, and print."""
    result = convert(directory, directory / f"{kind}.gguf", kind)
    found = parity.compare(model, tokenizer, result.path, prompts)
    print(
        json.dumps(
            {
                "family": name,
                "type": kind,
                "vocabulary": model.config.vocab_size,
                "prompts": len(prompts),
                "token_mismatches": len(found.token_mismatches),
                "greedy_mismatches": found.greedy_mismatches,
                "largest_difference": float(f"{found.difference:.3g}"),
            }
        ),
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--types", nargs="+", default=["f32", "f16"])
    parser.add_argument("--vocabularies", type=Path)
    wanted = parser.parse_args()
    for family, (kind, changes) in FAMILIES.items():
        with tempfile.TemporaryDirectory() as place:
            model, tokenizer = build(Path(place), family, kind, **changes)
            for quantization in wanted.types:
                prompts = [*hf.PROMPTS, *CHATS[kind]]
                row(family, model, tokenizer, Path(place), quantization, prompts)
    for name, family in (("gpt-2", "Qwen2"), ("phi-3", "Phi3")) if wanted.vocabularies else ():
        with tempfile.TemporaryDirectory() as place:
            directory = Path(place)
            real_tokenizer(wanted.vocabularies / f"ggml-vocab-{name}.gguf", directory)
            tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
            model = hf.save_model(family, directory)
            title = f"{family} with {name}'s real vocabulary"
            row(title, model, tokenizer, directory, "f32", hf.PROMPTS)


if __name__ == "__main__":
    main()
