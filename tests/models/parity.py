"""Compares a GGUF file in llama.cpp with its original in transformers, token by token."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CHILD = Path(__file__).with_name("llama_child.py")
STEPS = 2


@dataclass
class Parity:
    """Outcome for one model: the largest log-probability difference, and what did not match."""

    difference: float
    greedy_mismatches: int
    token_mismatches: list[str]


def run_llama(job: dict, directory: Path) -> list[dict]:
    """Run requests on a GGUF file in a child process."""
    question, answer = directory / "job.json", directory / "answer.json"
    question.write_text(json.dumps(job), "utf-8")
    done = subprocess.run(
        [sys.executable, str(CHILD), str(question), str(answer)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(answer.read_text("utf-8"))


def token_ids(gguf: Path, texts: list[str]) -> list[list[int]]:
    """Token ids that llama.cpp gives to texts, special tokens included."""
    return run_llama({"model": str(gguf), "context": 64, "texts": texts}, gguf.parent)


def forced(prompt: str | list[int], continuation: list[int], count: int) -> dict:
    """Ask for the log probabilities of all `count` tokens along a given continuation.

    Forcing matters: llama.cpp drops the entry of a token that ends within a character, and then
    the first entry that comes back belongs to a later position.
    """
    return {
        "prompt": prompt,
        "n_predict": len(continuation),
        "n_probs": count,
        "temperature": 0,
        "post_sampling_probs": False,
        "cache_prompt": False,
        "grammar": "root ::= " + " ".join(f"<[{token}]>" for token in continuation),
    }


def whole_tokens(tokenizer, count: int) -> list[int]:
    """Ids of ordinary text: whole printable characters, which a grammar can ask for by id."""
    texts = tokenizer.decode_batch([[token] for token in range(count)], skip_special_tokens=True)
    return [
        token
        for token, text in enumerate(texts)
        if text.strip() and text.isprintable() and "\ufffd" not in text
    ]


def compare(
    model, tokenizer, gguf: Path, prompts: list[str], *, context: int = 512, **job
) -> Parity:
    """Compare on string prompts, so that both sides tokenize for themselves.

    `tokenizer` is a `tokenizers.Tokenizer`. Along two forced tokens, the distributions over the
    full vocabulary are compared; the cache is F32, so that only the file can differ.
    """
    import torch  # noqa: PLC0415 - as in hf_models

    count = model.config.vocab_size
    usable = torch.tensor(whole_tokens(tokenizer, tokenizer.get_vocab_size()))
    encoded, expected, requests = [], [], []
    for prompt in prompts:
        ids = tokenizer.encode(prompt).ids
        sequence = list(ids)
        rows = []
        with torch.no_grad():
            for _ in range(STEPS):
                logits = model(torch.tensor([sequence])).logits[0, -1].double()
                rows.append(torch.log_softmax(logits, -1))
                sequence.append(int(usable[logits[usable].argmax()]))
        encoded.append(ids)
        expected.append(torch.stack(rows))
        requests.append(forced(prompt, sequence[len(ids) :], count))
    job = {
        "model": str(gguf),
        "context": context,
        "cache_type": "GGML_TYPE_F32",
        "flash_attention": False,
        "requests": requests,
        **job,
    }
    replies = run_llama(job, gguf.parent)
    errors = [reply for reply in replies if "usage" not in reply]
    assert not errors, errors[0]
    difference, greedy, tokens = 0.0, 0, []
    for prompt, ids, rows, reply in zip(prompts, encoded, expected, replies, strict=True):
        if reply["usage"]["prompt_tokens"] != len(ids):
            tokens.append(prompt)
            continue
        entries = reply["choices"][0]["logprobs"]["content"]
        assert len(entries) == STEPS
        for row, entry in zip(rows, entries, strict=True):
            got = torch.full((count,), torch.nan, dtype=torch.double)
            for item in entry["top_logprobs"]:
                got[item["id"]] = item["logprob"]
            worst = float((got - row).abs().nan_to_num(torch.inf).max())
            difference = max(difference, worst)
            greedy += int(got.argmax()) != int(row.argmax())
    return Parity(difference, greedy, tokens)
