"""Training documents from the web: trusted hosts only, as their robots.txt allows, and recorded.

Nothing is contacted that the allow-list does not name: not by a redirect, and not for a
robots.txt. What was refused stands in the manifest with its reason, as what was saved does.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx2
from filelock import FileLock, Timeout

import so8t
from so8t.errors import DataError, LeaseHeldError, UsageError
from so8t.policy import robots
from so8t.policy.download import DownloadError, DownloadLimits, Reply, download
from so8t.policy.licence import stated_licence
from so8t.policy.manifest import Manifest, ManifestEntry
from so8t.system.files import write_atomic
from so8t.system.jsonl import raw_lines
from so8t.system.textfile import decode_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from so8t.policy.robots import Robots

_REDIRECTS = {301, 302, 303, 307, 308}
_MAX_REDIRECTS = 5  # RFC 9309, 2.3.1.2
_ROBOTS_SECONDS = 24 * 3600.0  # RFC 9309, 2.4: not used for longer
_MAX_PORT = 65535
_DEFAULT_PORTS = {"http": 80, "https": 443}
_DOTS = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_CONTACT = re.compile(r"[!-'*-~]+")  # printable ASCII without spaces and parentheses
_HOST = re.compile(r"(\*\.)?([^\s*/:\[\]]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?")


@dataclass(frozen=True)
class Pace:
    """How fast is asked.

    Attributes:
        seconds: the least between two requests to one origin, where robots.txt asks for less.
        longest: a robots.txt that asks for more seconds than this is not waited for: refused.
        sleep, clock: seconds; for tests.

    """

    seconds: float = 1.0
    longest: float = 300.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


class _Refused(Exception):
    """Why a document is not fetched."""

    def __init__(self, reason: str, *, retryable: bool = False, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable
        self.status = status


@dataclass
class _Step:
    """How far a document's redirects were followed: the address, and what its robots.txt says."""

    url: str | None = None
    decision: str | None = None


class AllowList:
    """Hosts that may be contacted: `host`, `host:port`, `*.host` for what is below a host."""

    def __init__(self, hosts: Iterable[str]) -> None:
        """Raises UsageError for what is no host, or when there is none."""
        self._entries: set[tuple[bool, str, int | None]] = set()
        for given in hosts:
            match = _HOST.fullmatch(given.strip())
            try:
                host = httpx2.URL(f"http://{match[2]}/").raw_host if match else b""
            except httpx2.InvalidURL:
                host = b""
            if match is None or not host:
                raise UsageError(
                    f"{given!r} is no host that could be trusted.",
                    hint="--allow example.org, --allow example.org:8080 or --allow *.example.org",
                )
            port = int(match[3]) if match[3] else None
            self._entries.add((bool(match[1]), host.decode("ascii"), port))
        if not self._entries:
            raise UsageError(
                "No host is trusted, so nothing can be fetched.", hint="--allow example.org"
            )

    def has(self, url: httpx2.URL) -> bool:
        """Whether an address is on a trusted host; without a port in the list: the usual one."""
        host, usual = url.raw_host.decode("ascii"), _DEFAULT_PORTS[url.scheme]
        port = url.port or usual
        return any(
            (host.endswith(f".{name}") if below else host == name)
            and port == (usual if allowed is None else allowed)
            for below, name, allowed in self._entries
        )


def user_agent(contact: str) -> str:
    """Return the User-Agent header. Raises UsageError for a contact nobody can be reached by."""
    reachable = "@" in contact.strip("@") or contact.startswith(("http://", "https://"))
    if not (_CONTACT.fullmatch(contact) and reachable):
        raise UsageError(
            f"{contact!r} is no address by which you can be reached.",
            hint="--contact you@example.org, or the https address of a page about your crawl",
        )
    return f"{robots.PRODUCT}/{so8t.__version__} (+{contact})"


def read_urls(path: Path) -> list[str]:
    """Read addresses, one a line; empty lines and those that begin with # do not count.

    An address that stands twice is given once. Raises DataError with the line.
    """
    found: dict[str, None] = {}
    for number, raw in raw_lines(path, hint="check its name"):
        text = decode_line(raw, path, number).strip()
        if not text or text.startswith("#"):
            continue
        try:
            _address(text)
        except _Refused as error:
            raise DataError(
                f"{error.reason}: {text!r}.",
                file=str(path),
                line=number,
                hint="one address a line, for example https://example.org/page.html",
            ) from None
        found[text] = None
    if not found:
        raise DataError("There is no address in the file.", file=str(path))
    return list(found)


