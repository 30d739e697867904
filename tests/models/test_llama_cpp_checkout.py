"""Conversion by a llama.cpp checkout: the contract of the call, with a stand-in for its script."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys

import pytest

from hf_directories import plain
from so8t.errors import ModelError, PrerequisiteError, UnsupportedModelError
from so8t.models.gguf_check import inspect_gguf
from so8t.models.gguf_convert import convert
from so8t.models.llama_cpp_checkout import convert_with_checkout
from so8t.pipeline.prepare.conversion import make_gguf
from so8t.system.files import file_digest

# What llama.cpp's script is called with and does, as far as we depend on it.
SCRIPT = """
import argparse, json, os, shutil, sys
from pathlib import Path
here = Path(__file__).parent
parser = argparse.ArgumentParser()
parser.add_argument("model", type=Path)
parser.add_argument("--outfile", type=Path)
parser.add_argument("--outtype", choices=["f32", "f16", "bf16", "q8_0", "auto"])
asked = parser.parse_args()
told = {"python": sys.executable, "cwd": os.getcwd(), "type": asked.outtype,
        "pythonpath": os.environ.get("PYTHONPATH"), "offline": os.environ.get("HF_HUB_OFFLINE")}
(here / "told.json").write_text(json.dumps(told))
if json.loads((asked.model / "config.json").read_text())["architectures"] == ["NewForCausalLM"]:
    asked.outfile.write_bytes(b"GGUF, but not whole")
    print("loading", file=sys.stderr)
    sys.exit("ERROR:hf-to-gguf:Model NewForCausalLM is not supported")
shutil.copyfile(here / f"{asked.outtype}.gguf", asked.outfile)
"""


@pytest.fixture
def checkout(tmp_path):
    """A directory that looks like a checkout, its Python in .venv, and a model for it."""
    place = tmp_path / "llama.cpp"
    place.mkdir()
    (place / "convert_hf_to_gguf.py").write_text(SCRIPT, "utf-8")
    plain(tmp_path / "known")
    for kind in ("f16", "f32", "q8_0"):
        convert(tmp_path / "known", place / f"{kind}.gguf", kind)
    python = place / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', "utf-8")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return place


@pytest.fixture
def neox(tmp_path):
    plain(tmp_path / "neox", architectures=["GPTNeoXForCausalLM"])
    return tmp_path / "neox"


def told(checkout) -> dict:
    return json.loads((checkout / "told.json").read_text("utf-8"))


posix = pytest.mark.skipif(os.name == "nt", reason="the stand-in Python is a shell script")


@posix
def test_the_script_is_called_as_it_wants(checkout, neox, tmp_path, monkeypatch):
    """The checkout's Python, its directory, the type asked for, no packages of ours, no network."""
    monkeypatch.setenv("PYTHONPATH", "/ours")
    out = tmp_path / "out" / "model.gguf"
    result = convert_with_checkout(checkout, neox, out, "q8_0")
    assert told(checkout) == {
        "python": sys.executable,
        "cwd": str(checkout),
        "type": "q8_0",
        "pythonpath": None,
        "offline": "1",
    }
    assert result.digest == file_digest(out)
    assert result.converter.startswith("llama.cpp convert_hf_to_gguf.py")
    assert result.tensor_count == 12
    assert list(out.parent.iterdir()) == [out]


@posix
def test_a_refusal_gives_its_last_words_and_leaves_nothing(checkout, neox, tmp_path):
    """What the script says is shown; a file that it began is not taken for a model."""
    config = json.loads((neox / "config.json").read_text("utf-8"))
    config["architectures"] = ["NewForCausalLM"]
    (neox / "config.json").write_text(json.dumps(config), "utf-8")
    out = tmp_path / "out" / "model.gguf"
    with pytest.raises(ModelError, match="Model NewForCausalLM is not supported") as caught:
        convert_with_checkout(checkout, neox, out, "f16")
    assert "exit code 1" in str(caught.value)
    assert "requirements" in str(caught.value.hint)
    assert list(out.parent.iterdir()) == []
    (checkout / "f16.gguf").write_bytes(b"no GGUF")
    config["architectures"] = ["GPTNeoXForCausalLM"]
    (neox / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ModelError, match="GGUF"):
        convert_with_checkout(checkout, neox, out, "f16")
    assert list(out.parent.iterdir()) == []


def test_a_directory_that_is_no_checkout_is_refused(neox, tmp_path):
    """A wrong path says what is missing and where it comes from."""
    with pytest.raises(PrerequisiteError, match=r"convert_hf_to_gguf\.py is not there") as caught:
        convert_with_checkout(tmp_path, neox, tmp_path / "model.gguf", "f16")
    assert "git clone" in str(caught.value.hint)


@posix
def test_only_what_is_not_built_in_goes_there(checkout, neox, tmp_path):
    """A family of ours is converted here; others by the checkout, from its exact file."""

    def made(directory, kind, way):
        return make_gguf(directory, tmp_path / "made.gguf", kind, way, lambda *_: None)

    ours = made(tmp_path / "known", "q5_0", checkout)
    assert ours.converter == "so8t"
    assert not (checkout / "told.json").exists()
    theirs = made(neox, "q5_0", checkout)
    assert told(checkout)["type"] == "f32"
    assert theirs.converter.startswith("llama.cpp")
    assert inspect_gguf(theirs.path).file_type == "Q5_0"
    assert not list(tmp_path.glob("model-*"))
    with pytest.raises(UnsupportedModelError, match="GPTNeoXForCausalLM") as caught:
        made(neox, "q8_0", None)
    assert "llama_cpp: DIR" in str(caught.value.hint)
    assert "kind: ollama" in str(caught.value.hint)
    shutil.rmtree(checkout / ".venv")
    assert made(neox, "f16", checkout).converter.startswith("llama.cpp")
    assert told(checkout)["python"] == sys.executable
