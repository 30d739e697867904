"""The fourfold thinking format as training data and as tokens, up to llama.cpp."""

from __future__ import annotations

import json

import numpy as np
import parity
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_training_data import write
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

import hf_models as hf
from hf_directories import TOKENIZERS
from so8t.domain.thinking_format import TAGS, FourfoldAnswer
from so8t.errors import DataError, ModelError
from so8t.models import training_data as data
from so8t.models.gguf_convert import convert
from so8t.models.thinking_tokens import add_in_child, add_thinking_tokens, starting_rows

ANSWER = FourfoldAnswer("a sum of two", "harmless", "answer", "7")
ROW = {
    "prompt": "3 + 4?",
    "thinking": {"task": "a sum of two", "safety": "harmless", "policy": "answer"},
    "final": "7",
}
CHAT = {
    "messages": [
        {"role": "user", "content": "3 + 4?"},
        {"role": "assistant", "content": ANSWER.text()},
    ]
}


@pytest.fixture(scope="module", params=["qwen", "phi3"])
def grown(request, tmp_path_factory):
    """A base and the same with the tags as tokens: untied and tied, with and without bytes."""
    base = tmp_path_factory.mktemp(request.param)
    tokenizer, settings = TOKENIZERS[request.param]()
    hf.save_tokenizer(tokenizer, settings, base)
    family = {"qwen": "Qwen2", "phi3": "Phi3"}[request.param]
    hf.save_model(family, base, tie_word_embeddings=request.param == "qwen")
    out = base.parent / f"{request.param}-tags"
    return base, out, add_thinking_tokens(base, out)


def test_three_shapes_say_the_same(tmp_path):
    """A prompt with thinking, a chat and an instruction with tags are one conversation."""
    rows = [ROW, CHAT, {"instruction": "3 + 4?", "output": ANSWER.text()}]
    read = data.read_conversations([write(tmp_path / "data.jsonl", *rows)])
    assert {one.digest for one in read} == {read[0].digest}
    assert all(one.thinks for one in read)
    assert read[0].messages[1] == ("assistant", ANSWER.text())
    system = data.read_conversations([write(tmp_path / "more.jsonl", {**ROW, "system": "Think."})])
    assert [role for role, _ in system[0].messages] == ["system", "user", "assistant"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({**ROW, "thinking": {"task": "a", "safety": "b"}}, "`task`, `safety` and `policy`"),
        ({**ROW, "final": " "}, "`final` has no text"),
        ({key: ROW[key] for key in ("prompt", "thinking")}, "`final` has no text"),
        ({**ROW, "final": "<final>7</final>"}, "`final` has tags"),
        ({**ROW, "prompt": ""}, "Message 1 has no text"),
        ({**ROW, "messages": []}, "neither a conversation"),
        ({"instruction": "a", "output": "<final>7</final>"}, "but the part <think-task> is miss"),
        (
            {"instruction": "a", "output": ANSWER.text().replace("</think-policy>", "")},
            "but the part <think-policy> is not closed",
        ),
        (
            {"instruction": "a", "output": ANSWER.text() + "<final>8</final>"},
            "but the part <final> is there more than once",
        ),
    ],
)
def test_a_part_that_is_wrong_is_named_with_file_and_line(row, words, tmp_path):
    """A part that is missing, doubled, open or empty: the file, the line and the part."""
    path = write(tmp_path / "data.jsonl", ROW, row)
    with pytest.raises(DataError, match=words) as caught:
        data.read_conversations([path])
    assert caught.value.message.startswith(f"{path}:2: ")
    assert caught.value.hint


def test_only_the_tokens_are_new(grown):
    """Eight tokens and rows are added; every old row and every other tensor is the base's."""
    base, out, facts = grown
    before, after = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name][: len(tensor)], tensor)
        grew = name in {"model.embed_tokens.weight", "lm_head.weight"}
        assert len(after[name]) == len(tensor) + 8 * grew
    tokenizer = AutoTokenizer.from_pretrained(out, local_files_only=True)
    assert [tokenizer(tag, add_special_tokens=False)["input_ids"] for tag in TAGS] == [
        [facts["ids"][tag]] for tag in TAGS
    ]
    # An answer that is read back keeps its tags: only then can its parts be told apart.
    ids = tokenizer(ANSWER.text(), add_special_tokens=False)["input_ids"]
    assert all(tag in tokenizer.decode(ids, skip_special_tokens=True) for tag in TAGS)


def test_new_rows_are_like_others(grown):
    """New rows are as long as their pieces' rows and no two are nearly the same."""
    base, out, facts = grown
    table = load_file(out / "model.safetensors")["model.embed_tokens.weight"].float()
    rows = table[list(facts["ids"].values())]
    old = load_file(base / "model.safetensors")["model.embed_tokens.weight"].float()
    assert 0.5 < rows.norm(dim=1).mean() / old.norm(dim=1).mean() < 2
    distances = torch.cdist(rows, rows) + 1e9 * torch.eye(8)
    assert distances.min() > 0.3 * old.norm(dim=1).mean()


