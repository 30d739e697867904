"""The importance matrix: its two formats, what is refused, and what torch computes."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

import hf_directories as hf
from so8t.errors import DataError, ModelError, PrerequisiteError
from so8t.models.calibration import make_imatrix
from so8t.models.imatrix import read_imatrix, write_imatrix

NAME = "blk.0.attn_q.weight"


def write(path, sums, counts, name: str = NAME):
    write_imatrix(
        path,
        {name: np.asarray(sums, np.float32)},
        {name: np.asarray(counts, np.float32)},
        datasets=("a.txt", "b.txt"),
        chunks=7,
        chunk_size=512,
    )
    return path


def dat(entries, tail: bytes = b"") -> bytes:
    out = struct.pack("<i", len(entries))
    for name, calls, values in entries:
        raw = name.encode()
        out += struct.pack("<i", len(raw)) + raw + struct.pack("<ii", calls, len(values))
        out += np.asarray(values, "<f4").tobytes()
    return out + tail


def test_what_is_written_is_read(tmp_path):
    """Sums, counts, texts and pieces come back; an expert without tokens has weight 1."""
    found = read_imatrix(write(tmp_path / "m.gguf", [[2, 4], [6, 8]], [2, 0]))
    assert found.datasets == ("a.txt", "b.txt")
    assert found.chunks == 7
    assert found.weights(NAME).tolist() == [[1, 2], [1, 1]]
    assert found.weights("another") is None
    assert found.facts()["entries"] == 1


def test_gguf_s_own_reader_reads_it(tmp_path):
    """The names, shapes and keys are those that llama.cpp's tools look for."""
    from gguf import GGUFReader  # noqa: PLC0415 - only here

    reader = GGUFReader(write(tmp_path / "m.gguf", [[2, 4]], [2]))
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.datasets"].contents() == ["a.txt", "b.txt"]
    assert reader.fields["imatrix.chunk_count"].contents() == 7
    assert reader.fields["imatrix.chunk_size"].contents() == 512
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert tensors[f"{NAME}.in_sum2"].data.tolist() == [[2, 4]]
    assert tensors[f"{NAME}.in_sum2"].shape.tolist() == [2, 1]
    assert tensors[f"{NAME}.counts"].shape.tolist() == [1, 1]


@pytest.mark.parametrize("tail", [b"", struct.pack("<ii", 5, 4) + b"text"])
def test_the_older_format_is_read(tail, tmp_path):
    """A .dat file holds means times calls; the calls and the text's name may follow."""
    path = tmp_path / "m.dat"
    path.write_bytes(dat([(NAME, 4, [4, 8]), ("blk.0.ffn_up.weight", 0, [3, 5])], tail))
    found = read_imatrix(path)
    assert found.weights(NAME).tolist() == [[1, 2]]
    assert found.weights("blk.0.ffn_up.weight").tolist() == [[3, 5]]
    assert (found.chunks, found.datasets) == ((5, ("text",)) if tail else (0, ()))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "ends in the middle"),
        (struct.pack("<i", 0), "number of entries|the number"),
        (struct.pack("<i", 1 << 30), "entries"),
        (dat([(NAME, 4, [4, 8])])[:-3], "ends in the middle"),
        (dat([(NAME, 4, [4, -8])]), "no sums of squares"),
        (dat([(NAME, 4, [4, np.nan])]), "no sums of squares"),
        (b"no matrix at all, but some text", "entries"),
    ],
)
def test_a_damaged_file_is_refused(data, said, tmp_path):
    """Whatever is no importance matrix ends with the file, what is wrong, and what to do."""
    path = tmp_path / "m.dat"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=said) as caught:
        read_imatrix(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_a_model_is_no_importance_matrix(tmp_path):
    """A GGUF of another kind is refused with its kind; an absent file with the config's key."""
    from so8t.models.gguf_convert import convert  # noqa: PLC0415 - only here

    hf.plain(tmp_path)
    model = convert(tmp_path, tmp_path / "model.gguf", "f16").path
    with pytest.raises(ModelError, match="'model', not 'imatrix'"):
        read_imatrix(model)
    with pytest.raises(ModelError, match="no such file"):
        read_imatrix(tmp_path / "absent.gguf")


@pytest.mark.slow
def test_torch_computes_what_goes_into_each_matrix(tmp_path):
    """The sums are those of the inputs that the layers really had, and every layer has them."""
    import torch  # noqa: PLC0415 - slow, and only here

    model, tokenizer = hf.build(tmp_path, "Qwen2", tie_word_embeddings=True)
    text = "One, two, three. 日本語の文。 " * 60
    (tmp_path / "text.txt").write_text(text, "utf-8")
    told = []
    path = make_imatrix(
        tmp_path,
        tmp_path / "m.gguf",
        text=tmp_path / "text.txt",
        progress=lambda done, total: told.append((done, total)),
    )
    found = read_imatrix(path)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    ids = ids[: len(ids) // 512 * 512] if len(ids) >= 512 else ids
    layers = model.config.num_hidden_layers
    assert len(found.names) == 7 * layers
    assert found.datasets == ("text.txt",)
    assert told[0] == (0, found.chunks)
    inputs = []
    layer = model.model.layers[0].self_attn.q_proj
    layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0].reshape(-1, 64)))
    with torch.inference_mode():
        for start in range(0, len(ids), 512):
            model(torch.tensor([ids[start : start + 512]]))
    expected = torch.cat(inputs).double().square().mean(dim=0).numpy()
    assert found.counts[NAME].tolist() == [len(ids)]
    np.testing.assert_allclose(found.weights(NAME)[0], expected, rtol=1e-4)


@pytest.mark.slow
def test_conversations_are_read_as_the_template_writes_them(tmp_path):
    """Training data goes through the chat template; too little of it is refused with its size."""
    hf.build(tmp_path, "Qwen2", tie_word_embeddings=True)
    lines = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "1"}]}
        for n in range(100)
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    found = read_imatrix(make_imatrix(tmp_path, tmp_path / "m.gguf", text=None, data=[data]))
    assert found.datasets == ("data.jsonl",)
    data.write_text(json.dumps(lines[0]), "utf-8")
    with pytest.raises(DataError, match=r"has \d+ tokens; an importance matrix needs 256"):
        make_imatrix(tmp_path, tmp_path / "m.gguf", text=None, data=[data])
    with pytest.raises(PrerequisiteError, match="calibration text"):
        make_imatrix(tmp_path, tmp_path / "m.gguf", text=tmp_path / "absent.txt")
