"""Encoders, the choice of types, and encoding a GGUF again."""

from __future__ import annotations

import os
import stat
import sys

import numpy as np
import parity
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hf_directories import plain, write_safetensors
from so8t.errors import ModelError, PrerequisiteError
from so8t.models.gguf_convert import convert
from so8t.models.quantize import choose_type, encode, quantize_gguf
from so8t.system.files import file_digest
from so8t.system.gguf import read_header, type_numbers

BITS = {"f32": 24, "f16": 11, "bf16": 8, "q8_0": 8, "q5_0": 5, "q4_0": 4}


def decoded(data: bytes, kind: str, columns: int):
    from gguf import GGMLQuantizationType, quants  # noqa: PLC0415 - only here

    number = GGMLQuantizationType[kind.upper()]
    raw = np.frombuffer(data, np.uint8)
    if kind == "f32":
        return raw.view("<f4").reshape(-1, columns)
    if kind == "f16":
        return raw.view("<f2").astype("<f4").reshape(-1, columns)
    return quants.dequantize(raw.reshape(3, -1), number).reshape(-1, columns)


BLOCKS = arrays.arrays(
    np.float32, (3, 64), elements=st.floats(-1000, 1000, width=32, allow_subnormal=False)
)


@pytest.mark.parametrize("kind", BITS)
@settings(max_examples=40, deadline=None)
@given(block=BLOCKS)
def test_encoding_errs_by_at_most_a_step(kind, block):
    """Decoded values are within one quantization step of the block's largest value."""
    data = encode("t", block, type_numbers()[kind.upper()])
    largest = np.abs(block.reshape(-1, 32)).max(axis=1).repeat(32).reshape(block.shape)
    error = np.abs(decoded(data, kind, 64) - block)
    assert (error <= largest * 2.0 ** (1 - BITS[kind]) * 1.01 + 1e-4).all()


def test_norms_and_vectors_stay_exact():
    """1-D tensors and norms are F32 in every quantization."""
    numbers = type_numbers()
    assert choose_type("blk.0.attn_q.bias", (64,), "q4_0") == (numbers["F32"], None)
    assert choose_type("blk.0.attn_norm.weight", (64, 64), "q4_0") == (numbers["F32"], None)
    assert choose_type("blk.0.attn_q.weight", (64, 64), "q4_0") == (numbers["Q4_0"], None)


def test_values_beyond_float16_are_refused():
    """A value that float16 would turn into infinity is refused, with the types that hold it."""
    block = np.full((1, 32), 70000, np.float32)
    with pytest.raises(ModelError, match=r"65,504") as caught:
        encode("t", block, type_numbers()["F16"])
    assert "bf16" in str(caught.value.hint)
    assert encode("t", block, type_numbers()["BF16"])


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "<u2"])
def test_values_that_are_not_finite_are_refused(dtype):
    """NaN and infinity are refused in every stored type."""
    kinds = {"<f4": "F32", "<f2": "F16", "<u2": "BF16"}
    for value in (np.nan, np.inf, -np.inf):
        block = np.zeros((2, 32), np.float32)
        block[1, 7] = value
        stored = (block.view("<u4") >> 16).astype("<u2") if dtype == "<u2" else block.astype(dtype)
        for kind in (kinds[dtype], "Q8_0"):
            with pytest.raises(ModelError, match="NaN or infinity"):
                encode("t", stored, type_numbers()[kind])


@pytest.mark.parametrize("start", ["f32", "f16", "bf16"])
def test_a_gguf_is_encoded_again_as_if_from_its_weights(start, tmp_path):
    """Encoding a GGUF again gives the tensors that a direct conversion gives, and its metadata."""
    tensors = plain(tmp_path)
    # Weights that all three types hold exactly, so that both ways start from the same ones.
    exact = {name: (array * 4).round() / 4 for name, array in tensors.items()}
    write_safetensors(tmp_path / "model.safetensors", exact)
    source = convert(tmp_path, tmp_path / "source.gguf", start)
    direct = convert(tmp_path, tmp_path / "direct.gguf", "q5_0")
    again = quantize_gguf(source.path, tmp_path / "again.gguf", "q5_0")
    assert again.digest == file_digest(again.path)
    assert again.tokenizer_digest == direct.tokenizer_digest
    assert again.path.read_bytes() == direct.path.read_bytes()


def test_a_quantized_gguf_is_not_quantized_twice(tmp_path):
    """A quantized source is refused: its errors would add up."""
    plain(tmp_path)
    source = convert(tmp_path, tmp_path / "source.gguf", "q8_0")
    with pytest.raises(ModelError, match="already quantized") as caught:
        quantize_gguf(source.path, tmp_path / "out.gguf", "q4_0")
    assert "Q8_0" in str(caught.value)
    assert not (tmp_path / "out.gguf").exists()


def test_k_quants_need_llama_quantize(tmp_path, monkeypatch):
    """Without llama-quantize a K-quant ends with how to install it."""
    plain(tmp_path)
    source = convert(tmp_path, tmp_path / "source.gguf", "f16")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="llama-quantize") as caught:
        quantize_gguf(source.path, tmp_path / "out.gguf", "q4_k_m")
    assert "brew install" in str(caught.value.hint)


def program(directory, body: str) -> None:
    path = directory / "llama-quantize"
    path.write_text(f"#!{sys.executable}\nimport shutil, sys\n{body}\n", "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in program is a script")
def test_llama_quantize_is_called_and_its_failure_told(tmp_path, monkeypatch):
    """llama-quantize gets source, target and type; its output is moved whole, its error shown."""
    plain(tmp_path)
    source = convert(tmp_path, tmp_path / "source.gguf", "f16")
    place = tmp_path / "programs"
    place.mkdir()
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    program(place, "assert sys.argv[3] == 'Q4_K_M'\nshutil.copy(sys.argv[1], sys.argv[2])")
    result = quantize_gguf(source.path, tmp_path / "out" / "model.gguf", "q4_k_m")
    assert result.digest == source.digest
    assert list(result.path.parent.iterdir()) == [result.path]
    program(place, "sys.exit('tensor cols 64 are not divisible by 256')")
    with pytest.raises(ModelError, match="not divisible by 256"):
        quantize_gguf(source.path, tmp_path / "out" / "second.gguf", "q4_k_m")
    assert list(result.path.parent.iterdir()) == [result.path]


def test_an_encoded_gguf_answers(tmp_path):
    """A file made by quantize_gguf loads in llama.cpp and answers."""
    plain(tmp_path)
    source = convert(tmp_path, tmp_path / "source.gguf", "bf16")
    made = quantize_gguf(source.path, tmp_path / "model.gguf", "q8_0")
    job = {"model": str(made.path), "context": 64, "requests": [{"prompt": "a", "n_predict": 2}]}
    assert parity.run_llama(job, tmp_path)[0]["usage"]["completion_tokens"]
    assert read_header(made.path).metadata["general.file_type"] == 7
