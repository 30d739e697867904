"""tokenizer.model alone, read with the real sentencepiece package where that is installed."""

from __future__ import annotations

import json

import parity
import pytest

import hf_models as hf
from so8t.models.gguf_check import inspect_gguf
from so8t.models.gguf_convert import convert

sentencepiece = pytest.importorskip(
    "sentencepiece", reason="the optional sentencepiece package is not installed"
)


class Pieces:
    """A SentencePiece model with the part of tokenizers' interface that the comparison needs."""

    class Encoded(list):
        """Token ids, found where tokenizers has them."""

        @property
        def ids(self):
            return list(self)

    def __init__(self, path):
        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def encode(self, text):
        return self.Encoded([self.processor.bos_id(), *self.processor.encode(text)])

    def get_vocab_size(self):
        return self.processor.vocab_size()

    def decode_batch(self, rows, **_):
        return [self._text(row[0]) for row in rows]

    def _text(self, token):
        of = self.processor
        if of.is_byte(token) or of.is_control(token) or of.is_unknown(token):
            return "\ufffd"
        return of.id_to_piece(token).replace("▁", " ")


def test_a_sentencepiece_model_splits_text_as_its_own_library(tmp_path):
    """Llama 2's form (BPE with bytes): llama.cpp finds sentencepiece's ids, and the same logits."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(hf.corpus()), "utf-8")
    directory = tmp_path / "model"
    directory.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(directory / "tokenizer"),
        vocab_size=900,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        max_sentence_length=100_000,
        minloglevel=2,
    )
    (directory / "tokenizer.vocab").unlink()
    tokenizer = Pieces(directory / "tokenizer.model")
    settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    # The weights are made beside another tokenizer, which is then taken away.
    hf.save_tokenizer(hf.mistral_tokenizer()[0], settings, directory)
    model = hf.save_model("Llama", directory, rows=tokenizer.get_vocab_size())
    (directory / "tokenizer.json").unlink()
    settings |= {"add_bos_token": True, "tokenizer_class": "LlamaTokenizer"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    result = convert(directory, tmp_path / "model.gguf", "f32")
    assert inspect_gguf(result.path).tokenizer_model == "llama"
    plain = [prompt for prompt in hf.PROMPTS if not prompt.startswith(" ")]
    found = parity.compare(model, tokenizer, result.path, plain)
    assert (found.token_mismatches, found.greedy_mismatches) == ([], 0)
    assert found.difference < 0.001
