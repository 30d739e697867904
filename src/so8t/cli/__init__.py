"""The command line: one file a command; `console` prints, `wire` puts the parts together."""

from __future__ import annotations

import errno
import importlib
import io
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

import so8t
from so8t.errors import IncompleteError, Interrupted, PrerequisiteError, SO8TError, signal_exit_code

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

# Windows' numbers for a name that is too long, and for none that is there; a directory may be named
# with fewer signs than a file, whose name stands in it.
_NAME_TOO_LONG, _NO_SUCH_PATH, _MAX_DIRECTORY = 206, (2, 3), 248

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


# Windows has none; the exit code is what shells know.
_SIGPIPE = 13


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


def _of_storage(error: Exception) -> SO8TError | None:
    """Say what an error of the file system means; None for any other error."""
    if not isinstance(error, OSError):
        return None
    # A rename names its source first; what a person knows is where it should have gone.
    where = error.filename2 or error.filename or "the output"
    if (passing := _of_a_shortage(error, where)) is not None:
        return passing
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return PrerequisiteError(
            f"{where} cannot be written: {error.strerror}.",
            hint="choose another place with --output, or fix the permissions",
        )
    if error.filename is None:
        return None
    if _too_long_for_windows(error, str(where)):
        return PrerequisiteError(
            f"{where} has {len(str(where))} characters, and this Windows takes 260.",
            hint="choose a shorter place with --output, or switch long paths on (docs/windows.md)",
        )
    file = _file_in_the_way(error)
    why = f"cannot be used: {error.strerror}" if file is None else "is no directory"
    return PrerequisiteError(
        f"{file or where} {why}.",
        hint="something else stands in its place: move it away, or choose another place",
    )


def _too_long_for_windows(error: OSError, where: str) -> bool:
    """Whether Windows refused a path for its length: it says so, or that there is no such path."""
    number = getattr(error, "winerror", None)
    return number == _NAME_TOO_LONG or (number in _NO_SUCH_PATH and len(where) >= _MAX_DIRECTORY)


def _of_a_shortage(error: OSError, where: object) -> IncompleteError | None:
    """Say what stops a run for now and can be ended by a person; None for anything else."""
    from so8t.system.files import is_held  # noqa: PLC0415 - `--help` needs no files

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return IncompleteError(
            f"the disk is full ({where}). Everything committed is kept.",
            hint="make room, then run the same command again",
        )
    if is_held(error):
        return IncompleteError(
            f"{where} is open in another program, for longer than we wait: {error.strerror}.",
            hint="close it there (a viewer, a virus scanner, a backup), then run the same command",
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return IncompleteError(
            f"no more files can be opened ({error.strerror}). Everything committed is kept.",
            hint="raise the limit (ulimit -n 1024), then run the same command again",
        )
    return None


def _file_in_the_way(error: OSError) -> Path | None:
    """Return the file that stands where a directory is needed; None where it is not that."""
    if error.errno not in (errno.ENOTDIR, errno.EEXIST):
        return None
    path = Path(os.fsdecode(error.filename))
    return next((one for one in (path, *path.parents) if one.is_file()), None)


class Ended(KeyboardInterrupt):
    """The system asked this process to end: everything is closed on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with the documented exit code."""
    _open_missing_streams()
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        # What `nohup` ignores stays ignored.
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    sys.exit(invoke(arguments))


def _open_missing_streams() -> None:
    """Give a process without standard streams the null device in their place.

    A task of Windows has none under pythonw.exe, and a service may be started with closed ones;
    there the next file that is opened would get the number of standard output.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - for life


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise Ended(number)


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (docs/commands.md lists them)."""
    try:
        result: Any = app.main(args=arguments, prog_name="so8t", standalone_mode=False)
    except (KeyboardInterrupt, click.exceptions.Abort) as stopped:
        return signal_exit_code(stopped.number if isinstance(stopped, Ended) else signal.SIGINT)
    except Exception as error:  # noqa: BLE001 - the last door: shown whole, and nothing in it obeyed
        return _told(error)
    return result if isinstance(result, int) else 0


def _told(error: Exception) -> int:
    """Show an error, if it needs a word; return the exit code."""
    from so8t.cli.console import show_error, show_raw_error  # noqa: PLC0415 - only to print
    from so8t.cli.outlet import NobodyReadsError  # noqa: PLC0415 - as above

    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.ClickException):
        said = io.StringIO()
        error.show(said)
        show_raw_error(said.getvalue().rstrip())
        return error.exit_code
    if isinstance(error, NobodyReadsError):
        return signal_exit_code(_SIGPIPE)  # whoever read has left
    told = error if isinstance(error, SO8TError) else _of_storage(error)
    if told is None:
        show_raw_error(traceback.format_exc().rstrip())
        return 1
    show_error(told)
    if isinstance(told, Interrupted) and told.signal is not None:
        return signal_exit_code(told.signal)
    return told.exit_code
