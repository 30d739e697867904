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

import hf_directories as hf
from hf_directories import plain, write_safetensors
from so8t.errors import ModelError, PrerequisiteError
from so8t.models.conversion import convert_directory, quantize_file
from so8t.models.encoding import encode
from so8t.models.gguf_convert import convert
from so8t.models.imatrix import write_imatrix
from so8t.models.quantize import quantize_gguf
from so8t.models.tensor_types import MIXES, NATIVE_ONLY
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
    source = convert(tmp_path, tmp_path / "source.gguf", "q5_0")
    with pytest.raises(ModelError, match="already quantized") as caught:
        quantize_gguf(source.path, tmp_path / "out.gguf", "q4_0")
    assert "Q5_0" in str(caught.value)
    assert not (tmp_path / "out.gguf").exists()


def test_a_q8_0_gguf_may_be_quantized(tmp_path):
    """Q8_0 is near enough to the weights; what keeps its type keeps its bytes."""
    plain(tmp_path)
    source = convert(tmp_path, tmp_path / "source.gguf", "q8_0")
    made = quantize_gguf(source.path, tmp_path / "out.gguf", "q4_0")
    assert made.types is not None
    assert set(made.types) == {"F32", "Q4_0", "Q8_0"}
    again = quantize_gguf(source.path, tmp_path / "again.gguf", "q8_0")
    assert again.digest == source.digest


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in MIXES if kind not in NATIVE_ONLY])
def test_ggml_and_numpy_give_the_same_bytes(kind, tmp_path):
    """Where both encode a type, ggml (in a child process) and numpy give equal files."""
    plain(tmp_path)
    here = convert(tmp_path, tmp_path / "here.gguf", kind)
    child = convert_directory(tmp_path, tmp_path / "child.gguf", kind)
    assert child.digest == here.digest == file_digest(child.path)
    assert (child.fallbacks, child.types) == (here.fallbacks, here.types)


def wide(directory, width: int = 256) -> None:
    """Save a random Llama whose rows divide by 256."""
    hf.build(
        directory,
        "Llama",
        hidden_size=width,
        intermediate_size=2 * width,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=width // 4,
        num_hidden_layers=2,
    )


@pytest.fixture(scope="module")
def wide_f32(tmp_path_factory):
    """A random Llama with rows of 256, as an F32 GGUF and its directory."""
    directory = tmp_path_factory.mktemp("wide")
    wide(directory)
    return directory, convert(directory, directory / "f32.gguf", "f32").path


# Largest share of a tensor's spread by which a block type may err, root mean square.
ERROR = {"Q2_K": 0.35, "Q3_K": 0.2, "Q4_K": 0.1, "Q5_K": 0.05, "Q6_K": 0.03, "IQ4_NL": 0.11}
ERROR |= {"IQ4_XS": 0.11, "Q8_0": 0.01}


def values_of(path) -> dict[str, tuple[str, np.ndarray]]:
    from gguf import GGMLQuantizationType, quants  # noqa: PLC0415 - only here

    found = {}
    with path.open("rb") as handle:
        for tensor in read_header(path).tensors:
            handle.seek(tensor.offset)
            raw = np.frombuffer(handle.read(tensor.bytes), np.uint8)
            kind = GGMLQuantizationType(tensor.kind)
            rows = raw.reshape(tensor.shape[0], -1)
            found[tensor.name] = kind.name, quants.dequantize(rows, kind).reshape(tensor.shape)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("mix", ["q2_k", "q3_k_m", "q4_k_m", "q5_k_m", "q6_k", "iq4_xs"])
def test_k_quants_hold_the_weights(mix, wide_f32, tmp_path):
    """gguf's own decoder finds the weights again, each type within its error, and all tensors."""
    directory, source = wide_f32
    made = quantize_file(source, tmp_path / "made.gguf", mix)
    exact = values_of(source)
    for name, (kind, values) in values_of(made.path).items():
        if kind == "F32":
            assert (values == exact[name][1]).all()
        else:
            error = np.sqrt(((values - exact[name][1]) ** 2).mean()) / exact[name][1].std()
            assert 0 < error < ERROR[kind], (name, kind)
    assert made.digest == file_digest(made.path)
    assert read_header(made.path).metadata["general.file_type"] == MIXES[mix][0]
    direct = convert_directory(directory, tmp_path / "direct.gguf", mix)
    assert direct.digest == made.digest


def test_a_k_quant_answers(wide_f32, tmp_path):
    """llama.cpp loads what its encoders made here, and answers."""
    made = quantize_file(wide_f32[1], tmp_path / "model.gguf", "q4_k_m")
    job = {"model": str(made.path), "context": 64, "requests": [{"prompt": "a", "n_predict": 2}]}
    assert parity.run_llama(job, tmp_path)[0]["usage"]["completion_tokens"]


