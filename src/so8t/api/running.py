"""Run from Python: the main job of `so8t run`, in a script, a notebook or a thread."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.api.loaded import Language, Run
from so8t.cli.console import Console, ConsoleReporter
from so8t.config.load import load_config, read_config
from so8t.config.schema import RunConfig
from so8t.pipeline.run.opening import open_pipeline
from so8t.pipeline.run.progress import Silent, StopRequest
from so8t.pipeline.run.rundir import run_directory, set_aside
from so8t.report.finish import write_everything

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.pipeline.complete import Origins
    from so8t.pipeline.run.progress import Reporter

_POLL_SECONDS = 0.2
_DRAW_SECONDS = 0.2


def run(
    config: str | Path | Mapping[str, Any] | RunConfig,
    *,
    progress: bool = True,
    fresh: bool = False,
    origin: Origins = "all",
    stop: threading.Event | None = None,
    language: Language = "auto",
) -> Run:
    """Run a config, or go on with it where it stopped, and write its report.

    Args:
        config: a config file, a mapping as such a file would hold it (relative paths are relative
            to the current directory), or a config that was read.
        progress: show a bar (in a notebook too) and notes.
        fresh: set an earlier run of this name aside and start anew.
        origin: "hf" or "suite" asks the questions of HF benchmarks or of LLM suites only.
        stop: set it from another thread to stop in good order.
        language: of progress and verdict.

    Returns:
        The run, finished.

    Raises:
        ConfigError: the config is wrong. PrerequisiteError: something is missing.
        LeaseHeldError: another process or notebook works in the run's directory.
        Interrupted: the interrupt button, Ctrl-C or `stop`; the same call goes on.

    """
    asked = _config(config)
    directory = run_directory(asked)
    if fresh and directory.exists():
        set_aside(directory)
    console = Console(language, as_json=False, quiet=not progress, verbose=False)
    console.speak(asked.language)
    request = StopRequest()
    with ExitStack() as stack:
        # In the main thread the signals ask for the stop (a notebook's button sends SIGINT).
        stack.enter_context(request.on_signals())
        if stop is not None:
            stack.enter_context(_follow(stop, request))
        reporter: Reporter = Silent()
        if progress:
            shown = NotebookReporter(console) if _in_notebook() else console.reporter()
            reporter = stack.enter_context(shown)
        pipeline = stack.enter_context(
            open_pipeline(asked, reporter, console.text, origin=origin, stop=request)
        )
        pipeline.run_complete_pipeline(origin)
    write_everything(directory, console.text)
    return Run(directory, "ja" if console.language == "ja" else "en")


def _config(config: str | Path | Mapping[str, Any] | RunConfig) -> RunConfig:
    if isinstance(config, RunConfig):
        return config
    return read_config(config) if isinstance(config, Mapping) else load_config(Path(config))


@contextmanager
def _follow(event: threading.Event, request: StopRequest) -> Iterator[None]:
    """Ask for a stop once `event` is set."""
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if event.wait(_POLL_SECONDS):
                request.ask(signal.SIGINT)
                return

    watcher = threading.Thread(target=watch, name="so8t-stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _in_notebook() -> bool:
    """Whether the cell of a Jupyter kernel calls, which shows HTML and no terminal."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"


class NotebookReporter(ConsoleReporter):
    """Shows a run in a notebook's cell: one bar that is drawn anew, and notes below it."""

    def __init__(self, console: Console) -> None:
        """Take the place below the calling cell."""
        from IPython.display import HTML, display  # noqa: PLC0415 - there, if a notebook calls

        super().__init__(console)
        self._html, self._drawn = HTML, 0.0
        self._bar = display(HTML(""), display_id=True)

    def progress(self, what: str, done: int, total: int, replayed: int = 0) -> None:  # noqa: ARG002 - the Reporter's signature
        """Draw `done` of `total`."""
        now = time.monotonic()
        if now - self._drawn < _DRAW_SECONDS and done < total:
            return
        self._drawn = now
        name = self._console.text(f"cli.progress.{what}")
        bar = f'<progress value="{done}" max="{max(total, 1)}"></progress>'
        self._bar.update(self._html(f"{escape(name)} {bar} {done:,} / {total:,}"))
