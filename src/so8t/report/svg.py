"""Drawings as plain SVG: a kilobyte or two each, coloured by CSS variables, read out by machines.

Each comes in a wide and a narrow layout; the page's CSS shows the one that fits, so that letters
keep their size on a telephone.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from so8t.domain.plain_text import visible
from so8t.report.text import MINUS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from so8t.report.text import Text
    from so8t.report.view import CourseView

_AXIS_STEPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0)
_MOST_TICKS = 5
# An interval of a small category may span everything; beyond this many times the overall one it
# is cut, with an arrow, or nothing could be told apart.
_ZOOM = 4.0


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One line of a forest plot. `difference` and `interval` are B - A, None when unknown."""

    label: str
    difference: float | None
    interval: tuple[float, float] | None
    kind: str = "group"  # "overall", "group" or "heading"


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of a drawing in CSS pixels. `left` and `right` are the columns beside the plot."""

    name: str
    width: int
    left: int
    right: int
    row: int
    heading: int
    label_above: bool

    def height(self, row: ForestRow) -> int:
        """Height of a row."""
        return self.heading if row.kind == "heading" else self.row


WIDE = Layout("wide", 820, 190, 190, 32, 38, label_above=False)
NARROW = Layout("narrow", 340, 8, 8, 50, 34, label_above=True)
_TOP, _BOTTOM = 12, 54


def forest(
    rows: Sequence[ForestRow], text: Text, layout: Layout, *, margin: float | None, ident: str
) -> Markup:
    """Draw paired differences: point, interval, zero line, the margin as a band.

    `ident` makes the ids of this drawing unique in the page.
    """
    limit, step = _axis(rows, margin)
    left, right = layout.left, layout.width - layout.right
    height = _TOP + sum(layout.height(row) for row in rows) + _BOTTOM
    bottom = height - _BOTTOM

    def x(value: float) -> float:
        return left + (right - left) * (value + limit) / (2 * limit)

    parts = [opened(layout, height, "forest", ident)]
    parts.append(titles(ident, text("forest.title"), _spoken(rows, text)))
    if margin is not None:
        parts.append(
            tag("rect", "band", x=x(-margin), y=_TOP, width=x(margin) - x(-margin),
                 height=bottom - _TOP)
        )  # fmt: skip
    ticks = _ticks(limit, step)
    for tick in ticks:
        name = "zero" if tick == 0 else "grid"
        parts.append(line(name, x(tick), _TOP, x(tick), bottom))
        parts.append(letters("tick", x(tick), bottom + 18, _tick_label(tick), "middle"))
    top = _TOP
    for row in rows:
        parts += _row(row, top, layout, limit, text)
        top += layout.height(row)
    parts.append(letters("side a", left, bottom + 42, f"← {text('forest.a_better')}", "start"))
    parts.append(letters("side b", right, bottom + 42, f"{text('forest.b_better')} →", "end"))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def course(
    view: CourseView, text: Text, layout: Layout, ident: str, *, decided_at: int | None
) -> Markup:
    """Draw the evidence over the items, and the boundary at which a side wins."""
    height, left, right, top = 250, 46, layout.width - 14, 16
    bottom = height - 44
    mirrored = view.kind == "net_wins"
    known = [value for value in view.boundary if value is not None]
    highest = max([1.0, *known, *(abs(value) for value in (*view.for_b, *view.for_a))]) * 1.08
    lowest = -highest if mirrored else min([0.0, *view.for_b, *view.for_a])
    lowest = max(lowest, -highest)

    def x(items: float) -> float:
        return left + (right - left) * items / view.total

    def y(value: float) -> float:
        inside = min(max(value, lowest), highest)
        return bottom - (bottom - top) * (inside - lowest) / (highest - lowest)

    def path(name: str, values: Sequence[float | None], sign: float = 1.0) -> Markup:
        points = [
            f"{x(items):.1f} {y(sign * value):.1f}"
            for items, value in zip(view.items, values, strict=True)
            if value is not None
        ]
        return tag("path", name, d=f"M{'L'.join(points)}") if points else Markup("")

    parts = [opened(layout, height, "course", ident)]
    parts.append(titles(ident, text("course.title"), text(f"course.desc.{view.kind}")))
    parts.append(line("zero", left, y(0), right, y(0)))
    if decided_at is not None:
        at = x(decided_at)
        anchor = "end" if at > (left + right) / 2 else "start"
        away = -6 if anchor == "end" else 6
        words = text("course.decided", items=decided_at)
        parts.append(line("decided", at, top, at, bottom))
        parts.append(letters("tick", at + away, bottom - 4, words, anchor))
    parts.append(path("limit b" if mirrored else "limit", view.boundary))
    if mirrored:
        parts += [path("limit a", view.boundary, -1.0), path("walk", view.for_b)]
    else:
        parts += [path("walk b", view.for_b), path("walk a", view.for_a)]
    for share in (0.0, 0.5, 1.0):
        at = round(view.total * share)
        anchor = "start" if share == 0 else "end" if share == 1 else "middle"
        parts.append(letters("tick", x(at), bottom + 18, text.number(at), anchor))
    parts.append(letters("tick", (left + right) / 2, bottom + 36, text("course.items"), "middle"))
    for value in _heights(highest, lowest):
        label = f"{value:+.0f}" if mirrored and value else f"{value:g}"
        parts.append(letters("tick", left - 8, y(value) + 4, label.replace("-", MINUS), "end"))
    if mirrored:
        parts.append(letters("side b", left + 6, top + 4, text("forest.b_better"), "start"))
        parts.append(letters("side a", left + 6, bottom - 4, text("forest.a_better"), "start"))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def _heights(highest: float, lowest: float) -> list[float]:
    """Three or so round numbers along the upright axis."""
    rough = highest / 2
    unit = 10 ** math.floor(math.log10(rough))
    step = max(unit * round(rough / unit), 1)
    return [value for value in (-step, 0.0, step) if value >= lowest]


def _row(row: ForestRow, top: float, layout: Layout, limit: float, text: Text) -> list[Markup]:
    left, right = layout.left, layout.width - layout.right
    if row.kind == "heading":
        down = top + layout.heading - 10
        return [
            letters("label", 8 if layout.label_above else 0, down, row.label, "start", row.kind)
        ]
    middle = top + layout.row * (0.68 if layout.label_above else 0.5)
    figures = row_figures(row, text)
    if layout.label_above:
        room = layout.width - 2 * layout.left - _width(figures) * 7
        label = letters("label", left, top + 16, _fit(row.label, room), "start", row.kind)
        value = letters("value", right, top + 16, figures, "end", row.kind)
    else:
        label = letters("label", 0, middle + 5, _fit(row.label, left - 16), "start", row.kind)
        value = letters("value", layout.width, middle + 5, figures, "end", row.kind)
    parts = [label, value]
    if row.difference is None:
        return parts

    def x(at: float) -> float:
        return left + (right - left) * (min(max(at, -limit), limit) + limit) / (2 * limit)

    if row.interval is not None:
        low, high = row.interval
        parts.append(line(f"bar {row.kind}", x(low), middle, x(high), middle))
        for bound, side in ((low, -1), (high, 1)):
            if abs(bound) > limit + 1e-12:
                tip = x(bound)
                shape = f"M{tip - 6 * side:.1f} {middle - 4:.1f}L{tip:.1f} {middle:.1f}"
                parts.append(tag("path", "cut", d=f"{shape}L{tip - 6 * side:.1f} {middle + 4:.1f}"))
    way = "b" if row.difference > 0 else "a" if row.difference < 0 else "none"
    at = x(row.difference)
    if row.kind == "overall":
        shape = f"M{at - 8:.1f} {middle:.1f}l8 -7 8 7 -8 7z"
        parts.append(tag("path", f"dot {way}", d=shape))
    else:
        parts.append(tag("circle", f"dot {way}", cx=at, cy=middle, r=5))
    return parts


def row_figures(row: ForestRow, text: Text) -> str:
    """Write a row's figures: `+4.1 [+1.9, +6.3]`."""
    if row.difference is None:
        return text("forest.no_data")
    said = text.signed_points(row.difference)
    if row.interval is None:
        return said
    low, high = (text.signed_points(bound) for bound in row.interval)
    return f"{said} [{low}, {high}]"


