"""What the Ollama tests share: short deadlines, a client, a fake server."""

from __future__ import annotations

import pytest
from ollama_engine import FAST

from fake_ollama import FakeOllama
from so8t.domain.exchange import Arm, ServedModel
from so8t.engines.ollama import OllamaEngine
from so8t.engines.ollama.client import OllamaClient


@pytest.fixture
def client_of():
    """Make clients with short deadlines; they are closed at the end."""
    made = []

    def make(url, **options):
        made.append(OllamaClient(url, timing=options.pop("timing", FAST), **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def fake():
    """A running fake server with the models `cyc` and `rep`."""
    from fake_ollama import Toy  # noqa: PLC0415 - beside its use

    with FakeOllama() as server:
        server.add("cyc")
        server.add("rep", Toy(kind="rep", weights="b" * 64))
        yield server


@pytest.fixture
def served(fake):
    """Describe a model of the fake server as the pipeline would."""

    def make(name="cyc", arm=Arm.A):
        return ServedModel(arm, name, fake.store.find(name).digest)

    return make


@pytest.fixture
def engine_of(fake):
    """Make engines for the fake server; they are closed at the end. `heard` holds findings."""
    made = []

    def make(**options):
        options.setdefault("timing", FAST)
        made.append(OllamaEngine(fake.url, **options))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def heard():
    """Findings, for `on_finding=heard.append`."""
    return []
