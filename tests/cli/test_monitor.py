"""`so8t monitor`: what it refuses before it watches, and what it says."""

from __future__ import annotations

import json
import re

import pytest
from commands import so8t

# One look is enough for each of these.
SHORT = ("--duration", "0", "--lang", "en")


@pytest.mark.parametrize("option", ["--duration", "--interval"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_time_that_is_none_is_refused(capsys, option, value):
    """A watch of nan or endlessly many seconds is a wrong use, told at once."""
    code, _, err = so8t(capsys, "monitor", option, value)
    assert code == 2
    assert "is no time" in err


def test_a_history_that_cannot_be_written_is_refused_before_the_watch(capsys, tmp_path):
    """The path is tried first: no watch, no traceback, and a hint."""
    (tmp_path / "file").write_text("x")
    path = tmp_path / "file" / "h.jsonl"
    code, out, err = so8t(capsys, "monitor", "--duration", "3600", "--history", str(path))
    assert code != 0
    assert out == ""
    assert "cannot be written" in err
    assert "--history" in err


def test_a_history_is_written_and_each_look_has_its_time(capsys, tmp_path):
    """Off a terminal each look begins with the time; nothing but the history is left behind."""
    path = tmp_path / "new" / "h.jsonl"
    code, out, _ = so8t(capsys, "monitor", *SHORT, "--history", str(path))
    assert code == 0
    assert re.match(r"\d\d:\d\d:\d\d  Machine", out)
    assert len(path.read_text().splitlines()) == 1
    assert list(path.parent.iterdir()) == [path]


def test_a_file_of_resources_alone_is_config_enough(capsys, tmp_path):
    """Thresholds without models to run: a step is shown with its reason, in words and as JSON."""
    config = tmp_path / "r.yaml"
    config.write_text('resources: {quiet_hours: [{start: "00:00", end: "00:00"}]}\n')
    code, out, _ = so8t(capsys, "monitor", "--config", str(config), *SHORT)
    assert code == 0
    assert "quiet hours: 1 answer at a time instead of 8" in out
    code, out, _ = so8t(capsys, "monitor", "--config", str(config), "--json", *SHORT)
    steps = json.loads(out.splitlines()[0])["steps"]
    assert steps == [{"reason": "quiet_hours", "before": 8, "after": 1}]
    config.write_text("resources: {intervall: 3}\n")
    code, _, err = so8t(capsys, "monitor", "--config", str(config), *SHORT)
    assert code == 2
    assert "r.yaml:1:" in err
    assert "intervall" in err
