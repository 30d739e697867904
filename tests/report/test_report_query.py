"""Journal to view and summary: what is there, and what is not known."""

from __future__ import annotations

import json
from functools import cache

import pytest
from build import TRAINING, Shape, build

from so8t.cli import invoke as run
from so8t.domain.exchange import Arm
from so8t.errors import PrerequisiteError
from so8t.journal.store import Journal
from so8t.report.query import load_view, summary
from so8t.report.text import Text
from so8t.report.words import verdict_sentence


@cache
def view_of(directory, **options):
    """Read a run's view; the runs here do not change."""
    with Journal(directory, readonly=True) as journal:
        return load_view(journal, **options)


def test_a_finished_run_is_complete(finished):
    """State, phases, models, engine and training come from the journal alone."""
    view = view_of(finished)
    assert view.state == "complete"
    assert not view.partial
    assert [phase.state for phase in view.phases] == ["done"] * 4
    assert view.models[Arm.B].digest == "sha256:" + "b2" * 32
    assert view.models[Arm.B].file == "model-q8_0.gguf"
    assert view.engine.engine == "embedded"
    assert view.training == TRAINING


def test_an_unfinished_run_is_partial(partial):
    """What was asked so far is shown, and that it is not all."""
    view = view_of(partial)
    assert view.state == "partial"
    assert view.phases[3].state == "started"
    assert view.phases[3].finished is None
    assert view.evidence.coverage[Arm.A].open == 70
    assert verdict_sentence(view, Text("en")).startswith("Partial, the run is not finished: ")


def test_a_run_without_questions_has_no_evidence(begun):
    """Before the plan is frozen there is no verdict, and no number that looks like one."""
    view = view_of(begun)
    assert view.evidence is None
    assert view.latency[Arm.A].p50 is None
    found = summary(view)
    assert found["verdict"] is None
    assert found["state"] == "partial"
    assert verdict_sentence(view, Text("ja")) == "比較できる回答がまだありません。"


def test_an_empty_journal_is_refused(tmp_path):
    """A journal that holds no run cannot be reported on; the next command is named."""
    with Journal(tmp_path) as journal, pytest.raises(PrerequisiteError, match="no run yet"):
        load_view(journal)


def test_those_that_differ_come_first_and_the_rest_is_counted(finished):
    """The limit cuts the least interesting questions, and says how many."""
    everything = view_of(finished).side_by_side
    sides = [sample.side for sample in everything.shown]
    differing = everything.differing
    assert set(sides[:differing]) == {"a", "b"}
    assert not {"a", "b"} & set(sides[differing:])
    assert everything.left_out == 0
    few = view_of(finished, embed=differing - 3).side_by_side
    assert len(few.shown) == differing - 3
    assert few.differing_left_out == 3
    assert few.left_out == 120 - len(few.shown)


def test_long_answers_are_shortened(finished):
    """No answer of 20,000 letters makes the report heavy; what went is counted."""
    longest = max((sample.b.text for sample in view_of(finished).side_by_side.shown), key=len)
    assert len(longest) < 3_100
    assert "characters left out" in longest


def test_empty_lines_do_not_fill_the_page(finished):
    """A model that answers with line feeds takes two of them."""
    (answer,) = (s.b.text for s in view_of(finished).side_by_side.shown if s.position == 22)
    assert answer == "first\n\nlast"


def test_answers_of_an_earlier_run_say_so_and_have_no_speed(tmp_path):
    """What was measured another night is no latency of this one."""
    view = view_of(build(tmp_path, Shape(samples=30, reused=True)))
    assert all(sample.a.reused and not sample.b.reused for sample in view.side_by_side.shown)
    assert view.latency[Arm.A].known == 0
    assert view.latency[Arm.A].p50 is None
    assert view.latency[Arm.B].known > 0


def test_thinking_is_not_in_the_view(finished):
    """The view carries no thought, not even in a score's reason."""
    assert "secret plan" not in repr(view_of(finished).side_by_side)


def test_problems_name_their_reasons(finished):
    """Failed, unscored and truncated answers are listed, failures first."""
    view = view_of(finished)
    kinds = [problem.kind for problem in view.problems]
    assert kinds == sorted(kinds, key=["failed", "unscored", "truncated"].index)
    assert set(kinds) == {"failed", "unscored", "truncated"}
    reasons = {problem.kind: problem.reason for problem in view.problems}
    assert reasons["failed"] == "engine crashed 5 times"
    assert reasons["unscored"] == "two different numbers were given"


def test_latency_counts_only_what_is_known(finished):
    """A failed answer has no time; it is left out, not taken as instant."""
    latency = view_of(finished).latency[Arm.B]
    assert latency.known == latency.answers == 118
    assert 0.2 <= latency.p50 <= latency.p95 <= 0.38
    assert latency.tokens_per_second > 0


def test_the_course_of_the_evidence_is_thinned(tmp_path):
    """However long the run, the drawing has a few hundred points, and ends where the run does."""
    shape = Shape(samples=600, trouble=False, win_every=2, look_every=1)
    course = view_of(build(tmp_path, shape)).course
    assert course.kind == "net_wins"
    assert len(course.items) == 240
    assert course.items[-1] <= course.total == 600


def test_means_are_of_the_items_that_the_verdict_used(partial):
    """On a card the two means differ by exactly the difference that stands beside them."""
    found = summary(view_of(partial))
    verdict = found["verdict"]
    assert verdict["items_used"] < found["coverage"]["a"]["answered"]
    assert found["mean"]["b"] - found["mean"]["a"] == pytest.approx(verdict["difference"])


def test_the_summary_has_the_documented_fields(finished):
    """The names that machines read are stable, and the whole is JSON."""
    found = summary(view_of(finished), report=finished / "report.html")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found) == [
        "run",
        "state",
        "standing",
        "labels",
        "verdict",
        "average",
        "mean",
        "categories",
        "tasks",
        "repeats",
        "unequal",
        "answers",
        "coverage",
        "noise_floor",
        "sensitivity",
        "censoring",
        "latency",
        "report",
    ]
    assert list(found["verdict"]) == [
        "outcome",
        "ending",
        "difference",
        "interval",
        "level",
        "p_value",
        "items_total",
        "items_used",
        "items_missing",
        "decided_at",
        "discordant",
        "margin",
        "alpha",
        "scope",
        "method",
        "margin_interval",
        "adjusted",
        "fixed",
        "missing_could_turn",
    ]
    assert found["verdict"]["outcome"] == "b_better"
    assert found["verdict"]["items_missing"] == 4
    assert found["coverage"]["b"]["failed"] == 2
    assert found["noise_floor"]["a"]["pairs"] > found["noise_floor"]["a"]["text_flips"] > 0
    assert [group["name"] for group in found["categories"]] == [
        "japanese",
        "logic",
        "mathematics",
        "safety",
    ]


def test_a_run_without_a_result_yet_is_not_called_undecided(partial, capsys):
    """Undecided is what a run found; `ls` says of one that is under way that it is open."""
    assert run(["ls", str(partial), "--lang", "en"]) == 0
    assert "not decided yet" in capsys.readouterr().out
