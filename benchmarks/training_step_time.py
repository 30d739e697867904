"""Step time of SO(8) rotations beside LoRA and PEFT's OFT, same model, batches and settings.

    python benchmarks/training_step_time.py [--width 512] [--layers 4] [--steps 8] [--rounds 5]

A random Llama is trained on random tokens, in this process, by this project's own loop (gradient
accumulation, clipping, AdamW). The methods take turns, a few steps each, round after round, so
that a busy machine slows all of them alike; the figure is the ratio of medians to LoRA's. PEFT's
OFT (blocks of 8, the exact Cayley transform) has a plain loop of the same steps. Prints one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from so8t.config.schema import Finetune
from so8t.examples import quickstart
from so8t.models.training_data import Example
from so8t.models.training_loop import Loop
from so8t.models.training_records import Surroundings
from so8t.models.training_setting import setting_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Steps = Callable[[int], None]

METHODS = ("so8", "lora", "peft_oft")


def write_model(folder: Path, width: int, layers: int) -> None:
    """Write a random Llama with the quickstart's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(quickstart.paths().base)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 11 // 4 // 8 * 8,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64),
        num_key_value_heads=max(1, width // 128),
    )
    torch.manual_seed(1)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def batches(options: argparse.Namespace, vocabulary: int) -> list[Example]:
    """Make random conversations of one length."""
    generator = torch.Generator().manual_seed(2)
    rows = torch.randint(
        1, vocabulary, (options.batch_size, options.length), generator=generator
    ).tolist()
    return [Example(tuple(row), tuple(row)) for row in rows]


def ours(base: Path, options: argparse.Namespace, method: str) -> tuple[Steps, int]:
    """Return a function that takes steps by our own loop, and the trained parameters."""
    settings = Finetune(
        method=method,
        data=[quickstart.paths().train],
        batch_size=options.batch_size,
        micro_batch=options.micro_batch,
        max_length=max(256, options.length),
        steps=10**6,
        rank=options.rank,
        threads=options.threads,
    )
    around = Surroundings(lambda _: None, lambda *_: None, setting_of(settings))
    loop = Loop(base, "", settings, around)
    examples = batches(options, loop.model.config.vocab_size)

    def steps(count: int) -> None:
        for _ in range(count):
            loop.step(examples)

    return steps, sum(one.numel() for one in loop.method.parameters.values())


def peft_oft(base: Path, options: argparse.Namespace) -> tuple[Steps, int]:
    """Return the same for PEFT's OFT with the exact Cayley transform."""
    from peft import OFTConfig, get_peft_model  # noqa: PLC0415 - one of three

    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    config = OFTConfig(
        oft_block_size=8,
        use_cayley_neumann=False,
        target_modules=list(Finetune(data=[Path("none")]).targets),
    )
    model = get_peft_model(model, config).eval()
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.0)
    examples = batches(options, model.config.vocab_size)
    ids = torch.tensor([example.ids for example in examples])

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            for part in ids.split(options.micro_batch or len(ids)):
                logits = model(input_ids=part, use_cache=False).logits[:, :-1]
                loss = torch.nn.functional.cross_entropy(
                    logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum"
                )
                (loss / ids.numel()).backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()

    return steps, sum(one.numel() for one in trained)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--micro-batch", type=int)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="steps of a method in a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report: dict[str, Any] = {"options": vars(options), "torch": torch.__version__}
    with tempfile.TemporaryDirectory(prefix="so8t-bench-") as place:
        base = Path(place)
        write_model(base, options.width, options.layers)
        ready = {"peft_oft": peft_oft(base, options)}
        for method in ("so8", "lora"):
            ready[method] = ours(base, options, method)
        times: dict[str, list[float]] = {method: [] for method in METHODS}
        for turn in range(options.rounds + 1):
            for method in METHODS:
                began = time.process_time()
                ready[method][0](options.steps)
                if turn:  # the first round warms up
                    times[method].append((time.process_time() - began) / options.steps)
        median = {method: statistics.median(found) for method, found in times.items()}
        for method in METHODS:
            report[method] = {
                "parameters": ready[method][1],
                "cpu_seconds_a_step": round(median[method], 4),
                "to_lora": round(median[method] / median["lora"], 3),
            }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
