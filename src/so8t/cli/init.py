"""`so8t init`: a commented config to start from, with what it names beside it."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from so8t.cli.console import common
from so8t.errors import UsageError
from so8t.examples import CONFIGS, QUICKSTART
from so8t.system.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable

    from so8t.cli.console import Console

#: Directory beside the config with the tiny model and data that an example names.
_FILES = "example"


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
    """Write a commented config to PATH (default: so8t.yaml). An existing file is not touched.

    It works as it stands: the tiny model and the data that it names are put into ./example.
    """
    if path.exists():
        raise UsageError(f"{path} is there already.", hint="name another file: so8t init NAME.yaml")
    text = CONFIGS[example].read_text(encoding="utf-8")
    files = [
        _place(path.parent / _FILES / name, make)
        for name, make in _MAKERS.items()
        if f"./{_FILES}/{name}" in text
    ]
    write_atomic(path, text)
    console.data({"written": str(path), "example": example, "files": [str(file) for file in files]})
    console.line(console.text("cli.written", path=path))
    if files:
        console.line(console.text("cli.example_files", directory=path.parent / _FILES))
    console.message("cli.next", command=f"so8t validate {path}")


def _place(path: Path, make: Callable[[Path], None]) -> Path:
    """Make what the example names, unless something is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
    return path


def _copy(name: str, path: Path) -> None:
    source = QUICKSTART / name
    if source.is_dir():
        shutil.copytree(source, path)
    else:
        shutil.copyfile(source, path)


def _convert(quantization: str, path: Path) -> None:
    from so8t.models.gguf_convert import convert  # noqa: PLC0415 - numpy, for this example alone

    convert(QUICKSTART / "base", path, quantization)


_MAKERS: dict[str, Callable[[Path], None]] = {
    "base": partial(_copy, "base"),
    "train.jsonl": partial(_copy, "train.jsonl"),
    "suite.jsonl": partial(_copy, "suite.jsonl"),
    "a.gguf": partial(_convert, "q8_0"),
    "b.gguf": partial(_convert, "q4_0"),
}