def _axis(rows: Iterable[ForestRow], margin: float | None) -> tuple[float, float]:
    """Half-width of the axis and distance of its ticks."""
    reach = {"overall": 0.0, "group": 0.0}
    for row in rows:
        if row.kind in reach and row.difference is not None:
            ends = (row.difference, *(row.interval or ()))
            reach[row.kind] = max(reach[row.kind], *(abs(end) for end in ends))
    points = [abs(row.difference) for row in rows if row.difference is not None]
    widest = max(reach.values())
    if reach["overall"]:
        widest = min(widest, max([reach["overall"] * _ZOOM, *points]))
    widest = min(max(widest, (margin or 0.0) * 1.3, 0.01), 1.0)
    step = next(s for s in _AXIS_STEPS if widest / s <= _MOST_TICKS / 2 or s == _AXIS_STEPS[-1])
    return min(1.0, math.ceil(widest / step * 2 - 1e-9) * step / 2), step


def _ticks(limit: float, step: float) -> list[float]:
    count = math.floor(limit / step + 1e-9)
    return [number * step for number in range(-count, count + 1)]


def _tick_label(tick: float) -> str:
    whole = f"{abs(tick) * 100:g}"
    return whole if tick == 0 else f"{'+' if tick > 0 else MINUS}{whole}"


