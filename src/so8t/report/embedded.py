"""The report's result as data inside the page, so that a page can be held to its journal."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import so8t
from so8t.journal.chain import Head
from so8t.report.summary import summary

if TYPE_CHECKING:
    from so8t.report.view import View

_BLOCK = re.compile(
    r'<script type="application/json" id="so8t-data">(?P<data>.*?)</script>', re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a page says of itself.

    Attributes:
        version: of the program that wrote it.
        language: of the page.
        zone: UTC offset of its times, as in "+0900".
        head: how far the journal was.
        summary: the result, as `so8t run --json` has it.

    """

    version: str
    language: str
    zone: str
    head: Head
    summary: dict[str, Any]


def zone_of(view: View) -> str:
    """Return the UTC offset of this machine's clock at the start of a run, as in "+0900"."""
    return f"{datetime.fromisoformat(view.run.created).astimezone():%z}"


def embed(view: View, language: str) -> str:
    """Return the data for a page as JSON in plain ASCII: no markup ends it, no letter turns it."""
    data = Embedded(so8t.__version__, language, zone_of(view), view.head, summary(view))
    return json.dumps(asdict(data)).replace("<", "\\u003c")


def extract(page: str) -> Embedded | None:
    """Return the data of a page, None where there is none that can be read."""
    found = _BLOCK.search(page)
    if found is None:
        return None
    try:
        plain = json.loads(found["data"])
        return Embedded(**plain | {"head": Head(**plain["head"])})
    except (ValueError, TypeError, KeyError):
        return None
