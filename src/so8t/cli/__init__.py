"""The command line: one file a command; `console` prints, `wire` puts the parts together."""

from __future__ import annotations

import errno
import importlib
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

import so8t
from so8t.errors import IncompleteError, Interrupted, PrerequisiteError, SO8TError, signal_exit_code

if TYPE_CHECKING:
    from collections.abc import Sequence

# Name -> one line of help. The module so8t.cli.<name> is imported when its command is called, so
# that `so8t --help` costs next to nothing.
COMMANDS = {
    "demo": "See the main job on a tiny model that ships with so8t.",
    "init": "Write a commented config to start from.",
    "validate": "Check a config and everything that it names.",
    "doctor": "Check this machine: what works, what does not, and the fix.",
    "plan": "Show what a run will do, need and be able to tell, before it starts.",
    "run": "Run, or go on with a run that was interrupted.",
    "status": "Show how far a run is.",
    "watch": "Show a run's progress live.",
    "verify": "Recompute all that a run rests on: chain, scores, verdict, files, report.",
    "monitor": "Watch this machine as a run would, without running.",
    "report": "Write a run's report again from its journal.",
    "compare": "Compare two models on results made elsewhere, or on two runs.",
    "retry": "Ask the questions again whose answers failed.",
    "suite": "Check suites of questions, and look at what they hold.",
    "data": "Check what may be training data.",
    "autostart": "Go on with unfinished runs when the machine is started.",
    "notify": "Tell what happened while nobody was logged on.",
    "serve": "Answer over HTTP without showing the thinking.",
    "audit": "Check the audit log of serve.",
    "ls": "List the runs in a directory.",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"so8t.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(so8t.__version__, "--version")
def app() -> None:
    """I made B from A. Is it better?

    Prepares two local language models, asks both the same questions, and says which one answers
    better, with the evidence. The same command again goes on where it stopped.
    """


def _of_storage(error: OSError) -> SO8TError | None:
    """Say what a full or read-only disk means; None for any other error of the system."""
    where = error.filename or "the output"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return IncompleteError(
            f"the disk is full ({where}). Everything committed is kept.",
            hint="make room, then run the same command again",
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return PrerequisiteError(
            f"{where} cannot be written: {error.strerror}.",
            hint="choose another place with --output, or mend the permissions",
        )
    return None


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with the documented exit code."""
    sys.exit(invoke(arguments))


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (0, 1, 2, 3, 4, 5, 10, 11, 130, 143)."""
    try:
        result: Any = app.main(args=arguments, prog_name="so8t", standalone_mode=False)
    except click.exceptions.Abort:
        return signal_exit_code(signal.SIGINT)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        return signal_exit_code(signal.SIGINT)
    except (SO8TError, OSError) as caught:
        told = caught if isinstance(caught, SO8TError) else _of_storage(caught)
        if told is None:
            raise
        from so8t.cli.console import show_error  # noqa: PLC0415 - rich is only needed to print

        show_error(told)
        if isinstance(told, Interrupted) and told.signal is not None:
            return signal_exit_code(told.signal)
        return told.exit_code
    return result if isinstance(result, int) else 0
