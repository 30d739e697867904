"""Servers that end with their tests."""

from __future__ import annotations

import pytest
from think_server import start


@pytest.fixture
def serve(tmp_path):
    """Start servers that end with the test: `serve(limits={...}, token=...)`."""
    running = []

    def make(**options):
        running.append(start(tmp_path, **options))
        return running[-1]

    yield make
    for one in running:
        one.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for tests that leave it as it was."""
    one = start(tmp_path_factory.mktemp("served"))
    yield one
    one.stop()
