"""What quantization alone costs, measured through the real engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from so8t.config.schema import RunConfig
from so8t.domain.exchange import Message
from so8t.domain.sample import Origin, Sample
from so8t.engines.distributions import distributions, prompts_of
from so8t.examples import quickstart
from so8t.models.gguf_convert import convert
from so8t.models.quantization_cost import quantization_cost
from so8t.pipeline.prepare.quantization import measure

QUESTIONS = ["Which is larger, 12 or 21?", "犬 の 読みは？", "Can you tell me 30 minus 8?"]
SAMPLES = [
    Sample(str(n), "t", Origin.SUITE, "c", "en", (Message("user", text),))
    for n, text in enumerate(QUESTIONS)
]


def config(threads=1):
    return RunConfig.model_validate(
        {
            "name": "cost",
            "a": {"source": {"hf": "base"}},
            "b": {"source": {"hf": "base"}},
            "benchmark": {"suites": ["x"]},
            "engine": {"threads": threads, "context": 256},
        }
    )


def test_divergence_and_flips_are_those_of_the_definition():
    """KL of known distributions in nats; a flip is another most likely token; rows are normed."""
    p = np.log(np.array([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]], np.float32))
    q = np.log(np.array([[0.25, 0.5, 0.25], [0.2, 0.3, 0.5]], np.float32)) + 7
    found = quantization_cost(p, q)
    assert (found.positions, found.flips) == (2, 1)
    assert found.kl_largest == pytest.approx(0.5 * np.log(2) + 0.25 * np.log(0.5), rel=1e-5)
    assert found.kl_mean == pytest.approx(found.kl_largest / 2, rel=1e-5)
    assert quantization_cost(p, p).kl_mean == pytest.approx(0, abs=1e-12)


def test_the_engine_gives_transformers_distributions(tmp_path):
    """At every position the rows are the model's own log probabilities, over all tokens."""
    base = quickstart.paths().base
    made = convert(base, tmp_path / "model.gguf", "f32").path
    asked = [sample.messages for sample in SAMPLES]
    tokenizer = AutoTokenizer.from_pretrained(base)
    texts = prompts_of(made, asked, threads=1)
    for text, question in zip(texts, QUESTIONS, strict=True):
        chat = [{"role": "user", "content": question}]
        want = tokenizer.apply_chat_template(chat, add_generation_prompt=True)
        assert text == list(want["input_ids"])
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    found = distributions(made, texts, 1792, per_text=3, follow=True, threads=1)
    again = distributions(made, found.texts, 1792, per_text=3, follow=False, threads=1)
    assert np.abs(found.rows - again.rows).max() < 1e-3
    for number, text in enumerate(found.texts):
        with torch.no_grad():
            logits = model(torch.tensor([text])).logits[0, -3:]
        want = torch.log_softmax(logits.double(), -1).numpy()
        assert np.abs(found.rows[3 * number : 3 * number + 3] - want).max() < 0.05


@pytest.mark.slow
def test_fewer_bits_cost_more(tmp_path):
    """Q8_0 is nearer to F16 than Q4_0, and the file for comparison is gone afterwards."""
    base, costs = quickstart.paths().base, {}
    for kind in ("q8_0", "q4_0"):
        made = convert(base, tmp_path / f"model-{kind}.gguf", kind).path
        costs[kind] = measure(config(), base, made, SAMPLES, lambda *_: None)
        assert costs[kind]["positions"] == 4 * len(QUESTIONS)
    assert 0 < costs["q8_0"]["kl_mean"] < 0.5 * costs["q4_0"]["kl_mean"]
    assert costs["q8_0"]["flips"] <= costs["q4_0"]["flips"]
    assert {file.name for file in tmp_path.iterdir()} == {"model-q8_0.gguf", "model-q4_0.gguf"}
