"""What the Ollama tests share: short deadlines, a client, a fake server."""

from __future__ import annotations

import pytest

from so8t.domain.exchange import Arm, Message, ServedModel
from so8t.engines.ollama.client import OllamaClient
from so8t.engines.ollama.fake import FakeOllama
from so8t.engines.ollama.timing import Deadlines, Retries, Timing

FAST = Timing(
    answer=Deadlines(connect=1.0, first_byte=0.8, between=0.5, whole=1.5),
    # A sound server answers these at once, but a busy machine may take its time.
    quick=Deadlines(connect=1.0, first_byte=3.0, between=3.0, whole=4.0),
    load=Deadlines(connect=1.0, first_byte=1.0, between=1.0, whole=1.2),
    probe=Deadlines(connect=1.0, first_byte=0.8, between=0.8, whole=1.0),
    create=Deadlines(connect=1.0, first_byte=2.0, between=2.0, whole=5.0),
    upload=Deadlines(connect=1.0, first_byte=2.0, between=0.8, whole=5.0),
    restart=1.5,
    unload=1.0,
    poll=0.02,
    retries=Retries(attempts=3, busy_seconds=1.2, wait_initial=0.01, wait_max=0.05, jitter=0.01),
)
HELLO = (Message("user", "hello"),)


def pytest_configure(config):
    """Know the mark of tests that need a real server."""
    config.addinivalue_line("markers", "ollama: needs a real server at SO8T_OLLAMA_URL")


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
    from so8t.engines.ollama.fake import Toy  # noqa: PLC0415 - beside its use

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
