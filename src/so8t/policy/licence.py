"""The licence that a document states of itself: a Link header, or HTML's link, a and meta.

Patterns and not a parser: the page is a stranger's, of any size, and each pattern here reads it in
linear time. Python's own parser of HTML does not.
"""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import urljoin

if TYPE_CHECKING:
    from collections.abc import Mapping

# Names under which pages give their licence: Dublin Core (plain and terms), and the plain word.
_META = {
    "license",
    "licence",
    "dc.rights",
    "dcterms.license",
    "dcterms.rights",
}
_LINK = re.compile(r"<([^<>]*)>((?:\s*;\s*[\w*-]+\s*=\s*(?:\"[^\"]*\"|[^\s,;\"]+))*)")
_REL = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s,;\"]+))", re.IGNORECASE)
_TAG = re.compile(r"<(link|a|area|meta)\s([^<>]{1,2000})>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([\w:.-]+)\s{0,9}=\s{0,9}(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")


def stated_licence(headers: Mapping[str, str], body: bytes, url: str) -> str | None:
    """Return an address or words, None where the document states nothing.

    Sources: RFC 8288 (Link; rel=license is of RFC 4946), HTML's rel=license, Dublin Core in meta.
    `url` is where the document came from; relative addresses are made whole by it. Header names
    are lower case.
    """
    for match in _LINK.finditer(headers.get("link", "")):
        rel = _REL.search(match[2])
        if rel and "license" in (rel[1] or rel[2]).lower().split():
            return _whole(url, match[1])
    if "html" not in headers.get("content-type", "").lower():
        return None
    words: str | None = None
    for tag, attributes in _tags(body.decode("utf-8", errors="replace")):
        if tag != "meta":
            address = attributes.get("href", "").strip()
            if address and "license" in attributes.get("rel", "").lower().split():
                return _whole(url, address)
        elif words is None:
            name = attributes.get("name") or attributes.get("property") or ""
            if name.strip().lower() in _META:
                words = attributes.get("content", "").strip() or None
    return words


def _tags(page: str) -> list[tuple[str, dict[str, str]]]:
    """Return the tags that may state a licence, with their attributes, without comments."""
    return [
        (
            tag[1].lower(),
            {
                name.lower(): unescape(double or single or bare)
                for name, double, single, bare in _ATTRIBUTE.findall(tag[2])
            },
        )
        for tag in _TAG.finditer(_without_comments(page))
    ]


def _without_comments(page: str) -> str:
    kept: list[str] = []
    at = 0
    while (start := page.find("<!--", at)) >= 0:
        kept.append(page[at:start])
        end = page.find("-->", start + 4)
        if end < 0:  # never closed: all that follows is comment
            return "".join(kept)
        at = end + 3
    return "".join([*kept, page[at:]])


def _whole(url: str, address: str) -> str:
    """Make an address whole; one that is none (a broken host) is kept as it stands."""
    try:
        return urljoin(url, address.strip())
    except ValueError:
        return address.strip()
