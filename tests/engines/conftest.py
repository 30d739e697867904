"""A tiny model and requests that the engine tests share."""

from __future__ import annotations

import pytest

from so8t.domain.exchange import Arm, Decoding, EngineRequest, Message, ServedModel
from tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A tiny random Llama with a chat template, whose answers end by themselves."""
    path = write_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")
    return ServedModel(Arm.A, str(path), "sha256:tiny")


@pytest.fixture(scope="session")
def endless_model(tmp_path_factory):
    """The same model without a wish to end, so that an answer lasts as long as it is let."""
    path = write_tiny_gguf(tmp_path_factory.mktemp("model") / "endless.gguf", end_weight=0.0)
    return ServedModel(Arm.B, str(path), "sha256:endless")


@pytest.fixture(scope="session")
def question():
    """Make a request: `question(7)`, `question("k", "text", max_tokens=5)`."""

    def make(key, text=None, **decoding):
        content = f"What comes after {key}?" if text is None else text
        return EngineRequest(
            str(key), (Message("user", content),), Decoding(**{"max_tokens": 24, **decoding})
        )

    return make