class Fetcher:
    """Fetches into one directory. Not for use from several threads."""

    def __init__(
        self,
        directory: Path,
        allow: AllowList,
        contact: str,
        *,
        licence: str | None = None,
        limits: DownloadLimits | None = None,
        pace: Pace | None = None,
    ) -> None:
        """Raises UsageError for a contact that is none, DataError for a damaged manifest."""
        self._directory = directory
        self._allow = allow
        self._headers = {"user-agent": user_agent(contact)}
        self._licence = licence
        self._limits = limits or DownloadLimits()
        self._pace = pace or Pace()
        self._robots: dict[str, tuple[float, Robots]] = {}
        self._last: dict[str, float] = {}

    def fetch(
        self, urls: Sequence[str], told: Callable[[ManifestEntry, bool], None] | None = None
    ) -> Counter[str]:
        """Fetch what is not here yet; return how many were "saved", "refused", "kept", "failed".

        "failed" are the refused ones that may succeed later. `told` gets each line and whether it
        is new. Raises LeaseHeldError while another process fetches into the same directory.
        """
        counts: Counter[str] = Counter()
        self._directory.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._directory / ".fetch.lock", timeout=0):
                manifest = Manifest(self._directory)
                for url in urls:
                    entry = manifest.has(url)
                    kept = entry is not None
                    if entry is None:
                        entry = self._one(url)
                        manifest.append(entry)
                    outcome = "failed" if entry.retryable else entry.outcome
                    counts["kept" if kept else outcome] += 1
                    if told is not None:
                        told(entry, not kept)
        except Timeout as error:
            raise LeaseHeldError(
                f"Another process fetches into {self._directory}.", retryable=True
            ) from error
        return counts

    def _one(self, text: str) -> ManifestEntry:
        """Fetch one document, or find out why not."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        step = _Step()
        try:
            url, reply = self._follow(_address(text), step)
            return self._saved(text, url, now, step.decision, reply)
        except _Refused as error:
            return ManifestEntry(
                url=text,
                final_url=step.url,
                time=now,
                outcome="refused",
                reason=error.reason,
                retryable=error.retryable,
                status=error.status,
                robots=step.decision,
            )

    def _follow(self, url: httpx2.URL, step: _Step) -> tuple[httpx2.URL, Reply]:
        """Go from redirect to redirect, each allowed by its own host, to what is no redirect."""
        for _ in range(_MAX_REDIRECTS + 1):
            rules = self._permit(url)
            allowed = "allowed" if rules.allows(str(url)) else "disallowed"
            step.url, step.decision = str(url), f"{allowed}: {rules.source}"
            self._obey(url, rules)
            reply = self._get(url, self._limits)
            if reply.status not in _REDIRECTS:
                return url, reply
            url = _target(url, reply)
        raise _Refused(f"more than {_MAX_REDIRECTS} redirects", status=reply.status)

    def _permit(self, url: httpx2.URL) -> Robots:
        """Return the rules of a trusted address's origin."""
        if not self._allow.has(url):
            raise _Refused(f"{_origin(url)} is not on the allow-list")
        return self._rules_of(url)

    def _obey(self, url: httpx2.URL, rules: Robots) -> None:
        """Refuse what the rules disallow, and wait as long as they ask."""
        if not rules.allows(str(url)):
            # An unreachable robots.txt may come back; a rule that stands there stays.
            raise _Refused(
                f"disallowed by {rules.source}"
                if rules.allowed_without_rules
                else f"disallowed: {rules.source}",
                retryable=not rules.allowed_without_rules,
            )
        if rules.delay > self._pace.longest:
            raise _Refused(
                f"robots.txt asks for {rules.delay:g} s between requests, "
                f"more than the {self._pace.longest:g} s that are waited"
            )
        last = self._last.get(_origin(url))
        if last is not None:
            left = last + max(rules.delay, self._pace.seconds) - self._pace.clock()
            if left > 0:
                self._pace.sleep(left)

    def _rules_of(self, url: httpx2.URL) -> Robots:
        origin = _origin(url)
        known = self._robots.get(origin)
        if known is not None and self._pace.clock() - known[0] < _ROBOTS_SECONDS:
            return known[1]
        rules = self._ask_robots(url.join("/robots.txt"))
        self._robots[origin] = (self._pace.clock(), rules)
        return rules

    def _ask_robots(self, url: httpx2.URL) -> Robots:
        """Fetch a robots.txt; redirects lead on trusted hosts only."""
        limits = DownloadLimits(self._limits.seconds, robots.MAX_BYTES + 1)
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                reply = self._get(url, limits, cut=True)
                if reply.status not in _REDIRECTS:
                    return robots.read_robots(reply.status, reply.body)
                url = _target(url, reply)
                if not self._allow.has(url):
                    return robots.unreachable_robots(
                        f"redirected to {_origin(url)}, which is not on the allow-list"
                    )
        except _Refused as error:
            return robots.unreachable_robots(error.reason)
        return robots.unreachable_robots(f"more than {_MAX_REDIRECTS} redirects")

    def _get(self, url: httpx2.URL, limits: DownloadLimits, *, cut: bool = False) -> Reply:
        try:
            return download(url, self._headers, limits, cut=cut)
        except DownloadError as error:
            raise _Refused(error.reason, retryable=error.retryable) from error
        finally:
            self._last[_origin(url)] = self._pace.clock()

    def _saved(
        self, text: str, url: httpx2.URL, now: str, decision: str | None, reply: Reply
    ) -> ManifestEntry:
        """Write a document. Its name is its digest, so the same one from two places is one file."""
        if reply.status != HTTPStatus.OK:
            busy = reply.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT}
            later = busy or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            raise _Refused(f"status {reply.status}", retryable=later, status=reply.status)
        encoding = reply.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            raise _Refused(f"sent as {encoding}, which was not asked for", status=reply.status)
        kind = reply.headers.get("content-type")
        digest = hashlib.sha256(reply.body).hexdigest()
        plain_kind = (kind or "").partition(";")[0].strip().lower()
        name = f"documents/{digest}{mimetypes.guess_extension(plain_kind) or '.bin'}"
        write_atomic(self._directory / name, reply.body)
        stated = stated_licence(reply.headers, reply.body, str(url))
        licence = self._licence or stated
        return ManifestEntry(
            url=text,
            final_url=str(url),
            time=now,
            outcome="saved",
            status=reply.status,
            licence=licence,
            licence_from="person" if self._licence else "document" if stated else None,
            licence_stated=stated,
            content_type=kind,
            digest=f"sha256:{digest}",
            size=len(reply.body),
            file=name,
            robots=decision,
        )