def test_rows_of_another_width_fall_back_and_are_told(tmp_path):
    """A Q4_K_M of rows that do not divide by 256 is made, and says which types it has instead."""
    plain(tmp_path)
    made = convert_directory(tmp_path, tmp_path / "out.gguf", "q4_k_m")
    assert made.fallbacks
    assert all("blocks of 256" in one.reason for one in made.fallbacks)
    assert set(made.types or ()) <= {"F32", "Q5_0", "Q8_0"}


def test_values_that_are_not_finite_are_refused_by_ggml_too(tmp_path):
    """NaN in a tensor that ggml encodes ends with the tensor's name, and no file."""
    tensors = plain(tmp_path)
    name = next(name for name in tensors if name.endswith("q_proj.weight"))
    broken = tensors | {name: np.where(tensors[name] == tensors[name].max(), np.nan, tensors[name])}
    write_safetensors(tmp_path / "model.safetensors", broken)
    with pytest.raises(ModelError, match=r"q_proj\.weight.*NaN or infinity"):
        convert_directory(tmp_path, tmp_path / "out.gguf", "q8_0")
    assert not (tmp_path / "out.gguf").exists()


def importance(source, directory, *, skip: str = "nothing", columns: int = 0):
    """Write an importance matrix for a GGUF, of which every other column counts."""
    sums, counts = {}, {}
    for tensor in read_header(source).tensors:
        if len(tensor.shape) > 1 and skip not in tensor.name and "embd" not in tensor.name:
            values = np.full((1, columns or tensor.shape[-1]), 1e-6, np.float32)
            values[0, ::2] = 1000
            sums[tensor.name], counts[tensor.name] = values, np.array([10], np.float32)
    path = directory / "imatrix.gguf"
    write_imatrix(path, sums, counts, datasets=("text.txt",), chunks=3, chunk_size=512)
    return path


def test_an_importance_matrix_weighs_the_errors(wide_f32, tmp_path):
    """Columns that count much are kept better than without the matrix, and the file names it."""
    source = wide_f32[1]
    matrix = importance(source, tmp_path)
    plainly = values_of(quantize_file(source, tmp_path / "a.gguf", "q4_k_s").path)
    made = quantize_file(source, tmp_path / "b.gguf", "q4_k_s", imatrix=matrix)
    weighed, exact = values_of(made.path), values_of(source)
    for name in ("blk.0.attn_q.weight", "blk.1.ffn_up.weight"):
        wanted = exact[name][1][:, ::2]
        errors = [((found[name][1][:, ::2] - wanted) ** 2).mean() for found in (plainly, weighed)]
        assert errors[1] < errors[0] * 0.9, (name, errors)
    metadata = read_header(made.path).metadata
    assert metadata["quantize.imatrix.file"] == "imatrix.gguf"
    assert metadata["quantize.imatrix.dataset"] == "text.txt"
    assert metadata["quantize.imatrix.chunks_count"] == 3
    assert made.imatrix is not None
    assert made.imatrix["digest"] == file_digest(matrix)


def test_an_importance_matrix_of_another_model_is_refused(wide_f32, tmp_path):
    """Weights for other columns, or for other tensors, are refused with both numbers."""
    source = wide_f32[1]
    with pytest.raises(ModelError, match=r"has 64 weights for .* 256 columns"):
        quantize_file(
            source, tmp_path / "x.gguf", "q4_k_m", imatrix=importance(source, tmp_path, columns=64)
        )
    with pytest.raises(ModelError, match="no matrix"):
        quantize_file(
            source,
            tmp_path / "x.gguf",
            "q4_k_m",
            imatrix=importance(source, tmp_path, skip="weight"),
        )


def test_what_needs_an_importance_matrix_says_so(wide_f32, tmp_path):
    """Q2_K_S without a matrix is refused, with the way to one; with one it is made."""
    source = wide_f32[1]
    with pytest.raises(ModelError, match="needs an importance matrix") as caught:
        quantize_file(source, tmp_path / "x.gguf", "q2_k_s")
    assert "imatrix: auto" in str(caught.value.hint)
    made = quantize_file(
        source, tmp_path / "x.gguf", "q2_k_s", imatrix=importance(source, tmp_path)
    )
    assert "Q2_K" in (made.types or ())


def test_k_quants_need_llama_quantize(tmp_path, monkeypatch):
    """Without ggml's encoders and llama-quantize a K-quant ends with how to install it."""
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
