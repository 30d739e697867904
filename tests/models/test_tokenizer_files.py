"""One tokenizer in a directory: what transformers makes of its files is what is converted."""

from __future__ import annotations

import json
import subprocess
import sys

import parity
import pytest
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import AutoTokenizer

import hf_models as hf
from hf_directories import plain
from so8t.errors import ModelError, UnsupportedModelError
from so8t.models.gguf_check import inspect_gguf
from so8t.models.gguf_convert import check_convertible, convert
from so8t.system.gguf import read_header

TEXTS = [*hf.PROMPTS, "<|im_start|>user\nhello<|im_end|>\n", "a <|im_end|> b", "</s>x"]


def settings_of(directory, **changes):
    """Change tokenizer_config.json."""
    path = directory / "tokenizer_config.json"
    settings = json.loads(path.read_text("utf-8")) | changes
    path.write_text(json.dumps(settings), "utf-8")


def same_ids(directory, texts=TEXTS, **model):
    """Convert, and compare llama.cpp's token ids with transformers' own."""
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1} | model
    if not (directory / "model.safetensors").is_file():
        hf.save_model("Llama", directory, num_attention_heads=2, **small)
    result = convert(directory, directory / "out.gguf", "f16")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    found = parity.token_ids(result.path, texts)
    differ = [t for t, ids in zip(texts, found, strict=True) if ids != tokenizer(t)["input_ids"]]
    assert differ == []
    return result


def without_added(directory, *texts):
    """Take added tokens out of tokenizer.json and name them in added_tokens.json, as of old."""
    path = directory / "tokenizer.json"
    source = json.loads(path.read_text("utf-8"))
    taken = {e["content"]: e["id"] for e in source["added_tokens"] if e["content"] in texts}
    source["added_tokens"] = [e for e in source["added_tokens"] if e["content"] not in texts]
    path.write_text(json.dumps(source), "utf-8")
    (directory / "added_tokens.json").write_text(json.dumps(taken), "utf-8")
    return taken


def test_added_tokens_in_a_file_of_their_own_count(tmp_path):
    """`added_tokens.json` gives its tokens their ids: <|im_end|> is the end, not padding."""
    hf.save_tokenizer(*hf.qwen_tokenizer(), tmp_path)
    taken = without_added(tmp_path, "<|im_end|>", "<think>", "</think>")
    settings_of(tmp_path, tokenizer_class="TokenizersBackend")
    rows = max(taken.values()) + 1
    data = read_header(same_ids(tmp_path, rows=rows).path).metadata
    assert data["tokenizer.ggml.eos_token_id"] == taken["<|im_end|>"]


@pytest.mark.parametrize("key", ["eos_token", "bos_token", "pad_token", "unk_token"])
@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
def test_a_named_token_that_is_not_there_is_an_error(file, key, tmp_path):
    """No other token is taken for one that the settings name: file, key and value are said."""
    plain(tmp_path)
    if file == "tokenizer_config.json":
        settings_of(tmp_path, **{key: "<|gone|>"})
    else:
        (tmp_path / file).write_text(json.dumps({key: {"content": "<|gone|>"}}), "utf-8")
    for attempt in (check_convertible, lambda d: convert(d, d / "out.gguf")):
        with pytest.raises(ModelError) as caught:
            attempt(tmp_path)
        for word in (file, key, "<|gone|>"):
            assert word in str(caught.value)
        assert caught.value.hint
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
@pytest.mark.parametrize("value", [99_999, -1, [2, 99_999], True, "</s>"])
def test_an_end_beyond_the_vocabulary_is_an_error(file, value, tmp_path):
    """eos_token_id outside the embedding is refused with file, key and value, never skipped."""
    plain(tmp_path)
    path = tmp_path / file
    settings = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(settings | {"eos_token_id": value}), "utf-8")
    with pytest.raises(ModelError) as caught:
        check_convertible(tmp_path)
    assert file in str(caught.value)
    assert "eos_token_id" in str(caught.value)


def test_spelling_does_not_decide(tmp_path):
    """Equal ids are enough: Removed with invert, empty normalizers, another way to write it."""
    made, settings = hf.qwen_tokenizer()
    made.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Sequence([])])
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(hf.QWEN2), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    hf.save_tokenizer(made, settings, tmp_path)
    assert inspect_gguf(same_ids(tmp_path).path).tokenizer_pre == "qwen2"