def test_starting_rows_keep_the_common_direction():
    """The mean of the new rows is the mean of the pieces' means, whatever the spreading."""
    rng = np.random.default_rng(1)
    pieces = [rng.standard_normal((n, 32)).astype(np.float32) for n in (3, 4, 5, 3)]
    rows = starting_rows(pieces)
    means = np.stack([one.mean(axis=0) for one in pieces])
    assert np.allclose(rows.mean(axis=0), means.mean(axis=0), atol=1e-5)
    wanted = np.mean([np.square(one).sum(axis=1).mean() for one in pieces])
    assert np.square(rows).sum(axis=1).mean() == pytest.approx(wanted, rel=1e-4)


def test_llama_cpp_reads_and_writes_each_tag_as_one_token(grown, tmp_path):
    """In the real engine a tag is one token in a prompt, and a generated tag is in the text."""
    _, out, facts = grown
    result = convert(out, tmp_path / "model.gguf", "f32")
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    prompts = [f"3 + 4?{ANSWER.text()}", "<think-task>はい</think-task> x", *hf.PROMPTS[::12]]
    found = parity.compare(model, tokenizer, result.path, prompts)
    assert (found.token_mismatches, found.greedy_mismatches) == ([], 0)
    assert found.difference < 0.001
    begin = tokenizer.encode("").ids
    plain = len(tokenizer.encode("x").ids) - len(begin)
    requests = [{"prompt": f"x{tag}x", "n_predict": 1} for tag in TAGS]
    requests += [parity.forced("x", [facts["ids"][tag]], 1) for tag in TAGS]
    job = {"model": str(result.path), "context": 64, "requests": requests}
    replies = parity.run_llama(job, tmp_path)
    for tag, read, written in zip(TAGS, replies, replies[8:], strict=False):
        assert read["usage"]["prompt_tokens"] == len(begin) + 2 * plain + 1, tag
        assert written["choices"][0]["text"] == tag


def test_the_answer_is_learnt_and_nothing_else(grown, tmp_path):
    """Labels cover the four parts with their tags; the prompt carries none."""
    _, out, _ = grown
    tokenizer = AutoTokenizer.from_pretrained(out, local_files_only=True)
    (one,) = data.read_conversations([write(tmp_path / "data.jsonl", ROW)])
    example = data.encode(one, tokenizer, 256)
    learnt = [label for label in example.labels if label != data.IGNORED]
    # Phi-3's tokens swallow white space after them, so spaces are not compared.
    said = tokenizer.decode(learnt).replace(" ", "")
    assert said.startswith(ANSWER.text().replace(" ", ""))
    assert "3+4" not in said


@pytest.mark.slow
def test_rows_that_wait_are_used_and_bfloat16_is_rounded(tmp_path):
    """A base with spare rows keeps its size; bfloat16 weights stay bfloat16."""
    tokenizer, settings = hf.qwen_tokenizer()
    hf.save_tokenizer(tokenizer, settings, tmp_path / "base")
    rows = tokenizer.get_vocab_size() + 20
    hf.save_model("Qwen2", tmp_path / "base", rows=rows, tie_word_embeddings=True)
    weights = tmp_path / "base" / "model.safetensors"
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    facts = add_in_child(tmp_path / "base", tmp_path / "tags")
    assert (facts["rows"], facts["added"]) == (rows, 0)
    table = load_file(tmp_path / "tags" / "model.safetensors")["model.embed_tokens.weight"]
    assert table.dtype == torch.bfloat16
    assert table.shape == tensors["model.embed_tokens.weight"].shape
    assert table[facts["ids"]["<final>"]].abs().sum() > 0
    again = add_thinking_tokens(tmp_path / "tags", tmp_path / "twice")
    assert again["ids"] == facts["ids"]
    twice = load_file(tmp_path / "twice" / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(twice, table)


def test_a_base_that_cannot_take_tokens_is_refused(tmp_path):
    """No tokenizer.json, or a table that does not fit config.json: said, and nothing is left."""
    tokenizer, settings = hf.qwen_tokenizer()
    hf.save_tokenizer(tokenizer, settings, tmp_path / "base")
    hf.save_model("Qwen2", tmp_path / "base")
    config = tmp_path / "base" / "config.json"
    plain = json.loads(config.read_text("utf-8"))
    config.write_text(json.dumps({**plain, "vocab_size": plain["vocab_size"] - 1}), "utf-8")
    with pytest.raises(ModelError, match="rows, where"):
        add_thinking_tokens(tmp_path / "base", tmp_path / "out")
    (tmp_path / "base" / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        add_thinking_tokens(tmp_path / "base", tmp_path / "out")
    assert not (tmp_path / "out").exists()