def _spoken(rows: Iterable[ForestRow], text: Text) -> str:
    return (
        text("forest.desc")
        + " "
        + "; ".join(
            f"{row.label}: {row_figures(row, text)}" for row in rows if row.kind != "heading"
        )
    )


def _width(label: str) -> float:
    """Width of a label in Latin letters: East Asian ones take two."""
    return sum(1.8 if unicodedata.east_asian_width(c) in "WF" else 1.0 for c in label)


def _fit(label: str, room: float) -> str:
    shown = " ".join(visible(label).split())
    if _width(shown) * 7 <= room:
        return shown
    # The middle goes: names of one family differ at their ends.
    head, tail = shown, ""
    while head and _width(f"{head}…{tail}") * 7 > room:
        middle = (len(head) + len(tail)) // 2
        if not tail:
            head, tail = shown[:middle], shown[middle:]
        elif len(head) > len(tail):
            head = head[:-1]
        else:
            tail = tail[1:]
    return f"{head}…{tail}"


# --- elements ----------------------------------------------------------------------------------


def opened(layout: Layout, height: float, kind: str, ident: str) -> Markup:
    """Begin a drawing of a kind; `ident` names its title and description."""
    return Markup(
        '<svg class="plot {} {}" viewBox="0 0 {} {}" role="img" '
        'aria-labelledby="{}-t {}-d" xmlns="http://www.w3.org/2000/svg">'
    ).format(kind, layout.name, layout.width, round(height), ident, ident)


def titles(ident: str, title: str, description: str) -> Markup:
    """Title and description for whoever cannot see the drawing."""
    return Markup('<title id="{}-t">{}</title><desc id="{}-d">{}</desc>').format(
        ident, visible(title), ident, visible(description)
    )


def tag(name: str, css: str, **attributes: float | str) -> Markup:
    """One element."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key, f"{value:.1f}" if isinstance(value, float) else value)
        for key, value in attributes.items()
    )
    return Markup('<{} class="{}"{}/>').format(Markup(name), css, written)  # noqa: S704 - our own names


def line(css: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A straight line."""
    return tag("line", css, x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2))


def letters(css: str, x: float, y: float, words: str, anchor: str, kind: str = "") -> Markup:
    """Words at a place."""
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        f"{css} {kind}".strip(), f"{x:.1f}", f"{y:.1f}", anchor, escape(words)
    )
