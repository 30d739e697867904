"""Make the quickstart's base model A: a byte-level BPE tokenizer and a small Llama.

    python -m so8t.examples.quickstart.make_base [--out DIRECTORY] [--steps N]

One thread and one seed: the same versions on the same machine give the same weights. The README
beside this file has the wall time and what the model read.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.examples.quickstart import generate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SEED = 1
STEPS = 5000
TOKENS_A_BATCH = 1024
CHUNK = 4096
LEARNING_RATE = 2e-3
WARMUP = 100
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


def render(text: str | tuple[str, str]) -> str:
    """A text as the base reads it: a document, or a conversation in the chat template."""
    if isinstance(text, str):
        return text + END_OF_TEXT
    prompt, reply = text
    return f"{TURN}user\n{prompt}{END_OF_TURN}\n{TURN}assistant\n{reply}{END_OF_TURN}\n"


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


def batches(tokenizer: Any, steps: int) -> Iterator[list[list[int]]]:
    """Yield `steps` batches of about TOKENS_A_BATCH tokens, each of texts of like length."""
    rng = random.Random(SEED)
    texts: Iterable[str | tuple[str, str]] = generate.pretraining(sys.maxsize)
    pool: list[list[list[int]]] = []
    source = iter(texts)
    for _ in range(steps):
        if not pool:
            chunk = [render(next(source)) for _ in range(CHUNK)]
            rows = sorted((one.ids for one in tokenizer.encode_batch(chunk)), key=len)
            batch: list[list[int]] = []
            for row in rows:
                if (len(batch) + 1) * len(row) > TOKENS_A_BATCH and batch:
                    pool.append(batch)
                    batch = []
                batch.append(row)
            rng.shuffle(pool)
        yield pool.pop()


def train(tokenizer: Any, steps: int) -> Any:
    """Train the model from scratch with next-token prediction on every token."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    end_of_turn = tokenizer.token_to_id(END_OF_TURN)
    config = LlamaConfig(
        **SHAPE,
        vocab_size=tokenizer.get_vocab_size(),
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.token_to_id(END_OF_TEXT),
        eos_token_id=end_of_turn,
        pad_token_id=tokenizer.token_to_id(END_OF_TEXT),
        attention_bias=False,
    )
    model = LlamaForCausalLM(config)
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05
    )
    started = time.monotonic()
    for step, rows in enumerate(batches(tokenizer, steps)):
        warm = min(1.0, (step + 1) / WARMUP)
        for group in optimizer.param_groups:
            group["lr"] = (
                LEARNING_RATE
                * warm
                * (0.05 + 0.95 * (0.5 + 0.5 * math.cos(math.pi * step / steps)))
            )
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        labels = torch.tensor([row + [-100] * (width - len(row)) for row in rows])
        # Padding is on the right, so the causal mask alone keeps it from the texts.
        logits = model(input_ids=ids).logits
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            print(
                f"step {step} loss {loss.item():.4f} {time.monotonic() - started:.0f} s", flush=True
            )
    return model


def record(steps: int, tokenizer: Any, seconds: float, out: Path) -> None:
    """Write down beside the base how it was made, for the README and for the test of the suite."""
    import tokenizers
    import torch
    import transformers

    texts = sum(map(len, batches(tokenizer, steps)))
    # A chunk is read whole and then drawn from, so a little more was generated than was read.
    generated = math.ceil(texts / CHUNK + 1) * CHUNK
    made = {
        "steps": steps,
        "seed": SEED,
        "texts": generated,
        "threads": 1,
        "wall_seconds": round(seconds),
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
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "base")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    started = time.monotonic()
    tokenizer = make_tokenizer()
    model = train(tokenizer, options.steps)
    save(tokenizer, model, options.out)
    record(options.steps, tokenizer, time.monotonic() - started, options.out)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{count} parameters, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
