"""The drawing of what the machine had to do over a run, with the moments at which it did less."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from markupsafe import Markup

from so8t.domain.events import EventKind
from so8t.report.svg import NARROW, WIDE, Layout, letters, line, opened, tag, titles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from so8t.report.text import Text
    from so8t.report.view import Occurrence, ResourcePoint, View

    Scale = Callable[[float], float]

#: The events of a step, as the pipeline records them: in the benchmark, in a training.
_STEPS = {EventKind.RESOURCES_ADJUSTED, EventKind.TRAINING_SETTING}
_SERIES = ("cpu", "cpu_own", "memory", "gpu", "gpu_memory")
_HEIGHT, _TOP, _BOTTOM, _LEFT, _RIGHT = 230, 14, 52, 46, 14
_MOST_SPOKEN = 20
# Further apart than this many points are from each other, the machine was off: no line goes across.
_GAP = 4.0


def timelines(view: View, text: Text) -> list[Markup]:
    """Draw the machine's load in both layouts; nothing where fewer than two points are known."""
    if len(view.resources) < 2:  # noqa: PLR2004 - a line needs two points
        return []
    steps = [event for event in view.occurrences if event.kind in _STEPS]
    return [_timeline(view.resources, steps, text, layout) for layout in (WIDE, NARROW)]


def _timeline(
    points: Sequence[ResourcePoint], steps: Sequence[Occurrence], text: Text, layout: Layout
) -> Markup:
    left, right = _LEFT, layout.width - _RIGHT
    bottom = _HEIGHT - _BOTTOM
    first, last = points[0].at, points[-1].at

    def x(at: float) -> float:
        return left + (right - left) * min(1.0, max(0.0, (at - first) / max(last - first, 1e-9)))

    def y(share: float) -> float:
        return bottom - (bottom - _TOP) * min(1.0, max(0.0, share))

    shown = [name for name in _SERIES if sum(name in point.figures for point in points) > 1]
    ident = f"resources-{layout.name}"
    parts = [opened(layout, _HEIGHT, "resources", ident)]
    parts.append(titles(ident, text("resources.title"), _spoken(points, steps, shown, text)))
    for share in (0.0, 0.5, 1.0):
        parts.append(line("grid" if share else "zero", left, y(share), right, y(share)))
        parts.append(letters("tick", left - 8, y(share) + 4, f"{share * 100:g}", "end"))
    for step in steps:
        where = x(step.at.timestamp())
        parts.append(_marked(line("step", where, _TOP, where, bottom), _step(step, text)))
    parts += [tag("path", f"series {name}", d=_path(points, name, x, y)) for name in shown]
    for end, anchor in ((first, "start"), (last, "end")):
        clock = f"{datetime.fromtimestamp(end, UTC).astimezone():%H:%M}"
        parts.append(letters("tick", x(end), bottom + 18, clock, anchor))
    place = float(left)
    for name in shown:
        label = text(f"resources.{name}")
        parts.append(tag("path", f"series {name}", d=f"M{place:.0f} {bottom + 36}h14"))
        parts.append(letters("tick", place + 18, bottom + 40, label, "start"))
        place += 18 + 8 * max(4, sum(2 if ord(c) > 255 else 1 for c in label)) + 10  # noqa: PLR2004 - wide letters
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def _step(step: Occurrence, text: Text) -> str:
    """Say when a step was, what level it led to, where it has one, and why."""
    level, reason = step.data.get("after"), step.data.get("reason")
    words = "" if reason is None else text.known("reason", str(reason))
    led_to = f"{level}: {words}" if isinstance(level, int) else words
    return f"{step.at.astimezone():%H:%M}" + (f" ({led_to})" if led_to else "")


def _marked(drawn: Markup, words: str) -> Markup:
    """Give an element a title, which a pointer over it shows."""
    return Markup("<g>{}<title>{}</title></g>").format(drawn, words)


def _path(points: Sequence[ResourcePoint], name: str, x: Scale, y: Scale) -> str:
    known = [(point.at, point.figures[name]) for point in points if name in point.figures]
    usual = (points[-1].at - points[0].at) / len(points)
    drawn, before = "", None
    for at, value in known:
        new = before is None or at - before > _GAP * usual
        drawn += f"{'M' if new else 'L'}{x(at):.1f} {y(value):.1f}"
        before = at
    return drawn


def _spoken(
    points: Sequence[ResourcePoint], steps: Sequence[Occurrence], shown: Sequence[str], text: Text
) -> str:
    said = []
    for name in shown:
        known = [point.figures[name] for point in points if name in point.figures]
        mean, most = (f"{value * 100:.0f}" for value in (sum(known) / len(known), max(known)))
        said.append(text("resources.desc", name=text(f"resources.{name}"), mean=mean, most=most))
    if steps:
        times = ", ".join(_step(step, text) for step in steps[:_MOST_SPOKEN])
        said.append(text("resources.steps", steps=times))
    return text("space").join(said)
