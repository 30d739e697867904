"""How much a client may ask of the server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Attributes, sizes in bytes and times in seconds.

    body: of a request.
    query: characters of the question.
    max_tokens: the most tokens of a whole reply, thinking included.
    headers, body_time: until a request's head, and then its body, must be there.
    write: until a client must have taken what was sent to it.
    answer: until the model must have answered; waiting for a turn counts.
    waiting: requests that wait for the model; more are told to come back.
    per_minute, burst: requests a client address may make in the long run, and at once.
    connections: open at a time; more are closed unheard.
    """

    body: int = 64 * 1024
    query: int = 16_000
    max_tokens: int = 1024
    headers: float = 10.0
    body_time: float = 10.0
    write: float = 10.0
    answer: float = 120.0
    waiting: int = 4
    per_minute: float = 120.0
    burst: int = 20
    connections: int = 4096
