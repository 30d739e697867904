"""What the tests of the Ollama engine ask, and how short they wait for it."""

from __future__ import annotations

from so8t.domain.exchange import Decoding, EngineRequest, LoadProfile, Message
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
PROFILE = LoadProfile(slots=1, context=512, threads=2)


def question(key="k", **decoding):
    """Make a request with the key."""
    return EngineRequest(str(key), HELLO, Decoding(**{"max_tokens": 8, **decoding}))


def notices(heard):
    """Return what kinds of findings were heard."""
    return [finding.notice for finding in heard]
