"""`so8t data fetch`: documents from trusted hosts, as their robots.txt allows."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from so8t.cli.console import common
from so8t.errors import IncompleteError

if TYPE_CHECKING:
    from so8t.cli.console import Console
    from so8t.policy.manifest import ManifestEntry


@click.command("fetch")
@click.argument("urls", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where to."
)
@click.option(
    "--allow",
    "hosts",
    multiple=True,
    required=True,
    metavar="HOST",
    help="A trusted host: example.org, example.org:8080, *.example.org. Nothing else is contacted.",
)
@click.option(
    "--contact", required=True, help="An e-mail address or https page, told to each server."
)
@click.option("--licence", help="The documents' licence, where you know it.")
@click.option(
    "--delay",
    type=click.FloatRange(min=0.1, max=300),
    default=1.0,
    show_default=True,
    help="Least seconds between two requests; robots.txt may ask for more.",
)
@click.option(
    "--max-mb",
    type=click.FloatRange(min=0, min_open=True),
    default=50.0,
    show_default=True,
    help="Largest document.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds for one whole document.",
)
@common
def command(
    console: Console,
    urls: Path,
    out: Path,
    hosts: tuple[str, ...],
    contact: str,
    licence: str | None,
    delay: float,
    max_mb: float,
    timeout: float,
) -> int:
    """Fetch the addresses in the file URLS, one a line, into --out.

    What is there already is not fetched again. Each document, and each that was refused, has a
    line in --out's manifest.jsonl. The exit code is 4 when a later call may fetch more.
    """
    from so8t.policy.download import DownloadLimits  # noqa: PLC0415 - the network only where it is used
    from so8t.policy.fetch import AllowList, Fetcher, Pace, read_urls  # noqa: PLC0415

    entries: list[dict[str, Any]] = []

    def tell(entry: ManifestEntry, new: bool) -> None:
        entries.append(asdict(entry))
        if entry.reason is not None:
            console.line(console.text("cli.data_fetch.refused", url=entry.url, why=entry.reason))
        elif new:
            console.line(console.text("cli.data_fetch.saved", url=entry.url, file=entry.file))

    fetcher = Fetcher(
        out,
        AllowList(hosts),
        contact,
        licence=licence,
        limits=DownloadLimits(timeout, int(max_mb * 1_000_000)),
        pace=Pace(delay),
    )
    counts = fetcher.fetch(read_urls(urls), tell)
    totals = {name: counts[name] for name in ("saved", "kept", "refused", "failed")}
    console.data({**totals, "documents": entries})
    console.line(console.text("cli.data_fetch.totals", **totals))
    unknown = sum(entry["outcome"] == "saved" and entry["licence"] is None for entry in entries)
    if unknown:
        console.line(console.text("cli.data_fetch.no_licence", count=unknown), style="yellow")
    return IncompleteError.exit_code if counts["failed"] else 0
