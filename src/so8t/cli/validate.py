"""`so8t validate`: everything that would stop a run, without starting one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from so8t.cli.console import common, size
from so8t.cli.wire import read_config
from so8t.config.load import config_schema
from so8t.pipeline.plan import planning
from so8t.pipeline.plan.model_checks import check_models

if TYPE_CHECKING:
    from so8t.cli.console import Console


@click.command("validate")
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a config and do no more.")
@common
def command(
    console: Console, config: Path | None, settings: tuple[str, ...], *, schema: bool
) -> None:
    """Check CONFIG (default: so8t.yaml), its models, suites and data, and the disk."""
    if schema:
        console.raw(config_schema())
        return
    asked = read_config(config, settings)
    console.speak(asked.language)
    samples = planning.collect_samples(asked)
    sources = planning.resolve_sources(asked)
    needed = planning.needs(asked, sources, len(samples))
    planning.check_disk(needed, asked.output)
    checks = planning.check_servers(asked, samples)
    notes = check_models(asked, sources, samples)
    console.data(
        {
            "valid": True,
            "samples": len(samples),
            "sources": {arm.value: source.facts() for arm, source in sources.items()},
            "disk_needed": needed.disk,
            "disk_free": needed.free,
            "servers": [{"name": one.name, "detail": one.detail} for one in checks],
            "notes": [{"note": key, **values} for key, values in notes],
        }
    )
    for check in checks:
        console.line(f"{check.outcome.value}  {check.name}: {check.detail}")
    console.notes(notes)
    console.line(
        console.text(
            "cli.valid", samples=len(samples), disk=size(needed.disk), free=size(needed.free)
        )
    )
