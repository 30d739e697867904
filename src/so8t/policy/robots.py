"""What a host's robots.txt allows: RFC 9309, read by Protego; no network here."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from protego import Protego

PRODUCT = "SO8T-AB"
"""The product token that a robots.txt may name."""
MAX_BYTES = 500 * 1024
"""How much of a robots.txt is read (RFC 9309, 2.5: at least 500 KiB)."""


@dataclass(frozen=True)
class Robots:
    """The rules of one origin.

    Attributes:
        source: where the rules come from, for the manifest ("robots.txt", "no robots.txt: ...").
        allowed_without_rules: the answer for each path where there are no rules.

    """

    source: str
    allowed_without_rules: bool
    _rules: Protego | None = None

    def allows(self, url: str) -> bool:
        """Whether `url`, whole and of this origin, may be fetched."""
        if self._rules is None:
            return self.allowed_without_rules
        return bool(self._rules.can_fetch(url, PRODUCT))

    @property
    def delay(self) -> float:
        """Seconds between two requests: Crawl-delay or Request-rate, the longer; 0 without."""
        if self._rules is None:
            return 0.0
        rate = self._rules.request_rate(PRODUCT)
        return max(
            float(self._rules.crawl_delay(PRODUCT) or 0.0),
            rate.seconds / rate.requests if rate else 0.0,
        )


def read_robots(status: int, body: bytes) -> Robots:
    """Make the rules of a final answer (redirects followed) for /robots.txt.

    RFC 9309, 2.3.1: 2xx gives rules, 4xx means that there are none and all is allowed, 5xx that
    nothing is. Two answers are taken more strictly than it asks: 429, which says that we come too
    often, and whatever is none of these, count as unreachable. Only the first 500 KiB of `body`
    are read; the line that the limit cuts is left out.
    """
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        if len(body) > MAX_BYTES:
            body = body[:MAX_BYTES].rpartition(b"\n")[0]
        text = body.decode("utf-8-sig", errors="replace")
        return Robots("robots.txt", allowed_without_rules=True, _rules=Protego.parse(text))
    if (
        HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
        and status != HTTPStatus.TOO_MANY_REQUESTS
    ):
        return Robots(f"no robots.txt: status {status}", allowed_without_rules=True)
    return unreachable_robots(f"status {status}")


def unreachable_robots(reason: str) -> Robots:
    """Make the rules of an origin whose robots.txt cannot be had: nothing is allowed."""
    return Robots(f"robots.txt unreachable: {reason}", allowed_without_rules=False)
