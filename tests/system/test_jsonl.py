"""Lines of JSON and of text that people made are read, or refused with their place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from so8t.errors import DataError
from so8t.system.jsonl import json_lines, raw_lines
from so8t.system.textfile import decode_line

ROW = {"text": "これは"}
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def read(path):
    return list(json_lines(path, shape="{...}", missing="look elsewhere"))


@settings(max_examples=40)
@given(rows=st.lists(PLAIN), end=st.sampled_from([b"\n", b"\r\n", b"\n\n"]), mark=st.booleans())
def test_what_was_written_is_read_with_its_numbers(tmp_path_factory, rows, end, mark):
    """Values come back in order, whatever ends a line and whatever stands before the first."""
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    lines = [json.dumps(row, ensure_ascii=True).encode() for row in rows]
    path.write_bytes((b"\xef\xbb\xbf" if mark and rows else b"") + end.join(lines))
    step = 2 if end == b"\n\n" else 1
    assert read(path) == [(1 + step * number, row) for number, row in enumerate(rows)]


@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_a_line(tmp_path_factory, data):
    """Whatever stands in a file, the end is a value or a DataError with file and line."""
    path = tmp_path_factory.mktemp("bytes") / "a.jsonl"
    path.write_bytes(data)
    try:
        places = [(str(path), line) for line, _ in read(path)]
    except DataError as error:
        places = [(error.file, error.line)]
    assert {file for file, _ in places} <= {str(path)}
    assert all(1 <= line <= data.count(b"\n") + 1 for _, line in places)
    assert b"\n".join(raw for _, raw in raw_lines(path)) == data


@pytest.mark.parametrize(
    ("second", "message", "hint"),
    [
        (b"{", "The line is no JSON", "one JSON object a line: {...}"),
        (b"[" * 100_000, "The line is no JSON", "one JSON object a line: {...}"),
        (b"\xef\xbb\xbf{}", "The line is no JSON", "one JSON object a line: {...}"),
        (b"{}\0", "The line is no JSON", "one JSON object a line: {...}"),
        (b'{"a": "\xff"}', "invalid start byte at byte 8 of the line", "save the file as UTF-8"),
        (json.dumps(ROW, ensure_ascii=False).encode("cp932"), "Shift_JIS", "'cp932'"),
    ],
)
def test_a_line_that_is_none_is_refused(tmp_path, second, message, hint):
    """File, line, what is wrong with it and what to do about it."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n" + second + b"\n{}\n")
    with pytest.raises(DataError, match=r"a\.jsonl:2: ") as caught:
        read(path)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_other_encodings_of_a_whole_file_are_named(tmp_path):
    """UTF-16 is named at the first line; of a text over several lines the right one is named."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps(ROW).encode("utf-16"))
    with pytest.raises(DataError, match=r"a\.jsonl:1: UTF-16"):
        read(path)
    with pytest.raises(DataError, match=r"a\.jsonl:3: not UTF-8: .* at byte 2 of the line"):
        decode_line(b"a\nb\nc\xe9 d", path, 1)


def test_the_last_of_two_equal_keys_counts(tmp_path):
    """Data of other programs is taken as they mean it; only suites refuse it."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1, "a": 2}', encoding="utf-8")
    assert read(path) == [(1, {"a": 2})]


def test_a_file_that_is_not_there_is_refused_with_the_readers_hint(tmp_path):
    """The reader knows where the name was given."""
    with pytest.raises(DataError, match="cannot be read") as caught:
        read(tmp_path / "absent.jsonl")
    assert caught.value.hint == "look elsewhere"
