"""`.eval` archives from anyone: streamed, bounded, and read as `json` reads them."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from result_files import inspect_eval, inspect_header, inspect_sample

from so8t.errors import DataError
from so8t.results.inspect_log import read_eval
from so8t.results.items import SourcePlace
from so8t.results.zip_entries import read_list

MIB = 1 << 20
HEADER = json.dumps(inspect_header())
BOMBS = {
    "a long text in a sample": ("samples/1_epoch_1.json", '{"id": "', "x", '"}'),
    "white space in a sample": ("samples/1_epoch_1.json", "{", " ", '"id": 1}'),
    "white space in the list": ("summaries.json", "[", " ", "]"),
    "lists in the list": ("summaries.json", "[[", "[],", "[]]]"),
    "a long number": ("summaries.json", '[{"id": ', "1", "}]"),
    "a long header": ("header.json", "{", " ", "}"),
    "a long text in the list": ("summaries.json", '[{"id": "', "\\n", '"}]'),
}
READ = """
import resource, sys
from pathlib import Path
from so8t.errors import DataError
from so8t.results.inspect_log import read_eval
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_eval(Path(sys.argv[1]))
except DataError as error:
    print(error.message)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def bomb(path, name, head, piece, tail, size=600 * MIB):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if name != "header.json":
            archive.writestr("header.json", HEADER)
        if name != "samples/1_epoch_1.json":
            archive.writestr("samples/1_epoch_1.json", json.dumps(inspect_sample(1, "C")))
        with archive.open(name, "w", force_zip64=True) as entry:
            entry.write(head.encode())
            block = piece.encode() * (MIB // len(piece))
            for _ in range(size // MIB):
                entry.write(block)
            entry.write(tail.encode())
    return path


@pytest.mark.slow
@pytest.mark.parametrize("parts", BOMBS.values(), ids=BOMBS)
def test_a_small_file_takes_little_memory(tmp_path, parts):
    """600 MiB in 0.6 MB: refused by what it claims, within 100 MiB of memory."""
    path = bomb(tmp_path / "log.eval", *parts)
    assert path.stat().st_size < 4 * MIB
    found = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True
    )
    said, taken = found.stdout.splitlines()
    assert "claims to hold" in said
    assert str(path) in said
    assert int(taken) < 100


def test_many_entries_that_are_small_alone_are_refused_together(tmp_path):
    """Forty samples of 15 MiB each: none is suspicious, all of them are."""
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", HEADER)
        text = json.dumps(inspect_sample(1, "C") | {"more": "x" * 15 * MIB})
        for number in range(40):
            archive.writestr(f"samples/{number}_epoch_1.json", text)
    with pytest.raises(DataError, match="claims to hold"):
        read_eval(path)


def test_a_large_honest_log_is_read(tmp_path):
    """Ten thousand summaries that differ: 5 MB of JSON, more than one piece of the stream."""
    samples = [inspect_sample(n, "C") | {"metadata": {"note": f"{n * 7919 % 10007:x}" * 60}}
               for n in range(10_000)]  # fmt: skip
    path = inspect_eval(tmp_path / "log.eval", samples)
    assert len(read_eval(path).items) == 10_000


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("zip") / "list.zip"

    def write(data):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("list.json", data)
        return path

    return write


def streamed(path):
    with zipfile.ZipFile(path) as archive:
        return list(read_list(archive, "list.json", SourcePlace(path, entry="list.json")))


@given(
    st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=6),
    st.sampled_from([None, 1, "\t"]),
    st.booleans(),
)
def test_the_stream_gives_what_json_gives(written, items, indent, ascii_only):
    """Any list of objects, written in any way."""
    text = json.dumps(items, indent=indent, ensure_ascii=ascii_only)
    data = text.encode("utf-8", "surrogatepass")
    try:
        data.decode()
    except UnicodeDecodeError:
        with pytest.raises(DataError, match="UTF-8"):
            streamed(written(data))
    else:
        assert streamed(written(data)) == items


@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=3), st.data())
def test_a_list_that_is_cut_or_followed_is_refused(written, items, data):
    """A part of it is never taken for the whole, nor is what stands behind it passed over."""
    text = json.dumps(items)
    for broken in (text[: data.draw(st.integers(0, len(text) - 1))], text + "[]", text + "x"):
        with pytest.raises(DataError):
            streamed(written(broken))