def _origin(url: httpx2.URL) -> str:
    """Scheme, host and port: what a robots.txt holds for (RFC 9309, 2.3)."""
    host = url.raw_host.decode("ascii")
    shown = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{shown}:{url.port or _DEFAULT_PORTS[url.scheme]}"


def _address(text: str) -> httpx2.URL:
    """Read an address that could be fetched; httpx2 resolves dots and encodes the host."""
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise _Refused(f"no address: {error}") from error
    return _checked(url)


def _target(url: httpx2.URL, reply: Reply) -> httpx2.URL:
    location = reply.headers.get("location", "")
    if not location:
        raise _Refused("a redirect without a target", status=reply.status)
    try:
        return _checked(url.join(location))
    except httpx2.InvalidURL as error:
        raise _Refused(f"a redirect to no address: {error}", status=reply.status) from error


def _checked(url: httpx2.URL) -> httpx2.URL:
    if url.scheme not in _DEFAULT_PORTS or not url.raw_host:
        raise _Refused("neither http nor https with a host")
    if url.userinfo:
        raise _Refused("an address with a user name or password")
    if url.port is not None and not 0 < url.port <= _MAX_PORT:
        raise _Refused("no port of TCP")
    # Some servers resolve %2e%2e after robots.txt was asked about the path as it is written.
    if _DOTS.search(url.raw_path.decode("ascii").partition("?")[0]):
        raise _Refused("a path with dots in place of a name")
    return url.copy_with(fragment=None)