def test_another_expression_is_refused_with_the_closest(tmp_path):
    """One character of an expression changed is another tokenizer: refused, the closest named."""
    made, settings = hf.qwen_tokenizer()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(hf.QWEN2.replace(r"| ?[^\s", r"|[^\s")), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    hf.save_tokenizer(made, settings, tmp_path)
    hf.save_model("Llama", tmp_path)
    with pytest.raises(UnsupportedModelError, match="closest is"):
        check_convertible(tmp_path)


@pytest.mark.parametrize("cls", ["T5Tokenizer", "XLMRobertaTokenizer", "TokenizersBackend"])
@pytest.mark.parametrize("byte_fallback", [False, True])
def test_a_unigram_model_is_unigram_or_refused(cls, byte_fallback, tmp_path):
    """A Unigram tokenizer.model gives transformers' ids in llama.cpp, or no file at all."""
    sentencepiece = pytest.importorskip("sentencepiece")
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(hf.corpus()), "utf-8")
    directory = tmp_path / "model"
    directory.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(directory / "tokenizer"),
        vocab_size=900,
        model_type="unigram",
        byte_fallback=byte_fallback,
        hard_vocab_limit=False,
        # T5's class counts on these places.
        **({"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1} if cls == "T5Tokenizer" else {}),
        minloglevel=2,
    )
    names = {"eos_token": "</s>", "unk_token": "<unk>"}
    names |= {} if cls == "T5Tokenizer" else {"bos_token": "<s>"}
    text = json.dumps(names | {"tokenizer_class": cls})
    (directory / "tokenizer_config.json").write_text(text, "utf-8")
    (directory / "config.json").write_text('{"model_type": "llama"}', "utf-8")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.backend_tokenizer.save(str(directory / "tokenizer.json"))
    hf.save_model("Llama", directory, rows=len(tokenizer) + 3)
    (directory / "tokenizer.json").unlink()
    source = json.loads(tokenizer.backend_tokenizer.to_str())
    assert source["model"]["type"] == "Unigram"
    if source["model"]["byte_fallback"]:
        with pytest.raises(UnsupportedModelError, match="byte fallback"):
            check_convertible(directory)
        return
    # Control tokens are no text to SentencePiece.
    result = same_ids(directory, [text for text in hf.PROMPTS if "</s>" not in text])
    assert inspect_gguf(result.path).tokenizer_model == "t5"


def test_a_class_of_transformers_decides(tmp_path):
    """A class that builds its own pre-tokenizer beside tokenizer.json is followed."""
    hf.save_tokenizer(*hf.mistral_tokenizer(), tmp_path)
    settings_of(tmp_path, tokenizer_class="LlamaTokenizer")
    texts = [text for text in hf.PROMPTS if not text.startswith(" ")]
    assert any("begins with one" in caveat for caveat in same_ids(tmp_path, texts).caveats)


def test_the_child_reads_the_same(tmp_path):
    """A process without transformers asks a child of its own, and gets the same file."""
    plain(tmp_path)
    code = (
        "import sys; from pathlib import Path; from so8t.models.gguf_convert import convert\n"
        "d = Path(sys.argv[1]); print(convert(d, d / 'b.gguf').digest)\n"
        "assert 'transformers' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert convert(tmp_path, tmp_path / "a.gguf").digest == done.stdout.split()[-1]


def test_tags_do_not_take_the_place_of_added_tokens(tmp_path):
    """New thinking tokens come after those in added_tokens.json, not onto their ids."""
    from so8t.models.thinking_tokens import add_thinking_tokens  # noqa: PLC0415

    base = tmp_path / "base"
    plain(base)
    whole = Tokenizer.from_file(str(base / "tokenizer.json"))
    taken = without_added(base, "<think>", "</think>")
    facts = add_thinking_tokens(base, tmp_path / "out")
    assert min(facts["ids"].values()) == whole.get_vocab_size()
    assert set(facts["ids"].values()).isdisjoint(taken.values())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert [tokenizer.convert_tokens_to_ids(t) for t in taken] == list(taken.values())
