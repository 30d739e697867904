"""The drawing of the machine's load: true to the history, each step of the balancer marked."""

from __future__ import annotations

import re
from datetime import timedelta
from xml.etree import ElementTree as ET

import build as make
import pytest

from so8t.journal.history import ResourceHistory
from so8t.journal.store import Journal
from so8t.report.query import load_view
from so8t.report.text import Text
from so8t.report.timeline import timelines

SVG = "{http://www.w3.org/2000/svg}"
LOOKS, EVERY = 24, 60.0


def recorded(directory, *, steps=(5, 17), dark=()):
    """A run whose machine was looked at each minute; at `dark` minutes it was off."""
    make.build(directory, make.Shape(samples=24))
    first = make.START.timestamp()
    with ResourceHistory(directory) as history:
        for n in range(LOOKS):
            if n not in dark:
                figures = {"cpu": 1.0, "memory": n / (LOOKS - 1)}
                history.add(first + n * EVERY, EVERY, figures)
    for n in steps:
        now = make.START + timedelta(seconds=n * EVERY)
        with Journal(directory, now=lambda now=now: now) as journal:
            journal.event("resources_adjusted", reason="memory_filling", before=4, after=3, seen={})
    with Journal(directory, readonly=True) as journal:
        return load_view(journal)


def drawn(view):
    return [ET.fromstring(plot) for plot in timelines(view, Text("en"))]  # noqa: S314 - ours


def marks(tree):
    return [float(one.get("x1")) for one in tree.iter(f"{SVG}line") if one.get("class") == "step"]


def series(tree, name):
    paths = [one.get("d") for one in tree.iter(f"{SVG}path") if one.get("class").endswith(name)]
    numbers = [re.findall(r"([ML])([\d.]+) ([\d.]+)", path) for path in paths]
    return [(pen, float(x), float(y)) for pen, x, y in max(numbers, key=len)]


def test_each_step_is_marked_where_it_was_taken(tmp_path):
    """Two steps, at minutes 5 and 17 of 23: two marks at these places in both layouts."""
    for tree in drawn(recorded(tmp_path)):
        line = series(tree, "memory")
        left, right = line[0][1], line[-1][1]
        wanted = [left + (right - left) * minute / (LOOKS - 1) for minute in (5, 17)]
        assert marks(tree) == pytest.approx(wanted, abs=0.2)
        assert tree.find(f"{SVG}desc").text.count(":") >= 2  # the times are read out too


def test_a_mark_tells_level_and_reason(tmp_path):
    """Each mark has a title with its time, the level that it led to and why; so has the text."""
    for tree in drawn(recorded(tmp_path)):
        groups = [g for g in tree.iter(f"{SVG}g") if g.find(f"{SVG}line") is not None]
        told = [g.find(f"{SVG}title").text for g in groups]
        assert len(told) == 2
        assert all(re.fullmatch(r"\d\d:\d\d \(3: memory is filling\)", one) for one in told)
        assert all(one in tree.find(f"{SVG}desc").text for one in told)


def test_without_steps_nothing_is_marked(tmp_path):
    """A run that the balancer left alone has its lines and no marks."""
    trees = drawn(recorded(tmp_path, steps=()))
    assert len(trees) == 2
    assert [marks(tree) for tree in trees] == [[], []]


def test_the_lines_follow_the_figures(tmp_path):
    """Memory that fills evenly is a straight line up; a full CPU stays at the top."""
    for tree in drawn(recorded(tmp_path)):
        memory, cpu = series(tree, "memory"), series(tree, " cpu")
        heights = [y for _, _, y in memory]
        assert heights == sorted(heights, reverse=True)
        assert {y for _, _, y in cpu} == {heights[-1]}
        assert [pen for pen, _, _ in memory] == ["M"] + ["L"] * (LOOKS - 1)


def test_no_line_goes_across_the_time_the_machine_was_off(tmp_path):
    """Nine minutes without a look: the line ends and begins again."""
    for tree in drawn(recorded(tmp_path, dark=range(8, 17))):
        assert [pen for pen, _, _ in series(tree, "memory")].count("M") == 2


def test_one_look_is_no_course(tmp_path):
    """A run too short for two looks has no drawing."""
    assert drawn(recorded(tmp_path, dark=range(1, LOOKS))) == []
