"""Fetching against a real server: what is allowed, what is not, and what is written about it."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from filelock import FileLock

from so8t.cli.data_fetch import command
from so8t.errors import DataError, LeaseHeldError, UsageError
from so8t.policy.download import DownloadLimits
from so8t.policy.fetch import AllowList, Fetcher, Pace, read_urls, user_agent
from so8t.policy.robots import MAX_BYTES, read_robots

CONTACT = "crawl@example.org"


@dataclass
class Site:
    """A server and what it was asked; `pages` maps a path to (status, headers, body)."""

    pages: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    agents: set = field(default_factory=set)
    host: str = ""

    def page(self, path, body=b"text", status=200, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = (status, {"content-type": "text/plain", **named}, body)

    def url(self, path):
        return f"http://{self.host}{path}"


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self):
        self.now, self.slept = 0.0, []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def pace(self, **values):
        return Pace(sleep=self.sleep, clock=lambda: self.now, **values)


@pytest.fixture
def new_site():
    servers = []

    def start():
        site = Site()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                site.asked.append(self.path)
                site.agents.add(self.headers["user-agent"])
                page = site.pages.get(self.path)
                if callable(page):
                    page(self)
                    return
                status, headers, body = page or (404, {}, b"")
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        site.host = f"127.0.0.1:{server.server_port}"
        return site

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def site(new_site):
    return new_site()


def fetch(site, directory, *paths, allow=None, **values):
    values.setdefault("pace", Clock().pace())
    fetcher = Fetcher(directory, AllowList(allow or [site.host]), CONTACT, **values)
    urls = [path if "://" in path else site.url(path) for path in paths]
    counts = fetcher.fetch(urls)
    lines = (directory / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return counts, [json.loads(line) for line in lines]


def test_a_document_and_where_it_came_from(site, tmp_path):
    """An allowed document lies under its digest, and its line says source and decision."""
    site.page("/robots.txt", b"User-agent: *\nDisallow: /private\n")
    site.page("/a", "良い文書".encode(), content_type="text/plain; charset=utf-8")
    counts, [line] = fetch(site, tmp_path, "/a", licence="CC-BY-4.0")
    assert counts == {"saved": 1}
    assert (tmp_path / line["file"]).read_bytes().decode() == "良い文書"
    assert line["digest"].removeprefix("sha256:") in line["file"]
    assert (line["status"], line["size"]) == (200, 12)
    assert (line["licence"], line["licence_from"]) == ("CC-BY-4.0", "person")
    assert line["robots"] == "allowed: robots.txt"
    assert site.agents == {"SO8T-AB/0.1.0 (+crawl@example.org)"}


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        ("User-agent: *\nDisallow: /private", "/private/x", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/a/b.pdf", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/a/b.pdf.html", True),
        ("User-agent: *\nDisallow: /private", "/%70rivate/x", False),
        ("User-agent: *\nDisallow: /private", "/open/../private/x", False),
        ("User-agent: *\nDisallow: /private", "/open/%2e%2e/private/x", False),
        ("User-agent: *\nDisallow: /日本", "/日本/x", False),
        ("User-agent: *\nDisallow: /\nAllow: /open", "/open/x", True),
        ("User-agent: so8t-ab\nDisallow: /\n\nUser-agent: *\nAllow: /", "/x", False),
        ("User-agent: other\nDisallow: /", "/x", True),
    ],
)
def test_the_rules_are_obeyed(site, tmp_path, rules, path, allowed):
    """Prefixes, wildcards, ends, escapes, groups: what is disallowed is not asked for."""
    site.page("/robots.txt", rules.encode())
    for served in (path, "/private/x", "/a/b.pdf.html"):
        site.page(served)
    counts, [line] = fetch(site, tmp_path, path)
    assert counts == {"saved" if allowed else "refused": 1}
    documents = [asked for asked in site.asked if asked != "/robots.txt"]
    assert len(documents) == allowed
    assert (line["reason"] is None) is allowed


@pytest.mark.parametrize(
    ("status", "outcome"), [(404, "saved"), (403, "saved"), (503, "failed"), (429, "failed")]
)
def test_a_robots_txt_that_is_not_there(site, tmp_path, status, outcome):
    """Without one (4xx) all is allowed; where it cannot be had (5xx, 429) nothing is."""
    site.page("/robots.txt", status=status)
    site.page("/a")
    counts, [line] = fetch(site, tmp_path, "/a")
    assert counts == {outcome: 1}
    assert ("/a" in site.asked) is (outcome == "saved")
    assert str(status) in line["robots"]


def test_nobody_listens(site, tmp_path):
    """An unreachable host is refused, retryable, and nothing is written but its line."""
    counts, [line] = fetch(site, tmp_path, "http://127.0.0.1:1/a", allow=["127.0.0.1:1"])
    assert counts == {"failed": 1}
    assert "unreachable" in line["reason"]
    assert not (tmp_path / "documents").exists()


def test_the_crawl_delay_is_waited_for(site, tmp_path):
    """Between two requests lie the seconds that robots.txt asks for, else those of the pace."""
    site.page("/robots.txt", b"User-agent: *\nCrawl-delay: 7\n")
    site.page("/a")
    site.page("/b")
    clock = Clock()
    fetch(site, tmp_path / "asked", "/a", "/b", pace=clock.pace())
    assert clock.slept == [7.0, 7.0]
    site.page("/robots.txt", b"User-agent: *\nRequest-rate: 1/30s\n")
    fetch(site, tmp_path / "rate", "/a", pace=(rated := Clock()).pace())
    assert rated.slept == [30.0]
    site.page("/robots.txt", b"")
    fetch(site, tmp_path / "own", "/a", pace=(own := Clock()).pace(seconds=2.0))
    assert own.slept == [2.0]


def test_a_delay_of_days_is_refused(site, tmp_path):
    """A robots.txt that asks for more than is waited keeps its document, and says so."""
    site.page("/robots.txt", b"User-agent: *\nCrawl-delay: 86400\n")
    site.page("/a")
    counts, [line] = fetch(site, tmp_path, "/a")
    assert counts == {"refused": 1}
    assert "86400 s" in line["reason"]
    assert site.asked == ["/robots.txt"]


def test_only_trusted_hosts_are_contacted(site, new_site, tmp_path):
    """A host off the list gets no request: not by name, not by a redirect of page or robots.txt."""
    other = new_site()
    other.page("/x")
    site.page("/away", status=302, location=other.url("/x"))
    _, [direct, away] = fetch(site, tmp_path / "a", other.url("/x"), "/away")
    assert "allow-list" in direct["reason"]
    assert "allow-list" in away["reason"]
    site.page("/robots.txt", status=302, location=other.url("/robots.txt"))
    site.page("/a")
    _, [line] = fetch(site, tmp_path / "b", "/a")
    assert "allow-list" in line["reason"]
    assert other.asked == []


def test_a_redirect_obeys_the_rules_of_its_target(site, new_site, tmp_path):
    """Each step is checked against the robots.txt of where it leads; loops end."""
    other = new_site()
    other.page("/robots.txt", b"User-agent: *\nDisallow: /closed\n")
    other.page("/open")
    other.page("/closed")
    site.page("/good", status=301, location=other.url("/open"))
    site.page("/bad", status=307, location=other.url("/closed"))
    site.page("/loop", status=302, location="/loop")
    _, [good, bad, loop] = fetch(
        site, tmp_path, "/good", "/bad", "/loop", allow=[site.host, other.host]
    )
    assert (good["outcome"], good["final_url"]) == ("saved", other.url("/open"))
    assert (bad["outcome"], bad["final_url"]) == ("refused", other.url("/closed"))
    assert "/closed" not in other.asked
    assert "redirects" in loop["reason"]
    assert site.asked.count("/loop") == 6


def test_bounds_of_size_and_time(site, tmp_path):
    """Too large with or without a length, trickled headers, trickled body: refused, in time."""

    def endless(request):
        request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                request.wfile.write(b"x" * 65536)
        except OSError:
            return

    def trickle(start):
        def page(request):
            try:
                request.wfile.write(start)
                for _ in range(200):
                    request.wfile.write(b"x")
                    time.sleep(0.05)
            except OSError:
                return

        return page

    site.page("/large", b"x" * 2001)
    site.page("/fits", b"x" * 2000)
    site.pages["/endless"] = endless
    site.pages["/slow-head"] = trickle(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    site.pages["/slow-body"] = trickle(b"HTTP/1.1 200 OK\r\n\r\n")
    counts, lines = fetch(
        site,
        tmp_path,
        *("/large", "/endless", "/slow-head", "/slow-body", "/fits"),
        limits=DownloadLimits(seconds=1.0, max_bytes=2000),
    )
    assert counts == {"refused": 2, "failed": 2, "saved": 1}
    assert [line["reason"] for line in lines] == [
        "larger than 2,000 bytes",
        "larger than 2,000 bytes",
        "not complete within 1 s",
        "not complete within 1 s",
        None,
    ]


def test_other_refusals_have_their_reason(site, tmp_path):
    """404, 503, and an encoding that nobody asked for: a line each, no document."""
    site.page("/busy", status=503)
    site.page("/zip", b"\x1f\x8b", content_encoding="gzip")
    counts, [missing, busy, zipped] = fetch(site, tmp_path, "/missing", "/busy", "/zip")
    assert counts == {"refused": 2, "failed": 1}
    assert (missing["reason"], busy["reason"]) == ("status 404", "status 503")
    assert "gzip" in zipped["reason"]
    assert not (tmp_path / "documents").exists()


def test_a_second_call_fetches_only_what_is_missing(site, tmp_path):
    """What lies there with its digest is kept; a changed file and a cut line are fetched again."""
    for path in ("/a", "/b", "/c"):
        site.page(path, path.encode())
    _, lines = fetch(site, tmp_path, "/a", "/b", "/c")
    manifest = tmp_path / "manifest.jsonl"
    (tmp_path / lines[1]["file"]).write_bytes(b"changed")
    manifest.write_bytes(manifest.read_bytes()[:-20])
    site.asked.clear()
    counts, lines = fetch(site, tmp_path, "/a", "/b", "/c")
    assert counts == {"kept": 1, "saved": 2}
    assert site.asked == ["/robots.txt", "/b", "/c"]
    assert [line["url"] for line in lines] == [site.url(p) for p in ("/a", "/b", "/b", "/c")]
    site.asked.clear()
    assert fetch(site, tmp_path, "/a", "/b", "/c")[0] == {"kept": 3}
    assert site.asked == []


@pytest.mark.parametrize(
    ("headers", "body", "licence"),
    [
        ({"link": '</by>; rel="up license", </x>; rel=next'}, b"", "/by"),
        ({}, b'<a href="/by" rel="nofollow license">', "/by"),
        ({}, b"<META name=DCTERMS.license content='CC0'>", "CC0"),
        ({}, b"<a href=/by>license</a>", None),
        ({}, b"<!-- <a rel=license href=/by> --><p>", None),
    ],
)
def test_a_licence_that_a_document_states(site, tmp_path, headers, body, licence):
    """Link header, rel=license and meta are read; without any the licence is unknown."""
    site.page("/a", body, **{"content_type": "text/html", **headers})
    _, [line] = fetch(site, tmp_path, "/a")
    whole = site.url(licence) if licence and licence.startswith("/") else licence
    assert (line["licence"], line["licence_stated"]) == (whole, whole)
    assert line["licence_from"] == ("document" if licence else None)


def test_proxies_of_the_environment(site, new_site, tmp_path, monkeypatch):
    """A proxy carries what goes elsewhere, and never what goes to this machine."""
    proxy = new_site()
    proxy.page("http://example.test/a", b"by proxy")
    site.page("/a", b"direct")
    monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    _, [here, there] = fetch(
        site, tmp_path, "/a", "http://example.test/a", allow=[site.host, "example.test"]
    )
    assert (tmp_path / here["file"]).read_bytes() == b"direct"
    assert (tmp_path / there["file"]).read_bytes() == b"by proxy"
    assert proxy.asked == ["http://example.test/robots.txt", "http://example.test/a"]


def test_a_long_robots_txt_is_read_up_to_its_limit():
    """500 KiB are read: a rule before the limit holds, one behind it does not."""
    head = b"User-agent: *\nDisallow: /early\n"
    body = head + b"#" * (MAX_BYTES - len(head) - 1) + b"\nDisallow: /late\n"
    rules = read_robots(200, body)
    assert not rules.allows("http://h/early")
    assert rules.allows("http://h/late")


def test_one_process_a_directory(site, tmp_path):
    """A second process that fetches into the same directory is told so."""
    with FileLock(tmp_path / ".fetch.lock"), pytest.raises(LeaseHeldError):
        fetch(site, tmp_path, "/a")


def test_what_a_person_gave_wrong(tmp_path):
    """Contacts, hosts, addresses and manifests that are none are refused with their place."""
    for contact in ("me", "a b@c", "x@y)\r\nX: y", ""):
        with pytest.raises(UsageError):
            user_agent(contact)
    for hosts in ([], ["http://example.org"], ["*"], ["a b"]):
        with pytest.raises(UsageError):
            AllowList(hosts)
    urls = tmp_path / "urls.txt"
    for bad in ("ftp://h/", "h/x", "http://u:p@h/", "http://h:99999/", "file:///etc/passwd"):
        urls.write_text(f"# pages\nhttp://h/a\n{bad}\n", encoding="utf-8")
        with pytest.raises(DataError, match=r"urls\.txt:3:"):
            read_urls(urls)
    (tmp_path / "manifest.jsonl").write_text('{"url": "http://h/a"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"manifest\.jsonl:1:"):
        Fetcher(tmp_path, AllowList(["h"]), CONTACT).fetch(["http://h/a"])


def test_the_command(site, tmp_path, capsys):
    """It fetches what a file names, tells what was refused, and ends with 4 if any failed."""
    site.page("/robots.txt", b"User-agent: *\nDisallow: /private\n")
    site.page("/a")
    urls = tmp_path / "urls.txt"
    urls.write_text(f"{site.url('/a')}\n{site.url('/private')}\n", encoding="utf-8")
    call = [str(urls), "--out", str(tmp_path / "out"), "--allow", site.host, "--contact", CONTACT]
    call += ["--delay", "0.1", "--lang", "en"]
    assert command.main(call, standalone_mode=False) == 0
    told = capsys.readouterr().out
    assert "1 fetched, 0 already here, 1 refused, 0 may succeed later" in told
    assert "/private: disallowed by robots.txt" in told
    site.page("/robots.txt", status=503)
    urls.write_text(f"{site.url('/a')}\n{site.url('/b')}\n", encoding="utf-8")
    assert command.main([*call, "--json"], standalone_mode=False) == 4
    told = json.loads(capsys.readouterr().out)
    assert (told["kept"], told["failed"], len(told["documents"])) == (1, 1, 2)
