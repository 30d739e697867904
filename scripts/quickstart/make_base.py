"""Make the quickstart's base model A: a byte-level BPE tokenizer and a small Llama.

    python scripts/quickstart/make_base.py [--out DIRECTORY] [--steps N]

One thread and one seed: the same versions on the same machine give the same weights. The README
beside the data has the wall time and what the model read.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import generate

from so8t.examples import QUICKSTART

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEED = 1
STEPS = 4500
ROW = 72
ROWS_A_STEP = 14
CHUNK = 4096
LEARNING_RATE = 3e-3
WARMUP = 200
VOCABULARY = 1792
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
}

END_OF_TEXT, TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' "
    "+ message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Qwen2's pre-tokenizer, which llama.cpp knows under the name qwen2: digits stand alone.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


# Between two characters that are not spaces, beside a kanji numeral or a bracket.
APART = r"(?<=\S)(?=[〇一二三四五六七八九十「」（）])|(?<=[〇一二三四五六七八九十「」（）])(?=\S)"


def render(text: str | tuple[str, str]) -> tuple[str, str]:
    """A text in two parts, as it stands and as it is learnt: a document, or a prompt and reply."""
    if isinstance(text, str):
        return "", text + END_OF_TEXT
    prompt, reply = text
    return f"{TURN}user\n{prompt}{END_OF_TURN}\n{TURN}assistant\n", f"{reply}{END_OF_TURN}"


def make_tokenizer() -> Any:
    """Train the tokenizer on a part of what the base reads."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT, TURN, END_OF_TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Kanji numerals and brackets are kept apart from their neighbours, as the pre-tokenizer does
    # with digits: a token for a whole numeral would hide the digits that it is composed of.
    texts = (
        re.sub(APART, "\n", part)
        for text in generate.pretraining(40000)
        for part in ([text] if isinstance(text, str) else text)
    )
    tokenizer.train_from_iterator((*texts, *["user\nassistant\nsystem"] * 20000), trainer)
    return tokenizer


def rows(tokenizer: Any) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Yield rows without end: as many whole texts as fit into ROW tokens, each (given, learnt)."""
    row: list[tuple[list[int], list[int]]] = []
    free = ROW
    source = generate.pretraining(sys.maxsize)
    while True:
        parts = [part for _ in range(CHUNK) for part in render(next(source))]
        encoded = iter([one.ids for one in tokenizer.encode_batch(parts)])
        for given, learnt in zip(encoded, encoded, strict=True):
            if len(given) + len(learnt) > free:
                yield row
                row, free = [], ROW
            row.append((given, learnt))
            free -= len(given) + len(learnt)


def tensors(batch: list[list[tuple[list[int], list[int]]]]) -> tuple[Any, Any, Any, Any]:
    """Return ids, positions, labels (rows, ROW) and a mask that keeps each text to itself."""
    import torch

    ids = torch.zeros(len(batch), ROW, dtype=torch.long)
    positions, owners = torch.zeros_like(ids), torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for number, row in enumerate(batch):
        start = 0
        for owner, (given, learnt) in enumerate(row, start=1):
            end = start + len(given) + len(learnt)
            ids[number, start:end] = torch.tensor(given + learnt)
            positions[number, start:end] = torch.arange(end - start)
            owners[number, start:end] = owner
            # A label stands where the token before it does; the first token has none before it.
            first = max(len(given), 1)
            labels[number, start + first - 1 : end - 1] = torch.tensor((given + learnt)[first:])
            start = end
    same = owners[:, :, None] == owners[:, None, :]
    mask = (same & torch.ones(ROW, ROW, dtype=torch.bool).tril())[:, None]
    return ids, positions, labels, mask


def train(tokenizer: Any, steps: int, report: Callable[[int, float, Any], None]) -> tuple[Any, int]:
    """Train from scratch on documents and on replies; return the model and the texts' number."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    config = LlamaConfig(
        **SHAPE,
        vocab_size=tokenizer.get_vocab_size(),
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.token_to_id(END_OF_TEXT),
        eos_token_id=tokenizer.token_to_id(END_OF_TURN),
        pad_token_id=tokenizer.token_to_id(END_OF_TEXT),
        attention_bias=False,
    )
    model = LlamaForCausalLM(config)
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05
    )
    source = rows(tokenizer)
    texts = 0
    for step in range(steps):
        batch = [next(source) for _ in range(ROWS_A_STEP)]
        texts += sum(map(len, batch))
        ids, positions, labels, mask = tensors(batch)
        fall = 0.05 + 0.95 * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * fall * min(1.0, (step + 1) / WARMUP)
        logits = model(input_ids=ids, position_ids=positions, attention_mask=mask).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        report(step + 1, loss.item(), model)
    return model, texts


def record(texts: int, seconds: float, processor_seconds: float, out: Path) -> None:
    """Write down beside the base how it was made, for the README and for the test of the suite."""
    import tokenizers
    import torch
    import transformers

    made = {
        "seed": SEED,
        "steps": STEPS,
        "texts": texts,
        "threads": 1,
        "wall_seconds": round(seconds),
        "processor_seconds": round(processor_seconds),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }
    path = out.with_name(f"{out.name}.made.json")
    path.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def save(tokenizer: Any, model: Any, out: Path) -> None:
    """Write a Hugging Face directory in float16."""
    import torch
    from transformers import GenerationConfig

    out.mkdir(parents=True, exist_ok=True)
    model.to(torch.float16).save_pretrained(out)
    GenerationConfig(
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
        do_sample=False,
    ).save_pretrained(out)
    tokenizer.save(str(out / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "bos_token": None,
        "eos_token": END_OF_TURN,
        "pad_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
        "model_max_length": SHAPE["max_position_embeddings"],
        "chat_template": TEMPLATE,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def main() -> None:
    """Make the base and say how long it took."""
    parser = argparse.ArgumentParser(description="Make the quickstart's base model.")
    parser.add_argument("--out", type=Path, default=QUICKSTART / "base")
    options = parser.parse_args()
    started = time.monotonic()

    def report(step: int, loss: float, _: Any) -> None:
        if step % 100 == 0:
            print(f"step {step}/{STEPS} loss {loss:.3f} {time.monotonic() - started:.0f} s")

    tokenizer = make_tokenizer()
    model, texts = train(tokenizer, STEPS, report)
    save(tokenizer, model, options.out)
    record(texts, time.monotonic() - started, time.process_time(), options.out)


if __name__ == "__main__":
    main()
