"""Opens a run: lease, journal, register, engine, and all that stands beside it while it works."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from so8t.domain.events import EventKind
from so8t.engines.protocol import EngineContext
from so8t.engines.registry import open_engine
from so8t.errors import Interrupted, SO8TError
from so8t.journal.store import system_now
from so8t.notify.notifier import Notifier, channels_of
from so8t.notify.pending import Pending
from so8t.pipeline.complete import CompleteAutomatedABPipeline
from so8t.pipeline.run.observer import Observer, Outbox
from so8t.pipeline.run.progress import StopRequest, noting
from so8t.pipeline.run.progress_log import ProgressLog
from so8t.pipeline.run.registry import Registry
from so8t.pipeline.run.rundir import open_run
from so8t.pipeline.run.sessions import interruptions, read_sessions
from so8t.pipeline.run.watching import watched
from so8t.resources.awake import kept_awake
from so8t.system.child_reaping import bind_children, end_orphans
from so8t.system.state import state_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from so8t.config.schema import RunConfig
    from so8t.engines.protocol import Engine
    from so8t.journal.store import Journal
    from so8t.pipeline.complete import Origins
    from so8t.pipeline.run.progress import Note, ProgressWords, Reporter


@contextmanager
def engine_for(
    config: RunConfig, directory: Path, journal: Journal, note: Note
) -> Iterator[Engine]:
    """Give the engine that a config asks for; native code is loaded when a model is.

    `note` hears of what an engine notices (event kind, its data).
    """
    from so8t.pipeline.register.prompt_counts import prompt_counter  # noqa: PLC0415 - a circle

    context = EngineContext(
        config.engine, directory, note, count_prompts=partial(prompt_counter, config, journal)
    )
    with open_engine(context) as engine:
        yield engine


@contextmanager
def open_pipeline(
    config: RunConfig,
    reporter: Reporter,
    words: ProgressWords,
    *,
    origin: Origins = "all",
    stop: StopRequest | None = None,
    unattended: bool = False,
) -> Iterator[CompleteAutomatedABPipeline]:
    """Take a run's lease and journal, and give its pipeline; stop requests are honoured.

    `stop` is one that listens already; without it the signals are turned into one here.
    `unattended`: nobody is logged on, perhaps; sounds that cannot be heard now are kept.
    """
    state = state_directory()
    with open_run(config, reporter=reporter) as (directory, journal), ExitStack() as stack:
        bind_children()
        orphans = end_orphans()
        if orphans:
            journal.event(EventKind.ORPHANS_ENDED, pids=orphans)
        outbox = Outbox()
        with _registered(config, directory, journal, origin, state) as leave:
            observer = stack.enter_context(
                _observed(config, journal, reporter, words, outbox, state, unattended=unattended)
            )
            if stop is None:
                stop = stack.enter_context(StopRequest().on_signals())
            if config.keep_awake:
                how = stack.enter_context(kept_awake())
                kind = EventKind.KEPT_AWAKE if how else EventKind.KEEP_AWAKE_FAILED
                journal.event(kind, how=how)
                if not how:
                    observer.note(kind)

            balancer = stack.enter_context(watched(config, journal))
            engine = stack.enter_context(
                engine_for(config, directory, journal, noting(journal, observer))
            )
            yield CompleteAutomatedABPipeline(
                config,
                directory,
                journal,
                engine,
                reporter=observer,
                stop=stop,
                balancer=balancer,
            )
            leave()


@contextmanager
def _registered(
    config: RunConfig, directory: Path, journal: Journal, origin: Origins, state: Path
) -> Iterator[Callable[[], None]]:
    """Register the run for the boot service; a run that was refused before any work is not."""
    registry = Registry(state)

    def leave() -> None:
        registry.leave(directory)

    try:
        registry.start(config, directory, origin, system_now())
    except OSError as error:
        # Only the start at boot needs the register; the run itself does not.
        journal.event(EventKind.NOT_REGISTERED, message=str(error))
    try:
        yield leave
    except SO8TError:
        if journal.usable and journal.sample_count() == 0:
            leave()
        raise


@contextmanager
def _observed(
    config: RunConfig,
    journal: Journal,
    reporter: Reporter,
    words: ProgressWords,
    outbox: Outbox,
    state: Path,
    *,
    unattended: bool,
) -> Iterator[Observer]:
    """Let notifications and the log go along with a run, and tell how it ended."""
    pending = Pending(state) if unattended else None
    notifier = Notifier(channels_of(config.notify, state), pending=pending)

    def log_failed(why: str) -> None:
        outbox.put(EventKind.PROGRESS_LOG_FAILED, message=why)

    with ProgressLog(journal.directory, words, log_failed) as log:
        observer = Observer(reporter, journal, config, words, notifier, log, outbox)
        try:
            cuts = interruptions(read_sessions(journal), journal.phases())
            if cuts and journal.sample_count():
                observer.resumed(cuts[-1].away_seconds)
            yield observer
            observer.done()
        except Interrupted:
            log.entry(held=False)
            raise
        except SO8TError as error:
            if journal.usable and journal.sample_count():
                observer.failed(error)
            raise
        finally:
            observer.close()
