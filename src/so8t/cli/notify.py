"""`so8t notify`: hear the sounds, and what happened while nobody was logged on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from so8t.cli.console import common
from so8t.notify.channels import Notification, Sound, UndeliveredError, play
from so8t.notify.pending import Pending
from so8t.notify.sounds import SOUNDS, sound_file
from so8t.system.state import state_directory

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.cli.console import Console

#: What is played first where several wait.
_WEIGHT = ("failed", "done", "resumed", "phase")


@click.command("notify")
@click.option("--pending", is_flag=True, help="Tell what nobody could hear yet, and forget it.")
@click.option("--play", "sound", type=click.Choice(sorted(SOUNDS)), help="Play one of the sounds.")
@common
def command(console: Console, *, pending: bool, sound: str | None) -> int:
    """Tell of runs that ended while nobody was logged on; without options, say what waits."""
    state = state_directory()
    if sound is not None:
        play(sound_file(sound, state / "sounds"))
        return 0
    queue = Pending(state)
    waiting = queue.take()
    console.data({"pending": [{"at": at.isoformat(), **told.plain()} for at, told in waiting]})
    for at, told in waiting:
        console.line(f"{at.astimezone():%Y-%m-%d %H:%M}  {told.title}: {told.text}")
    if not waiting:
        console.line(console.text("notify.none"))
    elif pending and _played([told for _, told in waiting], state, console):
        queue.clear()
    return 0


def _played(waiting: list[Notification], state: Path, console: Console) -> bool:
    """Play one sound for each kind of news, the gravest first; whether they could be heard."""
    occasions = {told.occasion: told for told in waiting}
    channel = Sound(state)
    for occasion in _WEIGHT:
        if occasion in occasions:
            try:
                channel.deliver(occasions[occasion])
            except UndeliveredError as error:
                console.message("notify.silent", message=error.message)
                return False
    return True
