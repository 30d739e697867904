"""A GGUF header is read whole, or refused with its cause, whatever the file holds."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_gguf import HEADS, LAYERS, TEMPLATE, TRAINED_CONTEXT, WIDTH, write_tiny_gguf

from so8t.engines.gguf_header import read_header
from so8t.errors import ModelError


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_tiny_gguf(tmp_path_factory.mktemp("header") / "tiny.gguf")


def test_what_a_header_tells(tmp_path):
    """Architecture, template, trained context and the size of the cache come from the file."""
    header = read_header(write_tiny_gguf(tmp_path / "tiny.gguf"))
    assert header.architecture == "llama"
    assert header.chat_template == TEMPLATE
    assert header.template_digest.startswith("sha256:")
    assert header.trained_context == TRAINED_CONTEXT
    # Keys and values, 16 bits each, in every layer.
    assert header.cache_bytes_per_token == 2 * 2 * LAYERS * WIDTH
    assert WIDTH % HEADS == 0


def test_what_a_header_does_not_tell(tmp_path):
    """Without a chat template there is none, and no digest of none."""
    header = read_header(write_tiny_gguf(tmp_path / "tiny.gguf", template=None))
    assert header.chat_template is None
    assert header.template_digest is None


def test_a_cut_header_is_refused(tmp_path, whole):
    """A file that ends anywhere inside its header is a ModelError with a hint."""
    path, data = tmp_path / "cut.gguf", whole.read_bytes()
    for size in range(0, data.index(b"tokenizer.chat_template"), 97):
        path.write_bytes(data[:size])
        with pytest.raises(ModelError) as caught:
            read_header(path)
        assert caught.value.hint


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(0, 7000), put=st.binary(min_size=1, max_size=16))
def test_damage_is_never_a_traceback(tmp_path, whole, place, put):
    """Any bytes anywhere in the header give a header or a ModelError, soon."""
    path, data = tmp_path / "damaged.gguf", whole.read_bytes()
    path.write_bytes(data[:place] + put + data[place + len(put) :])
    with contextlib.suppress(ModelError):
        read_header(path)
