"""`so8t demo`: the main job on the tiny model that ships with the package."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import click

from so8t.cli.console import common
from so8t.cli.run import run_config
from so8t.cli.wire import read_config
from so8t.errors import PrerequisiteError
from so8t.examples import DEMO

if TYPE_CHECKING:
    from so8t.cli.console import Console

#: What fine-tuning imports (the extra `train`).
_TRAINING = ("torch", "transformers", "peft", "safetensors")


@click.command("demo")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--output", type=click.Path(path_type=Path), help="Where run directories are made.")
@click.option("--fresh", is_flag=True, help="Set an earlier demo aside and start anew.")
@common
def command(
    console: Console, settings: tuple[str, ...], output: Path | None, *, fresh: bool
) -> int:
    """Run the main job on a tiny model: fine-tune, convert, ask both, compare. A minute or two.

    It is an ordinary run in runs/quickstart; the same command again goes on or shows the result.
    """
    missing = [name for name in _TRAINING if importlib.util.find_spec(name) is None]
    if missing:
        raise PrerequisiteError(
            f"the demo fine-tunes a model, and {', '.join(missing)} cannot be imported.",
            hint='pip install "so8t[train]" (pipx install "so8t[train]", '
            'uv tool install "so8t[train]")',
        )
    config = read_config(DEMO, settings, output)
    return run_config(config, console, fresh=fresh)
