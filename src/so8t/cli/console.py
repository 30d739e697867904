"""All printing: data goes to standard output, messages and progress to standard error."""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar, cast

import click
from rich.console import Console as RichConsole
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text as RichText

from so8t.cli.outlet import NobodyReadsError, Outlet
from so8t.domain.plain_text import visible
from so8t.report.setting_words import setting_words, variant_of
from so8t.report.text import Text, resolve_language

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from so8t.domain.plan import Phase
    from so8t.errors import SO8TError

R = TypeVar("R")
_PLAIN_SECONDS = 30.0
# What JSON leaves as it is and a terminal obeys or cannot be given.
_RAW_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Console:
    """Where a command prints. With `as_json` standard output carries one JSON document."""

    def __init__(self, language: str, *, as_json: bool, quiet: bool, verbose: bool) -> None:
        self._asked = language
        self.language = resolve_language(language)
        self.text = Text(self.language)
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose
        self._stdout = Outlet("stdout")
        self._out = _rich(self._stdout)
        self.err = _rich(Outlet("stderr"))

    def speak(self, language: str) -> None:
        """Speak the language that a config asks for; `--lang` and "auto" leave it as it is."""
        if self._asked == "auto" and language != "auto":
            self.language = resolve_language(language)
            self.text = Text(self.language)

    def data(self, value: dict[str, Any]) -> None:
        """Print the JSON document of a command, when JSON was asked for."""
        if self.as_json:
            self._stdout.write(_json(value, indent=2) + "\n")

    def raw(self, text: str) -> None:
        """Print a text of our own as it is: a schema, a config to start from."""
        self._stdout.write(text)

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print a line of the result for a person; silent when JSON was asked for."""
        if not self.as_json:
            self._out.print(_safe(text), style=style)

    def notes(self, notes: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Print notes that a person should not overlook, each as a key of words and its values."""
        for key, values in notes:
            self.line(self.text(key, **values), style="yellow")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table of the result for a person."""
        if self.as_json:
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            # Folded, not cut: two long names that differ at their end stay two names.
            table.add_column(_safe(column), overflow="fold")
        for row in rows:
            table.add_row(*(_safe(cell) for cell in row))
        self._out.print(table)

    def message(self, key: str, /, **values: Any) -> None:
        """Say something beside the result."""
        if not self.quiet:
            self.err.print(_safe(self.text(key, **values)))

    @property
    def is_terminal(self) -> bool:
        """Whether the result goes to a terminal, and not to a file, a pipe or as JSON."""
        return self._out.is_terminal and not self.as_json

    @contextmanager
    def live(self) -> Iterator[Callable[[list[str], dict[str, Any]], None]]:
        """Give a function that shows lines in the place of the ones before.

        Where there is no terminal, lines that changed are printed below the earlier ones; with
        `--json` each call prints its data as one line.
        """
        if not self.is_terminal:
            last: list[str] = []

            def show_plain(lines: list[str], data: dict[str, Any]) -> None:
                if self.as_json:
                    self._stdout.write(_json(data) + "\n")
                for line in lines:
                    if line not in last:
                        self.line(line)
                self._stdout.flush()
                last[:] = lines
                self._end_unread()

            yield show_plain
            return
        with Live(console=self._out, auto_refresh=False) as live:

            def show(lines: list[str], _data: dict[str, Any]) -> None:
                live.update(_safe("\n".join(lines)), refresh=True)
                self._end_unread()

            yield show

    def _end_unread(self) -> None:
        """Raise NobodyReadsError where nobody reads what would be shown for ever."""
        if self._stdout.gone:
            raise NobodyReadsError

    def reporter(self) -> ConsoleReporter:
        """Return a listener that shows a run as it goes."""
        return ConsoleReporter(self)


@dataclass
class _Rate:
    """What is needed for an ETA that does not count replayed units."""

    started: float
    at_start: int

    def left(self, done: int, total: int, now: float) -> float | None:
        """Seconds left at the rate so far, None before there is one."""
        fresh = done - self.at_start
        return (total - done) * (now - self.started) / fresh if fresh > 0 else None


class ConsoleReporter:
    """Shows phases and progress: bars on a terminal, a plain line every 30 s elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        err = console.err
        self._rates: dict[str, _Rate] = {}
        self._last_line = time.monotonic()
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        if err.is_terminal and not console.quiet:
            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[eta]}"),
                console=err,
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def phase(self, phase: Phase, state: str, **detail: Any) -> None:
        """Say that a phase started, was skipped, is done or failed."""
        self._clear()
        name = self._console.text(f"cli.phase.{phase.value}")
        values = {
            "number": phase.number,
            "name": name,
            "seconds": self._console.text.duration(detail.get("seconds")),
        }
        self._console.message(f"cli.phase.{state}", **values)

    def progress(self, what: str, done: int, total: int, replayed: int = 0) -> None:
        """Show `done` of `total`."""
        now = time.monotonic()
        rate = self._rates.get(what)
        if rate is None or done < rate.at_start:
            rate = self._rates[what] = _Rate(now, done)
        left = rate.left(done, total, now) if done < total else None
        text = self._console.text
        eta = "" if left is None else text("cli.eta", time=text.duration(max(1.0, left)))
        name = text(f"cli.progress.{what}")
        if self._progress is not None:
            task = self._tasks.get(what)
            if task is None:
                task = self._tasks[what] = self._progress.add_task(
                    visible(name), total=total, eta=eta
                )
            self._progress.update(task, completed=done, total=total, eta=eta)
        elif now - self._last_line >= _PLAIN_SECONDS and done < total:
            self._last_line = now
            again = text("cli.replayed", count=replayed) if replayed else ""
            self._console.message(
                "cli.progress.line", name=name, done=done, total=total, eta=eta, replayed=again
            )

    def note(self, kind: str, **detail: Any) -> None:
        """Tell of an event."""
        key = f"cli.note.{variant_of(kind, detail)}"
        if key in self._console.text:
            shown = self._console.text.shown(setting_words(detail, self._console.text))
            if "arm" in detail:
                shown["arm"] = str(detail["arm"]).upper()
            if "phase" in detail:
                shown["phase"] = self._console.text(f"cli.phase.{detail['phase']}")
            self._console.message(key, **shown)
        else:
            # What an engine notices comes with a sentence of its own.
            self._console.message("cli.note.other", kind=kind, message=detail.get("message", ""))

    def _clear(self) -> None:
        if self._progress is not None:
            for task in self._tasks.values():
                self._progress.remove_task(task)
        self._tasks.clear()
        self._rates.clear()


