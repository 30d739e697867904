"""A small Ollama server for tests: real HTTP on loopback, toy models whose answers are known.

It is checked against recordings of a real server, so that it cannot drift from the truth.
"""

from so8t.engines.ollama.fake.server import FakeOllama
from so8t.engines.ollama.fake.store import Toy

__all__ = ["FakeOllama", "Toy"]
