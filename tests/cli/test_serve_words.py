"""`so8t serve --instruction`: a file that a person wrote."""

from __future__ import annotations

import pytest

from so8t.cli.serve import _words
from so8t.errors import DataError


def test_an_instruction_in_another_encoding_is_refused_with_its_name(tmp_path):
    """Shift_JIS is named with the file; an empty file asks for nothing."""
    file = tmp_path / "words.txt"
    file.write_bytes("やさしく答えてください。".encode("cp932"))
    with pytest.raises(DataError, match="Shift_JIS") as caught:
        _words(file)
    assert caught.value.file == str(file)
    file.write_bytes(b"")
    assert _words(file) == ""
    file.write_text("Answer gently.\n", encoding="utf-8")
    assert _words(file) == "Answer gently."
