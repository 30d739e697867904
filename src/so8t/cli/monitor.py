"""`so8t monitor`: what the balancer sees on this machine, live or as JSON."""

from __future__ import annotations

import math
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from so8t.cli.console import common, size
from so8t.cli.wire import DEFAULT_CONFIG, read_config
from so8t.config.load import load_resources
from so8t.config.machine_section import Resources
from so8t.errors import PrerequisiteError
from so8t.resources.balancer import ResourceBalancer
from so8t.resources.readings import METRICS
from so8t.system.files import check_writable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.cli.console import Console
    from so8t.resources.balancer import Adjustment
    from so8t.resources.readings import ResourceSample

_SHARES = ("cpu", "cpu_own", "cpu_others", "memory", "pressure", "gpu", "gpu_memory", "gpu_others")


def _finite(_context: click.Context, _option: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no time.")
    return value


@click.command("monitor")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Take thresholds and interval from this config, or from a file with `resources:` alone "
    "(default: so8t.yaml, if it is here).",
)
@click.option(
    "--duration",
    type=click.FloatRange(min=0),
    callback=_finite,
    help="End after so many seconds.",
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    callback=_finite,
    help="Seconds between two looks.",
)
@click.option(
    "--history",
    type=click.Path(path_type=Path, dir_okay=False),
    help="At the end write every sample to this file, one JSON object a line.",
)
@common
def command(
    console: Console,
    config: Path | None,
    duration: float | None,
    interval: float | None,
    history: Path | None,
) -> None:
    """Watch this machine as a run would, and show what it would do; nothing is changed.

    Ends with Ctrl-C or after --duration, with a summary.
    """
    wanted = config or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)
    settings = _settings(wanted)
    if history is not None:
        # Before the watch, and not after a night of it.
        with _writing(history):
            check_writable(history)
    if interval is not None:
        settings = settings.model_copy(update={"interval": interval})
    step: list[str] = []
    with console.live() as show:

        def told(sample: ResourceSample) -> None:
            steps = balancer.take_adjustments()
            step[:] = [_step(console, one) for one in steps] or step
            lines = _lines(console, sample, balancer.check_thresholds())
            taken = [
                {"reason": one.reason, "before": one.before, "after": one.after} for one in steps
            ]
            show([*lines, *step], sample.asdict() | {"steps": taken})

        balancer = ResourceBalancer(settings, keep=told)
        try:
            balancer.monitor_loop(duration)
        except KeyboardInterrupt:
            pass  # the way to end it; the summary follows
        finally:
            balancer.stop_monitoring()
        summary = balancer.get_metrics_summary()
        if console.as_json:
            show([], {"summary": summary})
    if history is not None:
        with _writing(history):
            balancer.save_metrics_history(history)
    console.table(
        (console.text("cli.monitor.head"), "min", "mean", "p95", "max"),
        [(name, *(_shown(name, value) for value in found.values()))
         for name in METRICS if (found := summary[name]) is not None],
    )  # fmt: skip


def _settings(config: Path | None) -> Resources:
    if config is None:
        return Resources()
    return read_config(config).resources if config.is_dir() else load_resources(config)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PrerequisiteError(
            f"{path} cannot be written: {error.strerror or error}.",
            hint="give --history a path in a directory of your own",
        ) from error


def _step(console: Console, step: Adjustment) -> str:
    text = console.text
    told = text(
        "cli.note.resources_adjusted",
        reason=text.known("reason", step.reason),
        before=step.before,
        after=step.after,
    )
    return f"  {_clock(step.sample)}  {told}"


def _clock(sample: ResourceSample) -> str:
    return f"{datetime.fromtimestamp(sample.at, UTC).astimezone():%H:%M:%S}"


def _lines(console: Console, sample: ResourceSample, over: dict[str, bool | None]) -> list[str]:
    text = console.text
    lines = [f"{_clock(sample)}  {text('cli.monitor.head')}  {_bar(sample)}".rstrip()]
    for name in _SHARES:
        value = sample.metric(name)
        if value is not None:
            mark = f"  {text('cli.monitor.over')}" if over.get(name) else ""
            lines.append(f"  {name:11} {value:6.1%}{mark}")
    for gpu in sample.gpus:
        known = [
            f"{gpu.temperature:.0f} °C" if gpu.temperature is not None else "",
            f"{gpu.power:.0f} W" if gpu.power is not None else "",
            " ".join(gpu.throttled or ()),
        ]
        lines.append(f"  gpu {gpu.index} {gpu.name or ''} {' '.join(filter(None, known))}".rstrip())
    if sample.own_memory is not None:
        lines.append(f"  {text('cli.monitor.own_memory')}: {size(sample.own_memory)}")
    if sample.level is not None:
        lines.append(f"  {text('cli.monitor.level', level=sample.level)}")
    for what, why in sample.unreadable.items():
        lines.append(f"  {text('cli.monitor.unreadable', what=what, why=why)}")
    return lines


def _bar(sample: ResourceSample) -> str:
    return "" if sample.memory_available is None else f"({size(sample.memory_available)} free)"


def _shown(name: str, value: Any) -> str:
    if name == "own_memory":
        return size(round(value))
    return f"{value:.1%}" if name in (*_SHARES, "battery") else f"{value:.1f}"
