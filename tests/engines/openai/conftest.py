"""Two tiny models behind real servers, and the engine in front of them."""

from __future__ import annotations

import contextlib

import pytest
from llama_server import LlamaServer

from so8t.config.engine_section import engine_settings
from so8t.domain.exchange import Arm, LoadProfile, ServedModel
from so8t.engines.openai.engine import OpenAIEngine
from so8t.engines.openai.kind import CAPABILITIES
from tiny_gguf import write_tiny_gguf

PROFILE = LoadProfile(slots=2, context=512)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Two models that answer otherwise, by arm."""
    directory = tmp_path_factory.mktemp("models")
    return {
        arm: ServedModel(
            arm, str(write_tiny_gguf(directory / f"{arm.value}.gguf", seed=seed)), f"sha256:{seed}"
        )
        for seed, arm in enumerate(Arm, start=1)
    }


@pytest.fixture
def start(models):
    """Start a place's two servers: `start("east", slots=2)`; all end with the test."""
    with contextlib.ExitStack() as stack:

        def make(name="east", *, slots=2, wait=True, **more):
            servers = {arm: LlamaServer(models[arm].location, slots=slots, **more) for arm in Arm}
            for server in servers.values():
                server.start()
                stack.callback(server.stop)
            for server in servers.values() if wait else ():
                server.wait()
            return Started(name, slots, servers)

        yield make


class Started:
    """A place that is there: its servers by arm, and its lines in a config."""

    def __init__(self, name, slots, servers):
        self.name, self.slots, self.servers = name, slots, servers

    @property
    def config(self):
        urls = {arm.value: server.url for arm, server in self.servers.items()}
        return {"name": self.name, "urls": urls, "slots": self.slots}


@pytest.fixture
def engine_of(models):
    """Make an engine of started places, both models adopted, what it notes in `engine.noted`."""
    with contextlib.ExitStack() as stack:

        def make(*places, adopt=True, **more):
            noted = []
            settings = engine_settings(
                "openai", places=[place.config for place in places], context=512, **more
            )
            engine = OpenAIEngine(
                settings, CAPABILITIES, lambda kind, **data: noted.append((kind, data))
            )
            stack.callback(engine.close)
            engine.noted = noted
            engine.adopted = {arm: engine.adopt(models[arm], "", None) for arm in Arm if adopt}
            return engine

        yield make
