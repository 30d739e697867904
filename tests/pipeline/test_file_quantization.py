"""`quantization` on a GGUF source is done or refused, never ignored."""

from __future__ import annotations

import pytest

from hf_directories import plain
from so8t.config.load import load_config
from so8t.domain.exchange import Arm
from so8t.errors import ModelError
from so8t.models.gguf_check import inspect_gguf
from so8t.models.gguf_convert import convert
from so8t.models.sources import resolve
from so8t.pipeline.prepare.conversion import asked_of_file
from so8t.pipeline.prepare.prepare import prepare

CONFIG = """\
name: file
a:
  source: {{gguf: model.gguf}}
  {line}
b:
  source: {{gguf: model.gguf}}
benchmark: {{suites: [suite.jsonl]}}
"""


def loaded(directory, line, made_as):
    """A config beside a small GGUF of a type."""
    plain(directory)
    convert(directory, directory / "model.gguf", made_as)
    (directory / "suite.jsonl").write_text('{"id": "1", "prompt": "a", "reference": "b"}\n')
    path = directory / "so8t.yaml"
    path.write_text(CONFIG.format(line=line), "utf-8")
    return load_config(path)


def test_a_named_quantization_is_done(tmp_path):
    """An F16 file whose arm names q4_0 is served as Q4_0, and the conversion is recorded."""
    config = loaded(tmp_path, "quantization: q4_0", "f16")
    found = prepare(config, Arm.A, resolve(config.a.source), [], tmp_path, lambda *_: None)
    assert inspect_gguf(tmp_path / "model-q4_0.gguf").file_type == "Q4_0"
    assert found.location == str(tmp_path / "model-q4_0.gguf")
    assert found.conversion["quantization"] == "q4_0"


@pytest.mark.parametrize(("line", "kind"), [("label: A", "f16"), ("quantization: q4_0", "q4_0")])
def test_a_file_stays_where_nothing_else_is_named(line, kind, tmp_path):
    """The default is for conversions; a file that has the named type already stays too."""
    config = loaded(tmp_path, line, kind)
    found = prepare(config, Arm.A, resolve(config.a.source), [], tmp_path, lambda *_: None)
    assert found.location == str(tmp_path / "model.gguf")


def test_quantizing_twice_is_refused_before_the_night(tmp_path):
    """A file in few bits is refused with its type, in `plan` already."""
    config = loaded(tmp_path, "quantization: q8_0", "q4_0")
    with pytest.raises(ModelError, match="already quantized") as caught:
        asked_of_file(tmp_path / "model.gguf", config.a)
    assert caught.value.hint
