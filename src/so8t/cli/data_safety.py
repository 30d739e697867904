"""`so8t data safety-train`: a classifier whose one use is to detect and refuse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from so8t.cli.console import common

if TYPE_CHECKING:
    from so8t.cli.console import Console


@click.command("safety-train")
@click.argument(
    "files", type=click.Path(path_type=Path, exists=True, dir_okay=False), nargs=-1, required=True
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where to."
)
@click.option(
    "--held-out",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the texts to measure on.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="Probability from which a text counts as harmful.",
)
@common
def command(
    console: Console, files: tuple[Path, ...], out: Path, held_out: float, threshold: float
) -> None:
    """Train a classifier of harmful requests from FILES, and measure it on held-out texts.

    A line of FILES is {"text": "...", "label": "harmful" or "harmless"}. Its one use is to detect
    and refuse, and the card.md in --out says so.
    """
    from so8t.policy.safety_training import read_examples, train  # noqa: PLC0415 - numpy, scipy

    trained = train(read_examples(files), files, share=held_out, threshold=threshold)
    trained.save(out)
    console.data({"out": str(out), "threshold": threshold, **trained.facts})
    console.line(console.text("cli.data_safety.trained", out=out, **trained.facts["training"]))
    for name, row in trained.facts["held_out"].items():
        _show(console, name, row)
    console.line(console.text("cli.data_safety.use"))


def _show(console: Console, name: str, row: dict[str, Any]) -> None:
    text = console.text
    console.line(text("cli.data_safety.held_out", name=name, **row), style="bold")
    for figure in ("precision", "recall"):
        if row[figure] is None:
            said = text("cli.data_safety.unknown")
        else:
            low, high = row[f"{figure}_interval"]
            said = f"{row[figure]:.3f} [{low:.3f}, {high:.3f}]"
        console.line(f"  {text(f'cli.data_safety.{figure}')}: {said}")
