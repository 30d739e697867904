"""Log likelihood of four-choice questions: our embedded engine against `lm_eval --model hf`.

    python benchmarks/loglikelihood.py [--questions 24] [--tiny 64] [--threads 1]

Three ratios in one run, each with the same questions, model and number of threads on both sides,
models loaded beforehand: a random Llama of about 100 million parameters in Q8_0 and in f32 against
lm-eval in float32, and the quickstart's model in f32. lm-eval runs at the best of its batch sizes.
Both sides take turns, and the best turn of each counts, so that what else the machine does weighs
on both alike. Goals: at least 3, 2 and 1 times as many questions a second.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from so8t.domain.exchange import Arm, Continuation, EngineRequest, Form, LoadProfile, ServedModel
from so8t.domain.measured import read_measured
from so8t.engines.embedded import EmbeddedEngine
from so8t.examples import DEMO
from so8t.models.gguf_convert import convert

BASE = DEMO.parent / "base"
BATCHES = (1, 4, 16, 32)
ROUNDS = 3
Question = tuple[str, list[str]]
Values = list[list[float]]
WORDS = ["red", "house", "stands", "by", "river", "and", "many", "people", "walk", "there", "comes"]


def questions(count: int) -> list[Question]:
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


class Ours:
    """The embedded engine with one model."""

    def __init__(self, model: Path, asked: list[Question], threads: int) -> None:
        """Load the model and measure one question, so that everything is there."""
        self._requests = [
            EngineRequest(
                str(number), (), form=Form(tuple(Continuation(context, one) for one in choices))
            )
            for number, (context, choices) in enumerate(asked)
        ]
        profile = LoadProfile(slots=1, context=512, threads=threads)
        self._session = EmbeddedEngine().open(ServedModel(Arm.A, str(model), "sha256:0"), profile)
        list(self._session.serve(self._requests[:1]))

    def measure(self) -> tuple[float, Values]:
        """Return questions a second, and the log likelihoods."""
        started = time.perf_counter()
        found = {reply.key: reply for reply in self._session.serve(self._requests)}
        rate = len(found) / (time.perf_counter() - started)
        return rate, [
            [one.logprob for one in read_measured(found[request.key].text).likelihoods]
            for request in self._requests
        ]

    def close(self) -> None:
        """End the engine."""
        self._session.close()


class Theirs:
    """`lm_eval --model hf` with one model in float32, at its best batch size."""

    def __init__(self, model: Path, asked: list[Question], threads: int) -> None:
        """Load the model and find the batch size with which it is fastest."""
        import torch  # noqa: PLC0415 - an extra
        from lm_eval.api.instance import Instance  # noqa: PLC0415 - an extra
        from lm_eval.models.huggingface import HFLM  # noqa: PLC0415 - an extra

        torch.set_num_threads(threads)
        self._model = HFLM(pretrained=str(model), device="cpu", dtype="float32", batch_size=1)
        self._instances = [
            Instance("loglikelihood", {}, (context, one), place)
            for context, choices in asked
            for place, one in enumerate(choices)
        ]
        self._model.loglikelihood(self._instances[:4], disable_tqdm=True)
        rates = {}
        for batch in BATCHES:
            self.batch = self._model.batch_size_per_gpu = batch
            rates[batch], _ = self.measure()
            print(f"  lm-eval, batch {batch}: {rates[batch]:.2f} questions/s", flush=True)
        self.batch = self._model.batch_size_per_gpu = max(rates, key=lambda one: rates[one])
        self.best = rates[self.batch]

    def measure(self) -> tuple[float, Values]:
        """Return questions a second, and the log likelihoods."""
        started = time.perf_counter()
        found = self._model.loglikelihood(self._instances, disable_tqdm=True)
        rate = len(found) / 4 / (time.perf_counter() - started)
        values = [one for one, _ in found]
        return rate, [values[place : place + 4] for place in range(0, len(values), 4)]


def compare(name: str, hf: Path, files: dict[str, Path], count: int, threads: int) -> list[float]:
    """Measure one model, print what was found, return the ratios."""
    asked = questions(count)
    print(f"{name}, {count} questions, {threads} thread(s)", flush=True)
    theirs = Theirs(hf, asked, threads)
    ours = {kind: Ours(file, asked, threads) for kind, file in files.items()}
    best, rates, worst = theirs.best, dict.fromkeys(files, 0.0), dict.fromkeys(files, 0.0)
    for _ in range(ROUNDS):
        rate, expected = theirs.measure()
        best = max(best, rate)
        for kind, own in ours.items():
            rate, found = own.measure()
            rates[kind] = max(rates[kind], rate)
            worst[kind] = max(
                abs(a - b)
                for mine, other in zip(found, expected, strict=True)
                for a, b in zip(mine, other, strict=True)
            )
    for kind, own in ours.items():
        own.close()
        print(
            f"  so8t, {kind}: {rates[kind]:.2f} questions/s = {rates[kind] / best:.2f} times "
            f"lm-eval's {best:.2f} at batch {theirs.batch}; largest difference "
            f"{worst[kind]:.5f} nats",
            flush=True,
        )
    return [rate / best for rate in rates.values()]


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
