"""The report's section on the tasks of lm-eval: its own scores, and how far the methods agree."""

from __future__ import annotations

import re

import pytest
from build import Shape, build

from so8t.journal.store import Journal
from so8t.report.html import write_report

LANES = {"agree": 27, "exact": 20.0, "chat": 19.0, "constrained": 5, "positions": []}


def words_of(page: str) -> str:
    """Return the text of a page with single spaces."""
    return " ".join(re.sub("<[^>]+>", " ", page).split())


@pytest.fixture
def asked(tmp_path):
    """Return the directory of a run that has asked tasks of lm-eval and compared choice methods."""
    directory = build(tmp_path / "run", Shape(samples=40, trouble=False))
    with Journal(directory) as journal:
        journal.event("hf_results", tasks={"cola": {"a": {"mcc,none": 0.1}}})
        journal.event(
            "hf_results",
            tasks={
                "cola": {"a": {"mcc,none": 0.25}, "b": {"mcc,none": -0.125}},
                "cb": {"a": {"acc,none": 0.5, "f1,none": None}, "b": {"acc,none": 0.75}},
            },
        )
        journal.event("choice_methods_compared", arm="a", compared=32, failed=0, **LANES)
        journal.event("choice_methods_compared", arm="b", compared=31, failed=1, **LANES)
    return directory


def test_the_newest_scores_stand_by_task_metric_and_arm(asked):
    """Each metric has a row with A's and B's score; what is not known is no number."""
    page = write_report(asked, "en").read_text("utf-8")
    words = words_of(page)
    assert "Task scores of lm-eval" in words
    assert "cola mcc,none 0.2500 -0.1250" in words
    assert "cb acc,none 0.5000 0.7500" in words
    assert "0.1000" not in words
    assert "cb f1,none – – cola" in words


def test_the_agreement_of_the_lanes_is_told_for_each_arm(asked):
    """How many choices were asked twice, and how they came out, for A and for B."""
    words = words_of(write_report(asked, "en").read_text("utf-8"))
    said = (
        "the same score in 27; right by exact log likelihood 20, as a chat 19 "
        "(5 by a constrained answer, {} failed)"
    )
    assert f"A 32 choices: {said.format(0)}" in words
    assert f"B 31 choices: {said.format(1)}" in words


def test_in_japanese_too(asked):
    """The section is there in the other language, with the same figures."""
    page = write_report(asked, "ja").read_text("utf-8")
    assert "Two ways" not in page
    for figure in ("mcc,none", "0.2500", "-0.1250", "27"):
        assert figure in page


def test_a_run_without_such_tasks_has_no_such_section(tmp_path):
    """Nothing is said of lm-eval or of choice methods where neither was asked."""
    directory = build(tmp_path / "plain", Shape(samples=40, trouble=False))
    words = words_of(write_report(directory, "en").read_text("utf-8"))
    assert "lm-eval" not in words
    assert "Two ways" not in words
