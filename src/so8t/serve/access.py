"""Who may come in: host and origin, token, rate. Pure rules; `app` asks them."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_MOST_CLIENTS = 4096


@dataclass(frozen=True, slots=True)
class Access:
    """What a request must bring.

    Attributes:
        hosts: values of the Host header that mean us, with their port. A page that lets its own
            name point at this machine (DNS rebinding) sends its own name and is turned away.
        token: SHA-256 of the token that is asked for; None asks for none.

    """

    hosts: frozenset[str]
    token: bytes | None = None

    def knows_host(self, given: Sequence[str]) -> bool:
        """Whether there is exactly one Host, and it is ours."""
        return len(given) == 1 and given[0].lower() in self.hosts

    def knows_origin(self, given: Sequence[str]) -> bool:
        """Whether a request comes from no page at all, or from one of this server's own."""
        if not given:
            return True
        scheme, sign, rest = given[0].lower().partition("://")
        return len(given) == 1 and bool(sign) and scheme in {"http", "https"} and rest in self.hosts

    def knows_token(self, given: Sequence[str]) -> bool:
        """Whether the bearer token is right; compared in constant time."""
        if self.token is None:
            return True
        scheme, _, said = (given[0] if len(given) == 1 else "").partition(" ")
        digest = hashlib.sha256(said.strip().encode(errors="surrogateescape")).digest()
        return hmac.compare_digest(digest, self.token) and scheme.lower() == "bearer"


def access(
    host: str, port: int, *, names: Sequence[str] = (), token: bytes | None = None
) -> Access:
    """Make the access rules of a server that listens on `host`:`port`, also called `names`."""
    known = [*LOOPBACK_NAMES, *names]
    if host not in {"0.0.0.0", "::", ""}:  # noqa: S104 - compared with, not listened on
        known.append(f"[{host}]" if ":" in host else host)
    hosts = {f"{name.lower()}:{port}" for name in known if ":" not in name.rpartition("]")[2]}
    hosts |= {name.lower() for name in known if port == 80 or ":" in name.rpartition("]")[2]}  # noqa: PLR2004 - HTTP's own number
    return Access(frozenset(hosts), None if token is None else hashlib.sha256(token).digest())


class Rate:
    """A token bucket for each client address; times are given, in seconds."""

    def __init__(self, per_minute: float, burst: int) -> None:
        self._per_second = per_minute / 60
        self._burst = float(burst)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, now: float) -> float:
        """Take one request of `client`; return 0, or the seconds until one is free again."""
        full, at = self._buckets.pop(client, (self._burst, now))
        full = min(self._burst, full + (now - at) * self._per_second)
        allowed = full >= 1
        self._buckets[client] = (full - 1 if allowed else full, now)
        while len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - full) / self._per_second