def size(count: float | None) -> str:
    """Write a number of bytes as MB or GB (powers of ten, as disks are sold); "?" for unknown."""
    if count is None:
        return "?"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"  # noqa: PLR2004 - a unit


def show_error(error: SO8TError) -> None:
    """Print an error without a traceback: what happened, what is saved, what to type next."""
    err = _rich(Outlet("stderr"))
    err.print(RichText.assemble(("error:", "bold red"), " ", _safe(error.message)))
    if error.saved:
        err.print(_safe(error.saved))
    if error.hint:
        err.print(RichText.assemble(("hint:", "bold"), " ", _safe(error.hint)))


def show_raw_error(text: str) -> None:
    """Print what another library says of an error, a traceback too."""
    Outlet("stderr").write(visible(text) + "\n")


def _rich(outlet: Outlet) -> RichConsole:
    return RichConsole(file=cast("IO[str]", outlet), soft_wrap=True, highlight=False, emoji=False)


def _safe(text: str) -> RichText:
    """Return somebody's text as one that rich shows, and that does nothing else."""
    return RichText(visible(text))


def _json(value: dict[str, Any], indent: int | None = None) -> str:
    said = json.dumps(value, ensure_ascii=False, indent=indent)
    return _RAW_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", said)


def common(function: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options that all have: --json, --lang, -q and -v, as one Console."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @click.option(
        "--lang", type=click.Choice(["auto", "en", "ja"]), default="auto", help="Language."
    )
    @click.option("-q", "--quiet", is_flag=True, help="No messages, only the result.")
    @click.option("-v", "--verbose", is_flag=True, help="More detail.")
    @wraps(function)
    def wrapper(*, as_json: bool, lang: str, quiet: bool, verbose: bool, **values: Any) -> R:
        console = Console(lang, as_json=as_json, quiet=quiet, verbose=verbose)
        console.speak(getattr(values.get("config"), "language", "auto"))
        return function(console=console, **values)

    return wrapper
