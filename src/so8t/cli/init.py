"""`so8t init`: a commented config to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from so8t.cli.console import common
from so8t.errors import UsageError
from so8t.examples import CONFIGS
from so8t.system.files import write_atomic

if TYPE_CHECKING:
    from so8t.cli.console import Console


@click.command("init")
@click.argument("path", type=click.Path(path_type=Path), default=Path("so8t.yaml"))
@click.option(
    "--example",
    type=click.Choice(sorted(CONFIGS)),
    default="finetune",
    help="Which example to start from.",
    show_default=True,
)
@common
def command(console: Console, path: Path, example: str) -> None:
    """Write a commented config to PATH (default: so8t.yaml). An existing file is not touched."""
    if path.exists():
        raise UsageError(f"{path} is there already.", hint="name another file: so8t init NAME.yaml")
    write_atomic(path, CONFIGS[example].read_text(encoding="utf-8"))
    console.data({"written": str(path), "example": example})
    console.line(console.text("cli.written", path=path))
    console.message("cli.next", command=f"so8t validate {path}")
