"""A small Ollama server for tests: real HTTP on loopback, toy models whose answers are known.

It is checked against recordings of a real server, so that it cannot drift from the truth.
"""

from fake_ollama.server import FakeOllama
from fake_ollama.store import Toy

__all__ = ["FakeOllama", "Toy"]
