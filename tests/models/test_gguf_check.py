"""What inspect_gguf says of whole files, and of broken ones."""

from __future__ import annotations

import struct
import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from so8t.errors import ModelError
from so8t.models.gguf_check import GGUFInfo, inspect_gguf
from so8t.system.gguf import ArrayValue, GGUFWriter, ValueType, read_header, type_numbers

SHAPES = {"token_embd.weight": (6, 32), "other_norm.weight": (32,), "odd.weight": (3, 5)}


def small(*, changes: dict | None = None, tensors: bool = True) -> bytes:
    """Make the bytes of a small whole file, with every type of value in it."""
    writer = GGUFWriter()
    writer.add("general.architecture", ValueType.STRING, "llama")
    writer.add("general.name", ValueType.STRING, "小さい")
    for kind in ValueType:
        if kind not in {ValueType.STRING, ValueType.ARRAY}:
            writer.add(f"test.{kind.name}", kind, 1)
            writer.add_array(f"test.{kind.name}.array", kind, [1, 0, 1])
    writer.add_array("tokenizer.ggml.tokens", ValueType.STRING, ["a", "", "漢字", "d", "e", "f"])
    writer.add("tokenizer.ggml.model", ValueType.STRING, "gpt2")
    writer.add("tokenizer.chat_template", ValueType.STRING, "{{ messages }}")
    for key, value in (("block_count", 2), ("context_length", 256), ("embedding_length", 32)):
        writer.add(f"llama.{key}", ValueType.UINT32, value)
    writer.add("llama.attention.head_count", ValueType.UINT32, 4)
    writer.add_array("llama.attention.head_count_kv", ValueType.INT32, [2, 1])
    for key, (kind, value) in (changes or {}).items():
        writer.add(key, kind, value)
    if tensors:
        types = ("Q8_0", "F32", "F16")
        for (name, shape), kind in zip(SHAPES.items(), types, strict=True):
            writer.add_tensor(name, shape, type_numbers()[kind])
    return writer.header() + bytes(6 * 34 + 20 + 128 + 30 if tensors else 0)


WHOLE = small()


def broken(tmp_path, data: bytes, *words: str) -> str:
    """The file is refused with a hint, all words, and its own name."""
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        inspect_gguf(path)
    text = str(caught.value)
    assert all(word in text for word in (*words, "model.gguf")), text
    assert caught.value.hint
    return text


def test_a_whole_file_is_described(tmp_path):
    """Sizes, heads, tokenizer, template and type of a whole file are read."""
    path = tmp_path / "model.gguf"
    path.write_bytes(WHOLE)
    info = inspect_gguf(path)
    assert info == GGUFInfo(
        architecture="llama",
        name="小さい",
        file_type="Q8_0",
        parameters=6 * 32 + 32 + 15,
        context_length=256,
        block_count=2,
        embedding_length=32,
        head_count=4,
        head_count_kv=2,
        key_length=8,
        value_length=8,
        vocabulary_size=6,
        has_chat_template=True,
        tokenizer_model="gpt2",
        tokenizer_pre=None,
        tensor_count=3,
        size=len(WHOLE),
    )


def test_every_type_of_value_is_read_back(tmp_path):
    """What the writer writes, the reader reads: all types, arrays, and their raw bytes."""
    path = tmp_path / "model.gguf"
    path.write_bytes(WHOLE)
    header = read_header(path)
    for kind in ValueType:
        if kind not in {ValueType.STRING, ValueType.ARRAY}:
            assert header.metadata[f"test.{kind.name}"] == 1
            array = header.metadata[f"test.{kind.name}.array"]
            assert isinstance(array, ArrayValue)
            assert array.numbers() == [1, 0, 1]
    assert header.metadata["tokenizer.ggml.tokens"].strings() == ["a", "", "漢字", "d", "e", "f"]
    again = GGUFWriter()
    again.add_raw(header.raw)
    for tensor in header.tensors:
        again.add_tensor(tensor.name, tensor.shape, tensor.kind)
    assert WHOLE.startswith(again.header())


def test_files_of_other_writers_are_read(shared_data):
    """A model that llama.cpp's own tools wrote is described."""
    info = inspect_gguf(shared_data / "weights_tiny" / "llama-2-tiny-random.gguf")
    assert (info.architecture, info.tensor_count) == ("llama", 12)
    assert (info.vocabulary_size, info.tokenizer_model) == (32000, "llama")


def test_a_vocabulary_alone_is_no_model(shared_data):
    """A file without weights is refused: it would load as nothing."""
    with pytest.raises(ModelError, match="holds no weights"):
        inspect_gguf(shared_data / "weights_tiny" / "ggml-vocab-gpt-2.gguf")


