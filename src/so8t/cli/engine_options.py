"""Options of commands that are made from the registered engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from so8t.engines.registry import kinds_with_servers

if TYPE_CHECKING:
    from collections.abc import Callable

    from so8t.engines.protocol import EngineKind

    Command = Callable[..., Any]


def server_options(command: Command) -> Command:
    """Add `--KIND URL` for each engine whose server can be examined."""
    for kind in reversed(kinds_with_servers()):
        text = f"Examine the server of the engine {kind.name} at this address too."
        command = click.option(f"--{kind.name}", kind.name, metavar="URL", help=text)(command)
    return command


def name_options(command: Command) -> Command:
    """Add `--KIND NAME` and `--KIND-url URL` for each engine whose server knows models by name."""
    for kind in reversed(kinds_with_names()):
        command = click.option(
            f"--{kind.name}-url",
            f"{kind.name}_url",
            metavar="URL",
            help=f"Address of the server of the engine {kind.name}.",
        )(command)
        command = click.option(
            f"--{kind.name}",
            kind.name,
            metavar="NAME",
            help=f"Serve this model of a server of the engine {kind.name}.",
        )(command)
    return command


def kinds_with_names() -> list[EngineKind]:
    """Return the engines whose server knows models by a name."""
    return [kind for kind in kinds_with_servers() if kind.settings.SOURCE_KEY is not None]
