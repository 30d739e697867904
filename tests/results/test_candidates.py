"""Several candidates of one base: claims that hold together, and the best one only when it is."""

from __future__ import annotations

import json
import random

import pytest

from so8t.cli import invoke as so8t
from so8t.results.candidates import candidates_summary, compare_candidates
from so8t.results.detect import read_results
from so8t.verdict.settings import Outcome


def write(path, lift, seed, count=600):
    """Scores of a model that differs from the others in a tenth of its answers."""
    chance = random.Random(seed)
    lines = ["question_id,correct"]
    for number in range(count):
        base = random.Random(number).random()
        own = chance.random() < 0.9
        right = base < 0.55 + lift if own else chance.random() < 0.55 + lift
        lines.append(f"q{number},{int(right)}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


@pytest.fixture
def files(tmp_path):
    lifts = {"base": 0.0, "same": 0.0, "good": 0.15, "bad": -0.12}
    return [
        write(tmp_path / f"{name}.csv", lift, seed)
        for seed, (name, lift) in enumerate(lifts.items())
    ]


def test_a_clear_best(files):
    """The clear winner is named, the worse one found, and the equal one left undecided."""
    base, *candidates = map(read_results, files)
    found = compare_candidates(base, candidates)
    assert found.ranking.best == "good"
    assert {one.name: one.outcome for one in found.ranking.candidates} == {
        "good": Outcome.B_BETTER,
        "same": Outcome.UNDECIDED,
        "bad": Outcome.A_BETTER,
    }
    alone = {one.name: one.verdict.settings.alpha for one in found.ranking.candidates}
    assert list(alone.values()) == pytest.approx([0.05 / 3] * 3)
    for one in found.ranking.candidates:
        low, high = one.interval
        directed = one.outcome is not Outcome.UNDECIDED
        assert directed == (low >= 0.0 or high <= 0.0)


def test_two_alike_have_no_best(files, tmp_path):
    """Of two candidates that are better than the base and alike, none is called the best."""
    base, good = read_results(files[0]), read_results(files[2])
    twin = read_results(write(tmp_path / "twin.csv", 0.15, 9))
    found = compare_candidates(base, [good, twin])
    assert [one.outcome for one in found.ranking.candidates] == [Outcome.B_BETTER] * 2
    assert found.ranking.best is None


def test_the_command(files, capsys):
    """Three or more sources give one table; --json is one document; --fail-if follows any line."""
    assert so8t(["compare", *files]) == 0
    assert "good is the best" in capsys.readouterr().out
    assert so8t(["compare", *files, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    base, *candidates = map(read_results, files)
    assert plain == json.loads(json.dumps(candidates_summary(compare_candidates(base, candidates))))
    assert so8t(["compare", *files, "--fail-if", "a_better"]) == 10