def test_what_is_no_file_is_refused(tmp_path):
    """An absent path, a directory and an empty file are told apart."""
    with pytest.raises(ModelError, match="no such file"):
        inspect_gguf(tmp_path / "absent.gguf")
    with pytest.raises(ModelError, match="no file") as caught:
        inspect_gguf(tmp_path)
    assert "hf:" in str(caught.value.hint)
    broken(tmp_path, b"", "empty")


def test_what_is_no_gguf_is_refused(tmp_path):
    """Foreign magic numbers and versions are named."""
    broken(tmp_path, b"PK\x03\x04 a zip file", "no GGUF file")
    broken(tmp_path, b"GG", "no GGUF file")
    broken(tmp_path, b"GGUF" + struct.pack("<I", 1) + WHOLE[8:], "version 1")
    broken(tmp_path, b"GGUF" + struct.pack("<I", 99) + WHOLE[8:], "version 99")
    broken(tmp_path, b"GGUF" + struct.pack(">I", 3) + WHOLE[8:], "big-endian")


def test_every_truncation_is_refused(tmp_path):
    """Cut anywhere, a file is refused; cut within the weights, it is called truncated."""
    head = WHOLE.index(b"odd.weight") + 40
    for length in range(1, head, 7):
        broken(tmp_path, WHOLE[:length])
    for length in (len(WHOLE) - 1, len(WHOLE) - 30, len(WHOLE) - 300):
        text = broken(tmp_path, WHOLE[:length], "truncated")
        assert "again" in text


def test_absurd_counts_are_refused_at_once(tmp_path):
    """Counts and lengths beyond the file are refused without reading or allocating for them."""
    tracemalloc.start()
    began = time.monotonic()
    huge = struct.pack("<Q", 1 << 60)
    broken(tmp_path, WHOLE[:8] + huge + WHOLE[16:], "tensors")
    broken(tmp_path, WHOLE[:16] + huge + WHOLE[24:], "keys")
    broken(tmp_path, WHOLE[:24] + huge + WHOLE[32:], "key 1")
    at = WHOLE.index(b"tokenizer.ggml.tokens") + len("tokenizer.ggml.tokens") + 8
    broken(tmp_path, WHOLE[:at] + huge + WHOLE[at + 8 :], "strings")
    assert time.monotonic() - began < 2
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_length_within_a_huge_file_is_still_bounded(tmp_path):
    """In a file of gigabytes, a damaged length does not make the reader take them in."""
    path = tmp_path / "model.gguf"
    key = struct.pack("<Q", 1) + b"k" + struct.pack("<IQ", ValueType.STRING, 1 << 29)
    with path.open("wb") as handle:
        handle.write(WHOLE[:24] + key)
        handle.truncate(1 << 30)
    tracemalloc.start()
    with pytest.raises(ModelError, match="damaged"):
        inspect_gguf(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_contradictions_are_refused(tmp_path):
    """Tensors that overlap, are there twice, or have impossible types or shapes are refused."""
    at = WHOLE.index(b"other_norm.weight") + len("other_norm.weight")
    # dimensions, size, type, offset of that tensor follow.
    broken(tmp_path, WHOLE[:at] + struct.pack("<I", 9) + WHOLE[at + 4 :], "9 dimensions")
    broken(tmp_path, WHOLE[: at + 12] + struct.pack("<I", 77) + WHOLE[at + 16 :], "type 77")
    moved = WHOLE[: at + 16] + struct.pack("<Q", 0) + WHOLE[at + 24 :]
    broken(tmp_path, moved, "other_norm.weight", "begin")
    renamed = WHOLE.replace(b"other_norm.weight", b"token_embd.weight")
    broken(tmp_path, renamed, "token_embd.weight", "twice")
    twice = WHOLE.replace(b"test.UINT16", b"test.UINT32", 1)
    broken(tmp_path, twice, "twice")
    odd = small(changes={"general.alignment": (ValueType.UINT32, 7)})
    broken(tmp_path, odd, "alignment")
    nameless = small(changes={"general.architecture": (ValueType.UINT32, 7)})
    broken(tmp_path, nameless, "architecture")
    part = small(changes={"split.count": (ValueType.UINT16, 3)})
    broken(tmp_path, part, "3 parts", "llama-gguf-split")
    broken(tmp_path, small(tensors=False), "no weights")


EDITS = st.lists(
    st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=9)), max_size=6
)


@settings(
    max_examples=400,
    deadline=2000,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    edits=EDITS, cut=st.one_of(st.none(), st.integers(0, len(WHOLE))), tail=st.binary(max_size=9)
)
def test_any_damage_gives_a_description_or_a_model_error(tmp_path, edits, cut, tail):
    """Whatever bytes are changed, cut off or added, nothing but ModelError is raised, quickly."""
    data = bytearray(WHOLE)
    for place, change in edits:
        data[place : place + len(change)] = change
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(data[:cut]) + tail)
    try:
        info = inspect_gguf(path)
    except ModelError as error:
        assert error.hint  # noqa: PT017 - either outcome is right, each in its form
    else:
        assert info.tensor_count
