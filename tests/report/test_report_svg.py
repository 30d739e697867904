"""Drawings: small, well-formed, labelled, and true to the figures."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from so8t.report.svg import NARROW, WIDE, ForestRow, course, forest
from so8t.report.text import Text
from so8t.report.view import CourseView

ROWS = [
    ForestRow("Overall", 0.041, (0.019, 0.063), "overall"),
    ForestRow("Category", None, None, "heading"),
    ForestRow("mathematics", 0.1, (-0.02, 0.2)),
    ForestRow("<b>&\u202e", -0.03, (-0.9, 0.5)),
    ForestRow("empty", None, None),
]
SVG = "{http://www.w3.org/2000/svg}"


def draw(layout=WIDE, rows=ROWS, margin=0.02, language="en"):
    """Return the drawing as text and as a tree."""
    drawn = forest(rows, Text(language), layout, margin=margin, ident="f")
    return drawn, ET.fromstring(drawn)  # noqa: S314 - our own drawing


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=lambda layout: layout.name)
def test_a_forest_plot_is_small_and_well_formed(layout):
    """A drawing of five lines is one to three kilobytes of XML."""
    drawn, _ = draw(layout)
    assert 1_000 < len(drawn.encode()) < 3_800


def test_a_forest_plot_is_read_out():
    """Title and description say what the eye sees; the image points to both."""
    _, tree = draw()
    assert tree.get("role") == "img"
    assert tree.get("aria-labelledby") == "f-t f-d"
    assert tree.find(f"{SVG}title").text == "Paired differences, B minus A"
    assert "Overall: +4.1 [+1.9, +6.3]" in tree.find(f"{SVG}desc").text


def test_zero_and_points_are_where_they_belong():
    """Right of zero means B, left of it A, on one scale."""
    _, tree = draw()
    zero = float(next(e for e in tree.iter(f"{SVG}line") if e.get("class") == "zero").get("x1"))
    dots = {e.get("class"): float(e.get("cx")) for e in tree.iter(f"{SVG}circle") if e.get("cx")}
    assert dots["dot b"] > zero > dots["dot a"]
    assert (dots["dot b"] - zero) / (zero - dots["dot a"]) == pytest.approx(0.1 / 0.03, rel=0.02)


def test_an_interval_beyond_the_axis_is_cut_with_an_arrow():
    """One tiny category cannot squeeze all the others together."""
    _, tree = draw()
    assert sum(e.get("class") == "cut" for e in tree.iter(f"{SVG}path")) == 2


def test_without_a_margin_there_is_no_band():
    """A band is only drawn for a margin that was set."""
    assert 'class="band"' in draw()[0]
    assert 'class="band"' not in draw(margin=None)[0]


def test_labels_cannot_break_out():
    """A category's name is text, whatever it holds."""
    drawn, _ = draw()
    assert "<b>" not in drawn
    assert "&lt;b&gt;&amp;&lt;U+202E&gt;" in drawn


def test_unknown_is_written_not_drawn():
    """A group without data has words and no point at zero."""
    drawn, tree = draw(rows=[ForestRow("Overall", None, None, "overall")], margin=None)
    assert "no data" in drawn
    assert not list(tree.iter(f"{SVG}circle"))
    assert 'class="dot' not in drawn


def test_no_colour_is_fixed():
    """Colours come from the page, so that light and dark both work."""
    assert not re.search(r"#[0-9a-f]{3}|rgb|fill=|stroke=|style=", draw()[0])


@pytest.mark.parametrize("kind", ["net_wins", "log10_wealth"])
@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=lambda layout: layout.name)
def test_the_course_is_drawn_with_its_boundary(kind, layout):
    """Both kinds of evidence show their line, their boundary and where it was decided."""
    view = CourseView(
        kind, (10, 20, 30), (1.0, 4.0, 8.0), (-1.0, -4.0, -8.0), (None, 7.0, 7.0), 100
    )
    tree = ET.fromstring(course(view, Text("ja"), layout, "c", decided_at=30))  # noqa: S314 - ours
    classes = [e.get("class") for e in tree.iter(f"{SVG}path")]
    assert any(name.startswith("limit") for name in classes)
    assert any(name.startswith("walk") for name in classes)
    assert any(e.get("class") == "decided" for e in tree.iter(f"{SVG}line"))
