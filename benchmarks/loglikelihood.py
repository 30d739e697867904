"""Log likelihood of four-choice questions: our embedded engine against `lm_eval --model hf`.

    python benchmarks/loglikelihood.py [--questions 24] [--tiny 64] [--threads 1]

Three ratios in one run, each with the same questions, model and number of threads on both sides,
models loaded beforehand: a random Llama of about 100 million parameters in Q8_0 and in f32 against
lm-eval in float32, and the quickstart's model in f32. lm-eval runs at the best of its batch sizes.
Goals: at least 3, 2 and 1 times as many questions a second.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from so8t.domain.exchange import Arm, Continuation, EngineRequest, Form, LoadProfile, ServedModel
from so8t.domain.measured import read_measured
from so8t.engines.embedded import EmbeddedEngine
from so8t.examples import DEMO
from so8t.models.gguf_convert import convert

BASE = DEMO.parent / "base"
BATCHES = (1, 4, 16, 32)
WORDS = ["red", "house", "stands", "by", "river", "and", "many", "people", "walk", "there", "comes"]


def questions(count: int) -> list[tuple[str, list[str]]]:
    """Return contexts of about a hundred tokens, each with four continuations of a few tokens."""
    rng = random.Random(5)
    return [
        (
            "Question: " + " ".join(rng.choice(WORDS) for _ in range(75)) + "?\nAnswer:",
            [" " + " ".join(rng.choice(WORDS) for _ in range(1 + k % 3)) for k in range(4)],
        )
        for _ in range(count)
    ]


def write_model(directory: Path) -> None:
    """Write a random Llama of about 100 million parameters with the quickstart's tokenizer."""
    import torch  # noqa: PLC0415 - an extra
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 - an extra

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32000, hidden_size=640, intermediate_size=1792, num_hidden_layers=12,
        num_attention_heads=10, num_key_value_heads=10, max_position_embeddings=512,
        tie_word_embeddings=False, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    print(f"random model: {sum(p.numel() for p in model.parameters()) / 1e6:.1f}M parameters")
    model.save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BASE / name, directory / name)


def ours(model: Path, asked: list[tuple[str, list[str]]], threads: int) -> tuple[float, Any]:
    """Return questions a second and the likelihoods, loading aside."""
    requests = [
        EngineRequest(
            str(number), (), form=Form(tuple(Continuation(context, one) for one in choices))
        )
        for number, (context, choices) in enumerate(asked)
    ]
    served = ServedModel(Arm.A, str(model), "sha256:0")
    profile = LoadProfile(slots=1, context=512, threads=threads)
    with EmbeddedEngine().open(served, profile) as session:
        list(session.serve(requests[:1]))
        best, found = 0.0, {}
        for _ in range(2):
            started = time.perf_counter()
            found = {reply.key: reply for reply in session.serve(requests)}
            best = max(best, len(asked) / (time.perf_counter() - started))
    values = [
        [one.logprob for one in read_measured(found[str(number)].text).likelihoods]
        for number in range(len(asked))
    ]
    return best, values


def theirs(model: Path, asked: list[tuple[str, list[str]]], threads: int) -> tuple[float, int, Any]:
    """Return lm-eval's questions a second at its best batch size, that size, the likelihoods."""
    import torch  # noqa: PLC0415 - an extra
    from lm_eval.api.instance import Instance  # noqa: PLC0415 - an extra
    from lm_eval.models.huggingface import HFLM  # noqa: PLC0415 - an extra

    torch.set_num_threads(threads)
    loaded = HFLM(pretrained=str(model), device="cpu", dtype="float32", batch_size=1)
    instances = [
        Instance("loglikelihood", {}, (context, one), place)
        for context, choices in asked
        for place, one in enumerate(choices)
    ]
    loaded.loglikelihood(instances[:4], disable_tqdm=True)
    best, size, values = 0.0, 0, []
    for batch in BATCHES:
        loaded.batch_size_per_gpu = batch
        started = time.perf_counter()
        found = loaded.loglikelihood(instances, disable_tqdm=True)
        rate = len(asked) / (time.perf_counter() - started)
        print(f"  lm-eval, batch {batch}: {rate:.2f} questions/s", flush=True)
        if rate > best:
            best, size = rate, batch
        values = [one for one, _ in found]
    return best, size, [values[place : place + 4] for place in range(0, len(values), 4)]


def compare(name: str, hf: Path, files: dict[str, Path], count: int, threads: int) -> list[float]:
    """Measure one model, print what was found, return the ratios."""
    asked = questions(count)
    print(f"{name}, {count} questions, {threads} thread(s)", flush=True)
    rate, batch, expected = theirs(hf, asked, threads)
    ratios = []
    for kind, file in files.items():
        own, found = ours(file, asked, threads)
        worst = max(
            abs(a - b)
            for mine, other in zip(found, expected, strict=True)
            for a, b in zip(mine, other, strict=True)
        )
        ratios.append(own / rate)
        print(
            f"  so8t, {kind}: {own:.2f} questions/s = {own / rate:.2f} times lm-eval at batch "
            f"{batch}; largest difference {worst:.5f} nats",
            flush=True,
        )
    return ratios


def main() -> int:
    """Measure all three; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=24)
    parser.add_argument("--tiny", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        convert(BASE, folder / "tiny.gguf", "f32")
        tiny = compare("tiny model", BASE, {"f32": folder / "tiny.gguf"}, asked.tiny, asked.threads)
        write_model(folder / "large")
        for kind in ("q8_0", "f32"):
            convert(folder / "large", folder / f"{kind}.gguf", kind)
        large = compare(
            "100M model",
            folder / "large",
            {kind: folder / f"{kind}.gguf" for kind in ("q8_0", "f32")},
            asked.questions,
            asked.threads,
        )
    goals = dict(
        zip(("q8_0", "f32", "tiny"), zip([*large, *tiny], (3, 2, 1), strict=True), strict=True)
    )
    for name, (ratio, goal) in goals.items():
        print(f"{name}: {ratio:.2f} (goal {goal}) {'met' if ratio >= goal else 'MISSED'}")
    return int(any(ratio < goal for ratio, goal in goals.values()))


if __name__ == "__main__":
    sys.exit(main())
